"""Past incidents, kept and found again."""
