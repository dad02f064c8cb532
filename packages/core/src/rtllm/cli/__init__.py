"""The command line: ``rtllm``."""

from rtllm.cli.main import main

__all__ = ["main"]
