"""Tests of exporter.wording."""
