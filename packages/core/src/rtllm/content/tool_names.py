"""Names of tools as the services accept them."""

import re
from functools import lru_cache
from hashlib import blake2b

LEGAL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""Documented by OpenAI; other hosts accept these names as well."""

_KEPT = 55
_ILLEGAL = re.compile(r"[^A-Za-z0-9_-]")
# Seen in templates: gpt-oss's ``functions.x <|constrain|>json``, Kimi's ``functions.x:0``;
# assumed: servers that pass these on.
_DECORATED = re.compile(
    r"\s*(?:functions\.)?(?P<name>[A-Za-z0-9_-]{1,64})(?::\d+)?\s*(?:<\|.*)?", re.DOTALL
)


@lru_cache(maxsize=4096)
def legal_tool_name(name: str) -> str:
    """Return a name that the services accept: the same one if it is legal.

    Otherwise a readable name with a hash of the given one, so that two tools never share a name and
    a history names a tool as the request does.

    Args:
        name: The framework's name of a tool, such as ``calendar.book``.
    """
    if LEGAL_NAME.fullmatch(name):
        return name
    digest = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
    return f"{_ILLEGAL.sub('_', name)[:_KEPT]}_{digest}"


def clean_tool_name(name: str) -> str:
    """Return the name of a tool in a call, without what a model's template added to it.

    Offered names consist of letters, digits, ``_`` and ``-``, so nothing of them is removed.
    """
    if LEGAL_NAME.fullmatch(name):
        return name
    found = _DECORATED.fullmatch(name)
    return found["name"] if found is not None else name


class ToolNames:
    """The framework's names of tools that the service knows by another name."""

    def __init__(self) -> None:
        self._given: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"ToolNames({self._given})"

    def to_service(self, name: str) -> str:
        """Return the service's name of a tool, and remember the framework's."""
        legal = legal_tool_name(name)
        if legal != name:
            self._given[legal] = name
        return legal

    def to_framework(self, name: str) -> str:
        """Return the framework's name of a tool that the service names."""
        return self._given.get(name, name)
