"""Tests of exporter/detection."""
