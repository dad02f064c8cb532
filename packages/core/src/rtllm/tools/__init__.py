"""Tools: function tools of both APIs from Python or JSON schemas, and their arguments back."""
