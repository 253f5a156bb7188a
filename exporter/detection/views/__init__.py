"""What of an observation is judged, each from its own side."""
