"""Tests of `exporter.reading`."""
