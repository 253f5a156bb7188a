"""What everything in a table of configuration must keep."""
