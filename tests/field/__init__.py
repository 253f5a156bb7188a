"""What is read right in logs as they are found in the field, which are no part of the repository."""
