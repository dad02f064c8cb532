"""Pictures of a context, as URLs."""

from collections.abc import Hashable, Iterable, Sequence
from typing import Any

from videosdk.agents import ImageContent

from rtllm import Image, Item, Message, Text
from rtllm.adapters import ImageCache, resolve_images
from rtllm_videosdk.convert import Pictured


class VideoSDKFrames:
    """Video frames in an `ImageContent`; only the content can be referenced weakly."""

    def frame(self, source: ImageContent) -> object:
        """Return the frame."""
        return source.image

    def options(self, source: ImageContent) -> Hashable:
        """Return the picture's id, and the settings of its encoding."""
        return (source.id, repr(source.encode_options))

    def planes(self, source: ImageContent) -> Iterable[Any]:
        """Return the pixels, plane by plane."""
        planes: Iterable[Any] = source.image.planes
        return planes

    def copy(self, source: ImageContent) -> ImageContent:
        """Return the picture with a copy of its options; the pixels remain those of the frame.

        PyAV has no cheap copy for every format. A frame that is overwritten between `chat` and the
        thread that encodes it, which starts at once, may be sent in its new state.
        """
        return source.model_copy()

    def encode(self, source: ImageContent) -> str:
        """Encode a picture."""
        return str(source.to_data_url())


class Pictures:
    """Encodes pictures, and caches those that are still in use."""

    def __init__(self) -> None:
        self._known = ImageCache[ImageContent](VideoSDKFrames())

    def __len__(self) -> int:
        return len(self._known)

    async def resolve(self, entries: Sequence[Item | Pictured]) -> tuple[Item, ...]:
        """Insert the pictures of a context's messages. Waits only if a new one is encoded."""
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
        """Forget all encoded pictures."""
        self._known.clear()


def _message(entry: Pictured) -> Message:
    parts = tuple(part if isinstance(part, Text) else _image(part) for part in entry.parts)
    return Message(entry.role, parts, key=entry.key)


def _image(part: ImageContent) -> Image:
    url = (
        part.image if isinstance(part.image, str) else ""
    )  # a frame's URL comes when it is encoded
    return Image(url, part.inference_detail)
