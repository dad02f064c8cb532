"""Early import of the modules that a Chat request needs."""

from functools import cache
from importlib import import_module


@cache
def preload_chat() -> None:
    """Import the modules that a Chat request needs, which block the event loop for about a second.

    The openai package imports many of them on first use (*seen* in 3.19).
    """
    import_module("rtllm.transport.http_faults")
    import openai  # noqa: PLC0415 - slow, and most programs ask over the socket only
    from openai.resources.chat import AsyncChat  # noqa: PLC0415
    from openai.resources.chat.completions import AsyncCompletions  # noqa: PLC0415

    del AsyncChat, AsyncCompletions  # imported only to load their packages
    openai.DefaultHttpxClient(trust_env=False).close()  # loads the HTTP client's own modules
