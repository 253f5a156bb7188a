"""Measurements of the product; `python -m tests.bench` prints them in one run."""
