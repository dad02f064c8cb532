"""Tools: from Python or JSON schemas to function tools of both APIs, and the way back."""
