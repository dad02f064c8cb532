"""An agent that owns its LLM and passes it functions of its own, and whether both are freed."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import openai

from rtllm.simulator import Simulator
from support.memory import clients_of


class Owner:
    """An agent that owns its LLM, and passes it functions of its own."""

    llm: Any

    def __init__(self) -> None:
        self.reports: list[Any] = []

    def note(self, report: Any) -> None:
        self.reports.append(report)

    def key(self) -> str:
        return "sk-test"

    async def late_key(self) -> str:
        return "sk-test"


_PASSED: list[Any] = []
"""HTTP clients that tests passed to their LLMs, to be closed at the test's end."""


def _client(owner: Owner, service: Simulator) -> dict[str, Any]:
    _PASSED.append(openai.DefaultAsyncHttpxClient())
    client = openai.AsyncOpenAI(
        api_key=owner.late_key, base_url=service.base_url, http_client=_PASSED[-1]
    )
    return {"client": client}


CALLBACKS: dict[str, Callable[[Owner, Simulator], dict[str, Any]]] = {
    "none": lambda _owner, _service: {},
    "on_turn": lambda owner, _: {"on_turn": owner.note},
    "on_turn closure": lambda owner, _: {"on_turn": lambda report: owner.reports.extend([report])},
    "api_key": lambda owner, _: {"api_key": owner.key},
    "async api_key": lambda owner, _: {"api_key": owner.late_key},
    "api_key closure": lambda owner, _: {"api_key": lambda: str(owner.key())},
    "passed client": _client,
    "token provider": lambda owner, _: {"azure_ad_token_provider": owner.key},
    "async token provider": lambda owner, _: {"azure_ad_token_provider": owner.late_key},
    "dated token provider": lambda owner, _: {
        "azure_ad_token_provider": owner.late_key,
        "api_version": "2024-10-21",
    },
}
"""What an owner passes to its LLM, as keywords."""


def give_llm(
    owner: Owner, kind: Any, azure: Any, callback: str, service: Simulator, **options: Any
) -> None:
    """Give an owner its LLM: a class, its constructor for Azure, and what the owner passes."""
    passed = CALLBACKS[callback](owner, service)
    options = {"model": "gpt-4.1", **options, **passed}
    if "azure_ad_token_provider" in passed:
        owner.llm = azure(azure_endpoint=service.azure_endpoint, **options)
    elif "client" in passed:
        owner.llm = kind(**options)
    else:
        owner.llm = kind(**{"api_key": "sk-test", "base_url": service.base_url, **options})


def is_theirs(way: str, callback: str) -> bool:
    """Whether the sockets are those of a passed client, which is never closed here."""
    return callback == "passed client" and way in ("http", "chat")


@asynccontextmanager
async def hosted(reply: Any = "Hi.") -> AsyncIterator[Simulator]:
    """A service; passed clients are closed at the end."""
    async with Simulator(reply) as service:
        yield service
        while _PASSED:
            await _PASSED.pop().aclose()


def refs(owner: Owner) -> list[weakref.ref[object]]:
    """What must be freed with an owner."""
    clients = clients_of(owner.llm)
    assert clients
    return [weakref.ref(thing) for thing in (owner, owner.llm, *clients)]


def left() -> list[str]:
    """The tasks of ours that run."""
    return [t.get_name() for t in asyncio.all_tasks() if "rtllm" in t.get_name()]


async def freed(
    held: list[weakref.ref[object]], service: Simulator, *, theirs: bool = False
) -> None:
    """All of it is gone: the objects, the tasks, and the sockets if they are ours."""
    seen: tuple[int, list[str], int] | None = None
    with suppress(TimeoutError):
        async with asyncio.timeout(20):
            while seen != (0, [], 0):
                gc.collect()
                alive = sum(ref() is not None for ref in held)
                seen = (alive, left(), 0 if theirs else service.open_sockets)
                await asyncio.sleep(0.005)
    assert seen == (0, [], 0)
