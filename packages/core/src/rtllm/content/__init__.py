"""Values that cross every layer: items, requests, events, usage, reports."""
