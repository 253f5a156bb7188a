"""Tests of exporter/model."""
