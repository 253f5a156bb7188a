"""Failures that show only in a value: made logs, pairs of lines, and what of them is told."""
