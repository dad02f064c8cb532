"""Which connection and which lane a request takes, as values."""
