"""Identity of the caller: the pipeline for which a coroutine runs.

``cancel_current_generation()`` has no argument, and one LLM may serve several sessions, a voicemail
detector and a summary at once. The pipeline can only be found on the call stack: its
`ContentGeneration` is above both ``chat()`` and the cancellation.
"""

import sys
from types import FrameType
from typing import Any

from videosdk.agents.content_generation import ContentGeneration
from videosdk.agents.pipeline import Pipeline


def calling_pipeline() -> object | None:
    """Return the framework's `ContentGeneration` that is calling, None for another caller."""
    return _calling(ContentGeneration)


def ending_pipeline() -> object | None:
    """Return the `ContentGeneration` of the pipeline that is closing its model.

    None if the user closes it, or if that pipeline never generated anything.
    """
    pipeline: Any = _calling(Pipeline)
    return getattr(getattr(pipeline, "orchestrator", None), "content_generation", None)


def uses_model(pipeline: object, model: object) -> bool:
    """Whether a `ContentGeneration` still uses a model, directly or through a `FallbackLLM`."""
    used = getattr(pipeline, "llm", None)
    return used is model or model in getattr(used, "providers", ())


def _calling(kind: type[Any]) -> Any | None:
    """Return the nearest object of a class whose method is on the stack."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        code = frame.f_code
        # Reading a frame's variables keeps them, possibly an agent, alive until the frame ends
        # (*documented* up to Python 3.12). So only the frames of the wanted methods are read.
        if code.co_varnames[:1] == ("self",) and hasattr(kind, code.co_name):
            caller = frame.f_locals.get("self")
            if isinstance(caller, kind):
                return caller
        frame = frame.f_back
    return None
