"""Layers that are served alone, and daemons that use them."""
