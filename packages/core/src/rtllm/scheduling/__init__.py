"""Scheduling: which connection and which lane a request uses, as values."""
