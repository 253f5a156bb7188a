"""Stand-ins for services that a test run cannot have, which refuse what the real ones refuse."""
