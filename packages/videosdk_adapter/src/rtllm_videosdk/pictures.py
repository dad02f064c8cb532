"""Pictures of a context as addresses: encoded once each, and never on the event loop."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from videosdk.agents import ImageContent

from rtllm import Image, Item, Message, Text
from rtllm_videosdk.convert import Pictured

logger = logging.getLogger(__name__)

_KEPT = 64


class Pictures:
    """Encodes pictures; those of the last requests are kept."""

    def __init__(self) -> None:
        # The frame is kept beside its address: so its id can't come to mean another one.
        self._urls: OrderedDict[tuple[object, ...], tuple[Any, str | None]] = OrderedDict()

    async def resolve(self, entries: Sequence[Item | Pictured]) -> tuple[Item, ...]:
        """Give a context's messages their pictures. Waits only where a new one is encoded."""
        new = [
            part
            for entry in entries
            if isinstance(entry, Pictured)
            for part in entry.parts
            if isinstance(part, ImageContent) and self._known(part) is None
        ]
        if new:
            for part, url in await asyncio.to_thread(_encoded, new):
                self._urls[_key(part)] = (part.image, url)
        made = tuple(self._pictured(e) if isinstance(e, Pictured) else e for e in entries)
        while len(self._urls) > _KEPT:
            self._urls.popitem(last=False)
        return made

    def _known(self, part: ImageContent) -> tuple[Any, str | None] | None:
        if isinstance(part.image, str):
            return (None, part.image)
        return self._urls.get(_key(part))

    def _pictured(self, entry: Pictured) -> Message:
        parts: list[Text | Image] = []
        for part in entry.parts:
            if isinstance(part, Text):
                parts.append(part)
                continue
            _, url = self._known(part) or (None, None)
            if not isinstance(part.image, str):
                self._urls.move_to_end(_key(part))
            if url:
                parts.append(Image(url, part.inference_detail))
        return Message(entry.role, tuple(parts))


def _key(part: ImageContent) -> tuple[object, ...]:
    return (id(part.image), repr(part.encode_options))


def _encoded(parts: Sequence[ImageContent]) -> list[tuple[ImageContent, str | None]]:
    made: list[tuple[ImageContent, str | None]] = []
    for part in parts:
        try:
            made.append((part, part.to_data_url()))
        except Exception as error:  # noqa: BLE001 - whatever the encoder raises
            logger.warning("a picture can't be encoded and is left out: %s", error)
            made.append((part, None))
    return made
