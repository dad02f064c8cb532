"""Tools that are encoded once for each value, and warnings that are logged once."""

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from rtllm.errors import ToolSchemaError

logger = logging.getLogger(__name__)

CACHED = 4096
"""How many tools are remembered; the least recently used are forgotten."""

Encoded = TypeVar("Encoded")


class ToolCache(Generic[Encoded]):
    """Encodes each tool once, by its value.

    A tool that can't be encoded is logged once and left out; the other tools still work.

    Args:
        size: How many tools to remember.
    """

    def __init__(self, size: int = CACHED) -> None:
        self._size = size
        self._encoded: OrderedDict[Hashable, tuple[object, Encoded | None]] = OrderedDict()
        self._logged: set[str] = set()

    def __repr__(self) -> str:
        return f"ToolCache({len(self._encoded)} tools)"

    def encode(
        self, key: Hashable, name: str, source: object, build: Callable[[], Encoded]
    ) -> Encoded | None:
        """Return the encoded tool; build it if it is not known.

        Args:
            key: Everything that the result depends on. It may contain the ``id`` of `source`.
            name: The tool's name, for the warning.
            source: An object that must live as long as the result is remembered, so that its ``id``
                is not used again.
            build: Encodes the tool. Any exception means that it can't be encoded.

        Returns:
            The result, None if the tool can't be encoded.
        """
        if (known := self._encoded.get(key)) is not None:
            self._encoded.move_to_end(key)
            return known[1]
        encoded: Encoded | None = None
        try:
            encoded = build()
        except ToolSchemaError as error:
            self.warn(error)
        except Exception as error:  # noqa: BLE001 - whatever pydantic, typing and msgspec raise
            self.warn(ToolSchemaError(name, f"{type(error).__name__}: {error}"))
        self._encoded[key] = (source, encoded)
        if len(self._encoded) > self._size:
            self._encoded.popitem(last=False)
        return encoded

    def warn(self, error: ToolSchemaError) -> None:
        """Log what is wrong with a tool, unless it was logged before."""
        if str(error) not in self._logged:
            self._logged.add(str(error))
            logger.warning("%s", error)
