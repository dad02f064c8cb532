"""Who is asking: the pipeline on whose behalf a coroutine runs.

``cancel_current_generation()`` takes no argument, and one LLM may serve several sessions, a
voicemail detector and a summary at once. What the framework's call belongs to can only be
seen from where it comes: its `ContentGeneration` stands on the stack, above ``chat()`` as well
as above the cancellation.
"""

import sys
from types import FrameType

from videosdk.agents.content_generation import ContentGeneration

_MODULE = ContentGeneration.__module__


def asking_pipeline() -> object | None:
    """The framework's `ContentGeneration` that is calling, None if it is somebody else."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_globals.get("__name__") == _MODULE:
            caller: object = frame.f_locals.get("self")
            if caller is not None:
                return caller
        frame = frame.f_back
    return None
