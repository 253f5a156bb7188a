"""The way of a line: poll, group, and what they need."""
