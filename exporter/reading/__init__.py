"""What a record says of itself: its time, its level, its fields."""

FIRST = 1
"""What reading meant up to release 0.1, which marked no source with it."""

READING = 4
"""Raised when the same record is read as something else: then every source is learnt anew."""
