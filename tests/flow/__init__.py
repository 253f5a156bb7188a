"""Tests of exporter/flow."""
