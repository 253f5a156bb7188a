"""Whether anything that must not leave the process does: kinds of secrets, planted in a whole daemon."""
