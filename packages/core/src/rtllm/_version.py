"""The one place of the version: all three distributions read it."""

__version__ = "0.1.0"
