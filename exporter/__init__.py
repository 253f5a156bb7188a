"""Turns logs into few, explained, evidence-cited incidents."""

import os

# Judging a window is many small operations on small frames: handing each to a pool of threads costs more than it
# saves (measured: 2 to 3 times). Reading is parallel by itself. Both are read when polars and numpy are first imported.
os.environ.setdefault("POLARS_MAX_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
