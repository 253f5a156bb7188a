"""Replay the same inputs through an old checkout and this one, and say what differs."""
