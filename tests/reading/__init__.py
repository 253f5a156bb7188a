"""Tests of exporter/reading."""
