"""The commands."""

import sys

if sys.argv[1:2] in (["run"], ["serve"]):
    # Before anything else is imported.
    from exporter.cli.early import heed

    heed()
