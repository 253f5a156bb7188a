"""Tests of exporter/analysis."""
