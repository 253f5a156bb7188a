"""Run every module of this package that has a `run`, one after the other."""

from __future__ import annotations

import os
import pkgutil
import sys
from importlib import import_module


def main() -> None:
    """Names given as arguments choose modules; none means all."""
    # Figures are those of one thread; polars reads this when it is imported first.
    os.environ.setdefault("POLARS_MAX_THREADS", "1")
    from tests import bench

    names = sys.argv[1:] or sorted(module.name for module in pkgutil.iter_modules(bench.__path__))
    for name in names:
        module = import_module(f"tests.bench.{name}")
        if hasattr(module, "run"):
            module.run()


if __name__ == "__main__":
    main()
