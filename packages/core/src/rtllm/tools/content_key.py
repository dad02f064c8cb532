"""A key of what a schema contains, for a cache of tools."""

from collections.abc import Hashable

import msgspec


def content_key(schema: object) -> Hashable:
    """Return a key of a schema's content, for `ToolCache`: users change dictionaries in place.

    Args:
        schema: A JSON value. Of another value the key is its ``repr``.
    """
    try:
        return msgspec.json.encode(schema)
    except (TypeError, ValueError, RecursionError):
        return repr(schema)
