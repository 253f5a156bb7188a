"""What a record says of itself: its time, its level, its fields."""
