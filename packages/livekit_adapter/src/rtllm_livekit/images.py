"""LiveKit's pictures: what tells them apart, and how they are encoded."""

import base64
from collections.abc import Hashable, Iterable

from livekit import rtc
from livekit.agents import llm


class Frames:
    """Video frames in an `llm.ImageContent`, which is new for each new picture."""

    def frame(self, source: llm.ImageContent) -> object:
        """The frame itself."""
        return source.image

    def options(self, source: llm.ImageContent) -> Hashable:
        """The picture's id, which its user changes with it, and the size that it is sent in."""
        return (source.id, source.inference_width, source.inference_height)

    def planes(self, source: llm.ImageContent) -> Iterable[memoryview]:
        """The pixels."""
        return (source.image.data,) if isinstance(source.image, rtc.VideoFrame) else ()

    def copy(self, source: llm.ImageContent) -> llm.ImageContent:
        """The picture with pixels of its own.

        A camera may overwrite them before a thread encodes them. Copying takes 0.1 ms for
        1280x720 and 0.6 ms for 1920x1080, once for each new picture (measured).
        """
        frame = source.image
        if isinstance(frame, rtc.VideoFrame):
            frame = rtc.VideoFrame(frame.width, frame.height, frame.type, bytes(frame.data))
        return source.model_copy(update={"image": frame})

    def encode(self, source: llm.ImageContent) -> str:
        """Encode a picture; what it costs is why it isn't done on the event loop."""
        image = llm.utils.serialize_image(source, use_cache=False)
        data = base64.b64encode(image.data_bytes or b"").decode()
        return f"data:{image.mime_type};base64,{data}"
