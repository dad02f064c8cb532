"""Retry: the classification of faults, and the recovery that follows from it."""
