"""I/O: carries out what the fleet and the turn decide."""
