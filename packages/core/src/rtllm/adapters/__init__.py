"""Building blocks of framework adapters."""
