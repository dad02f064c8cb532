"""Providers: addresses of services, credentials, and the HTTP clients made with them."""
