"""rtllm."""
