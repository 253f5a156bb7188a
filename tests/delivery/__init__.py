"""Tests of exporter/delivery."""
