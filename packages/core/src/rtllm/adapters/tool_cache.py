"""Tools that are encoded once for each value, and warnings that are logged once."""

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from rtllm.content.tool_names import ToolNames
from rtllm.errors import ToolSchemaError
from rtllm.tools.offered_tools import OfferedTools, RunnableTool

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


@dataclass(frozen=True, slots=True)
class ToolSource:
    """A framework's tool that is not encoded yet.

    Attributes:
        name: The framework's name of it.
        key: What the result depends on, apart from the name; see `ToolCache.encode`.
        source: An object that must live as long as the result is remembered.
        build: Encodes the tool by the name that the service gets.
    """

    name: str
    key: Hashable
    source: object
    build: Callable[[str], RunnableTool]


def offer_tools(tools: Iterable[ToolSource], cache: ToolCache[RunnableTool]) -> OfferedTools:
    """Encode the tools of a request, in their order, by names that the services accept.

    Of two tools with the same name the first one counts; a warning is logged if they differ.

    Args:
        tools: The tools.
        cache: The tools that were encoded before.
    """
    offered, names = dict[str, RunnableTool](), ToolNames()
    for one in tools:
        name = names.to_service(one.name)
        made = cache.encode((name, one.key), name, one.source, partial(one.build, name))
        if made is None:
            continue
        known = offered.setdefault(name, made)
        if known.tool.encoded != made.tool.encoded:
            # Otherwise the framework registered it again, and it is one tool.
            cache.warn(ToolSchemaError(name, "another tool before it has the same name"))
    return OfferedTools(offered, names)
