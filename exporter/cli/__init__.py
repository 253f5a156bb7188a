"""The commands."""

import sys

if sys.argv[1:2] == ["run"]:
    # Before anything else is imported.
    from exporter.cli.early import heed

    heed()
