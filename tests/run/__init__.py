"""Tests of exporter/run."""
