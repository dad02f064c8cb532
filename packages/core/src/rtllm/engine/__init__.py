"""The engine: one client's decisions and state on one event loop, without I/O."""
