"""Tests of exporter/memory."""
