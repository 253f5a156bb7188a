"""Each sink is told what it has not had yet."""
