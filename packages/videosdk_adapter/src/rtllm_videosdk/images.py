"""VideoSDK's pictures: their identity, and their encoding."""

from collections.abc import Hashable, Iterable
from typing import Any

from videosdk.agents import ImageContent


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
