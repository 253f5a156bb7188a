"""Print the page of all metrics: `python -m exporter.telemetry > docs/metrics.md`."""

from exporter.telemetry.table import reference

print(reference(), end="")
