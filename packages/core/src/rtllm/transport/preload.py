"""What a Chat request imports, imported before the first one is due."""

from functools import cache
from importlib import import_module


@cache
def preload_chat() -> None:
    """Import all that a Chat request takes: about a second that would hold up the event loop.

    The openai package imports much of it only when it is used first (*seen* in 3.19).
    """
    import_module("rtllm.transport.http_faults")
    import openai  # noqa: PLC0415 - slow, and most programs ask over the socket only
    from openai.resources.chat import AsyncChat  # noqa: PLC0415
    from openai.resources.chat.completions import AsyncCompletions  # noqa: PLC0415

    del AsyncChat, AsyncCompletions  # only to be loaded: their packages import them by name
    openai.DefaultHttpxClient(trust_env=False).close()  # brings the HTTP client's own parts
