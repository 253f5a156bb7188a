"""What has been, against which a window is judged."""
