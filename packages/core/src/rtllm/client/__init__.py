"""What a user or an adapter holds: clients and response streams."""
