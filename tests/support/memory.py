"""What an object keeps alive."""

from __future__ import annotations

import gc
from types import FunctionType, ModuleType

from rtllm import ChatClient, Client

_NOT_FOLLOWED = (type, ModuleType, FunctionType)


def clients_of(model: object) -> list[Client | ChatClient]:
    """The clients that an LLM keeps alive by itself: through its own objects and containers."""
    found: list[Client | ChatClient] = []
    seen: set[int] = set()
    waiting: list[object] = [model]
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen or isinstance(thing, _NOT_FOLLOWED):
            continue
        seen.add(id(thing))
        if isinstance(thing, Client | ChatClient):
            found.append(thing)
            continue
        module = type(thing).__module__
        if thing is model or module.startswith("rtllm") or module in ("builtins", "collections"):
            waiting += gc.get_referents(thing)
    return found
