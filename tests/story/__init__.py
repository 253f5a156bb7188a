"""Whether what is told of a failure is right: the line one reads first, the line that decides, and every number."""
