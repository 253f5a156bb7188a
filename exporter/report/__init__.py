"""What happened, the likely cause and what to do, each sentence with its evidence."""
