"""Contexts: what the model must see, and which part of it the service already has."""
