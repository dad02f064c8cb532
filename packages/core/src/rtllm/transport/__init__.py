"""I/O: carries out what the pool and the turn decide."""
