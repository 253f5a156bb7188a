"""What is unusual in files, with no configuration and no history."""
