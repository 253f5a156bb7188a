"""Turns logs into few, explained, evidence-cited incidents."""

import os

# Judging a window is many small operations on small frames: handing each to a pool of threads costs more than it
# saves (measured: 2 to 3 times). Reading is parallel by itself. Both are read when polars and numpy are first imported.
os.environ.setdefault("POLARS_MAX_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# What is freed goes back to the system at once; kept for later it is 50 MB more, and saves no time that shows.
os.environ.setdefault("_RJEM_MALLOC_CONF", "dirty_decay_ms:0,muzzy_decay_ms:0")
