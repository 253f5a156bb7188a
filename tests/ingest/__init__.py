"""Tests of exporter/ingest."""
