"""Pictures of a context as addresses."""

from collections.abc import Sequence

from videosdk.agents import ImageContent

import rtllm
from rtllm import Image, Item, Message, Text, with_pictures
from rtllm_videosdk.convert import Pictured


class Pictures:
    """Encodes pictures; those of the last requests are kept."""

    def __init__(self) -> None:
        self._known = rtllm.Pictures[ImageContent](lambda part: str(part.to_data_url()), _key)

    async def resolve(self, entries: Sequence[Item | Pictured]) -> tuple[Item, ...]:
        """Give a context's messages their pictures. Waits only where a new one is encoded."""
        frames = [
            part
            for entry in entries
            if isinstance(entry, Pictured)
            for part in entry.parts
            if isinstance(part, ImageContent) and not isinstance(part.image, str)
        ]
        items = [_message(e) if isinstance(e, Pictured) else e for e in entries]
        return with_pictures(items, await self._known.encode(frames)) if frames else tuple(items)


def _message(entry: Pictured) -> Message:
    parts = tuple(part if isinstance(part, Text) else _image(part) for part in entry.parts)
    return Message(entry.role, parts, key=entry.key)


def _image(part: ImageContent) -> Image:
    url = part.image if isinstance(part.image, str) else ""  # a frame's comes when it is encoded
    return Image(url, part.inference_detail)


def _key(part: ImageContent) -> tuple[object, ...]:
    return (id(part.image), repr(part.encode_options))
