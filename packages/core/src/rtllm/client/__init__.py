"""Clients and response streams: what users and adapters hold."""
