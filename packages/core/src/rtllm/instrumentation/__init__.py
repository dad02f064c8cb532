"""Instrumentation: listeners of the trace that write or export what happens."""
