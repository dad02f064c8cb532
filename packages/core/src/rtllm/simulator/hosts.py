"""Known hosts, as options of ``Simulator``: data.

``Simulator(**HOSTS["vercel"])`` behaves like Vercel's gateway. As documented or seen on 2026-11-24;
lines marked *assumed* have no source.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

HOSTS: Mapping[str, Mapping[str, Any]] = {
    "openai": {},
    "azure": {"lanes": "off"},
    # A second create is queued; that it ignores a stream_id is assumed.
    "xai": {"lanes": "ignore", "lifetime": 25 * 60.0},
    "vercel": {
        "lanes": "off",
        "lifetime": 13 * 60.0,
        "idle": 5 * 60.0,
        "one_model": True,
        "max_frame": 4 * 2**20,
        "forgets_on_failure": True,
    },
    # Older versions; that it ignores a stream_id is assumed.
    "litellm": {"lanes": "ignore", "model_in_query": True},
    "without WebSocket": {"no_websocket": 404},
}
"""How known hosts differ: the simulator's options, by the host's name."""
