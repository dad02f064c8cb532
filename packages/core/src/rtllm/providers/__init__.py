"""Where a service is, and the credentials and clients that reach it."""
