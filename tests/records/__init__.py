"""Records of several lines, with all of their fields and durations, as runtimes, servers and shippers write them."""
