"""Tests of exporter/demo."""
