"""The trace as one HTML page, which loads nothing from anywhere."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from importlib import resources
from typing import Any

import msgspec

from rtllm.trace_view.model import Calls, TurnView
from rtllm.trace_view.summary import Summary, cost_words
from rtllm.trace_view.words import OUTCOMES, PARTS, REASONS

REFRESH = 2.0
"""Seconds after which a page of a growing file is loaded again."""


def page_of(
    calls: Calls,
    summary: Summary,
    turns: Sequence[TurnView],
    *,
    title: str,
    shown: str = "",
    live: bool = False,
) -> str:
    """Return a trace as a self-contained HTML page.

    Everything from the file is embedded as data, which a script inserts as text, never as HTML; a
    content security policy forbids every other script and all requests.

    Args:
        calls: The turns and connections.
        summary: What matters first, of all turns.
        turns: The turns to list.
        title: The title, such as the name of the file.
        shown: Which turns are listed, if not all of them.
        live: Whether the page loads itself again, since the file grows.

    Returns:
        The page.
    """
    style, script = _asset("page.css"), _asset("page.js")
    data = {
        "title": title,
        "shown": shown,
        "refresh": REFRESH if live else None,
        "turns": turns,
        "connections": calls.connections,
        "remarks": calls.remarks,
        "versions": calls.versions,
        "summary": summary,
        "cost": cost_words(summary.total),
        "costs": {name: cost_words(spent) for name, spent in summary.spent.items()},
        "words": {"parts": PARTS, "outcomes": OUTCOMES, "reasons": REASONS},
    }
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    parts = {"policy": policy, "style": style, "script": script, "data": _embedded(data)}
    return _filled(_asset("page.html"), parts)


def _embedded(data: Mapping[str, Any]) -> str:
    """Encode data so that it can be inside a script element: nothing in it can end the element."""
    encoded = msgspec.json.encode(data).decode()
    return encoded.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _filled(template: str, parts: Mapping[str, str]) -> str:
    """Fill a template; a part that has the name of another one in it stays as it is."""
    pieces = template.split("{{")
    filled = [pieces[0]]
    for piece in pieces[1:]:
        name, _, rest = piece.partition("}}")
        filled += [parts[name], rest]
    return "".join(filled)


def _asset(name: str) -> str:
    return resources.files("rtllm.trace_view").joinpath(name).read_text("utf-8")


def _hash(content: str) -> str:
    return f"sha256-{b64encode(sha256(content.encode()).digest()).decode()}"
