"""Tests of exporter/state."""
