"""Pictures as addresses: encoded once each, and never on the event loop."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from typing import Generic, TypeVar

from rtllm.items import Image, Item, Message, Text

logger = logging.getLogger(__name__)

KEPT = 32 * 2**20
"""Characters of addresses that are kept for later requests, which send a picture again."""

Source = TypeVar("Source")


class Pictures(Generic[Source]):
    """Gives pictures their addresses.

    A source is kept beside its address, so that its identity can't come to mean another one.

    Args:
        encode: Gives the address of a source, ``data:`` or https; called in a thread. What it
            raises is logged, and the picture left out.
        key: What tells two sources apart; equal keys mean equal pictures.
        kept: How many characters of addresses are kept.
    """

    def __init__(
        self,
        encode: Callable[[Source], str],
        key: Callable[[Source], Hashable],
        kept: int = KEPT,
    ) -> None:
        self._encode = encode
        self._key = key
        self._limit = kept
        self._size = 0
        self._known: OrderedDict[Hashable, tuple[Source, str | None]] = OrderedDict()

    def has(self, source: Source) -> bool:
        """Whether a picture's address is known, or that it can't have one."""
        return self._key(source) in self._known

    def url_of(self, source: Source) -> str | None:
        """A picture's address; None while it is unknown, or if it can't be encoded."""
        key = self._key(source)
        if key not in self._known:
            return None
        self._known.move_to_end(key)
        return self._known[key][1]

    async def encode(self, sources: Sequence[Source]) -> list[str | None]:
        """The addresses of pictures, in order. Waits only where one is unknown.

        Returns:
            Addresses; None for what can't be encoded.
        """
        found = {self._key(source): self.url_of(source) for source in sources if self.has(source)}
        new = {self._key(source): source for source in sources if self._key(source) not in found}
        if new:
            urls = await asyncio.to_thread(lambda: [self._encoded(s) for s in new.values()])
            for (key, source), url in zip(new.items(), urls, strict=True):
                found[key] = url
                self._keep(key, source, url)
        while self._size > self._limit and len(self._known) > len(new):
            _, (_, dropped) = self._known.popitem(last=False)
            self._size -= len(dropped or "")
        return [found[self._key(source)] for source in sources]

    def _keep(self, key: Hashable, source: Source, url: str | None) -> None:
        """Remember an address as the newest; another request may have brought it meanwhile."""
        _, known = self._known.pop(key, (source, None))
        self._size += len(url or "") - len(known or "")
        self._known[key] = (source, url)

    def _encoded(self, source: Source) -> str | None:
        try:
            return self._encode(source)
        except Exception as error:  # noqa: BLE001 - whatever an encoder raises
            logger.warning("a picture can't be encoded and is left out: %s", error)
            return None


def with_pictures(items: Sequence[Item], urls: Sequence[str | None]) -> tuple[Item, ...]:
    """Put addresses in the place of pictures that have none yet, in their order.

    Args:
        items: A context; a picture without an address has the empty one.
        urls: An address for each of these; None leaves the picture out.
    """
    left = iter(urls)

    def addressed(part: Text | Image) -> Text | Image:
        if isinstance(part, Image) and not part.url:
            return replace(part, url=next(left) or "")
        return part

    made: list[Item] = []
    for item in items:
        if isinstance(item, Message) and item.has_images:
            parts = [addressed(part) for part in item.parts]
            seen = tuple(p for p in parts if isinstance(p, Text) or p.url)
            made.append(replace(item, parts=seen))
        else:
            made.append(item)
    return tuple(made)
