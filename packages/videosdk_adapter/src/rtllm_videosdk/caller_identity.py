"""Who is asking: the pipeline on whose behalf a coroutine runs.

``cancel_current_generation()`` takes no argument, and one LLM may serve several sessions, a
voicemail detector and a summary at once. What the framework's call belongs to can only be
seen from where it comes: its `ContentGeneration` stands on the stack, above ``chat()`` as well
as above the cancellation.
"""

import sys
from types import FrameType
from typing import Any

from videosdk.agents.content_generation import ContentGeneration
from videosdk.agents.pipeline import Pipeline


def asking_pipeline() -> object | None:
    """The framework's `ContentGeneration` that is calling, None if it is somebody else."""
    return _calling(ContentGeneration)


def ending_pipeline() -> object | None:
    """The `ContentGeneration` of the pipeline that is closing its model.

    None if it is its user who closes it, or if that pipeline never generated anything.
    """
    pipeline: Any = _calling(Pipeline)
    return getattr(getattr(pipeline, "orchestrator", None), "content_generation", None)


def uses(owner: object, model: object) -> bool:
    """Whether a `ContentGeneration` still asks a model, itself or through a `FallbackLLM`."""
    used = getattr(owner, "llm", None)
    return used is model or model in getattr(used, "providers", ())


def _calling(kind: type[Any]) -> Any | None:
    """The nearest object of a class whose method is on the stack."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        code = frame.f_code
        # Looking at a frame's variables makes it keep them until it ends (*documented* up to
        # Python 3.12), an agent among them; so only at those of methods that can be meant.
        if code.co_varnames[:1] == ("self",) and hasattr(kind, code.co_name):
            caller = frame.f_locals.get("self")
            if isinstance(caller, kind):
                return caller
        frame = frame.f_back
    return None
