"""Pictures of a context as addresses."""

from collections.abc import Hashable, Iterable, Sequence
from typing import Any

from videosdk.agents import ImageContent

import rtllm
from rtllm import Image, Item, Message, Text, resolve_images
from rtllm_videosdk.convert import Pictured


class Frames:
    """Video frames in an `ImageContent`; the frame can't be referenced weakly, the content can."""

    def frame(self, source: ImageContent) -> object:
        """The frame itself."""
        return source.image

    def options(self, source: ImageContent) -> Hashable:
        """The picture's id, and how it is to be encoded."""
        return (source.id, repr(source.encode_options))

    def planes(self, source: ImageContent) -> Iterable[Any]:
        """The pixels, plane by plane."""
        planes: Iterable[Any] = source.image.planes
        return planes

    def copy(self, source: ImageContent) -> ImageContent:
        """The picture with its options as they are; its pixels stay those of the frame.

        PyAV has no cheap copy for every format. So a frame that is overwritten between `chat`
        and the thread that encodes it, which is started at once, may be sent as it is then.
        """
        return source.model_copy()

    def encode(self, source: ImageContent) -> str:
        """Encode a picture."""
        return str(source.to_data_url())


class Pictures:
    """Encodes pictures; those that are still in use are kept."""

    def __init__(self) -> None:
        self._known = rtllm.ImageCache[ImageContent](Frames())

    def __len__(self) -> int:
        return len(self._known)

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
        if not frames:
            return tuple(items)
        return resolve_images(items, await self._known.encode(self._known.take(frames)))

    def clear(self) -> None:
        """Forget all that is encoded."""
        self._known.clear()


def _message(entry: Pictured) -> Message:
    parts = tuple(part if isinstance(part, Text) else _image(part) for part in entry.parts)
    return Message(entry.role, parts, key=entry.key)


def _image(part: ImageContent) -> Image:
    url = part.image if isinstance(part.image, str) else ""  # a frame's comes when it is encoded
    return Image(url, part.inference_detail)
