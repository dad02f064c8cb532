"""I/O: the runtime that carries out the engine's actions."""
