"""Tests of exporter/mining."""
