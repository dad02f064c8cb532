"""A simulator and an adapter on it, and what the model saw."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any

from rtllm.simulator import Entry, Reply, Script, Simulator
from rtllm.testing.under_test import (
    AdapterUnderTest,
    Check,
    ContextEntry,
    ContractViolation,
    ConversationUnderTest,
    MakeAdapter,
    Setup,
    call_entry,
)

LIMIT = 100.0
"""Seconds after which a check fails because a turn has not ended."""


class Stage:
    """A simulator and an adapter on it."""

    def __init__(self, service: Simulator, adapter: AdapterUnderTest) -> None:
        self.service = service
        self.adapter = adapter

    @property
    def protocol(self) -> str:
        """The protocol of the adapter."""
        return str(getattr(self.adapter, "protocol", "websocket"))

    def check_chained(self, entry: Entry) -> None:
        """Check that a request continues a response, if its protocol has that."""
        require(
            self.protocol == "chat" or is_chained(entry),
            f"request {entry.index} sends {entry.input} and continues "
            f"{entry.previous_response_id}; it should send only what is new",
        )

    def check_accepted(self) -> None:
        """Check that the host has rejected no request."""
        refused = [entry.error_message for entry in self.service.journal.refused]
        require(not refused, f"the host rejected requests: {refused}")

    def requests(self, text: str) -> list[Entry]:
        """Return the requests of the turn that begins with a text of the user."""
        return [e for e in self.service.journal.entries if _last_user_text(e) == text]

    async def say(self, conversation: ConversationUnderTest, text: str) -> str:
        """Hold a turn that must succeed; return its text."""
        heard = await conversation.say(text)
        require(not heard.failed, f"the turn {text!r} failed after {heard.text!r}")
        self.check_context(conversation, text)
        return heard.text

    def check_context(self, conversation: ConversationUnderTest, text: str) -> None:
        """Check that the model saw the framework's context in a turn that has ended."""
        requests = self.requests(text)
        require(bool(requests), f"no request ends with the user's {text!r}")
        last = requests[-1]
        seen = canonical([*seen_in(last), ("assistant", last.reply_text)])
        expected = canonical(conversation.context())
        require(
            seen == expected,
            f"in the turn {text!r} the model saw and answered {seen}; the context is {expected}",
        )


@asynccontextmanager
async def stage_of(
    make: MakeAdapter,
    script: Script | Reply | str,
    *,
    temperature: float | None = None,
    **simulator: Any,
) -> AsyncIterator[Stage]:
    """Start a simulator and an adapter on it."""
    async with Simulator(script, **simulator) as service:
        adapter = make(Setup(service.base_url, temperature=temperature))
        try:
            yield Stage(service, adapter)
        finally:
            await adapter.aclose()


def limited(check: Check) -> Check:
    """Let a check fail if a turn does not end, or if the adapter raises."""

    @wraps(check)
    async def limited(make: MakeAdapter) -> None:
        try:
            async with asyncio.timeout(LIMIT):
                await check(make)
        except TimeoutError:
            raise ContractViolation(f"a turn did not end within {LIMIT:g} s") from None
        except ContractViolation:
            raise
        except Exception as error:
            raise ContractViolation(f"the adapter raised {error!r}") from error

    return limited


def require(condition: bool, violation: str) -> None:
    """Raise a violation if a condition does not hold."""
    if not condition:
        raise ContractViolation(violation)


def _last_user_text(entry: Entry) -> str | None:
    texts = [text for role, text in entry.texts() if role == "user"]
    return texts[-1] if texts else None


def seen_in(entry: Entry) -> list[ContextEntry]:
    """Read what the model saw of a request."""
    seen: list[ContextEntry] = [("system", entry.instructions)] if entry.instructions else []
    for item, (kind, text) in zip(entry.context, entry.texts(), strict=True):
        if kind == "function_call":
            seen.append(call_entry(item["name"], item["arguments"]))
        elif kind == "function_call_output":
            seen.append(("output", text))
        elif kind != "reasoning":
            seen.append(("system" if kind == "developer" else kind, text))
    return seen


def canonical(entries: Iterable[ContextEntry]) -> list[ContextEntry]:
    """Join adjacent texts of the assistant, and sort adjacent calls and outputs."""
    made: list[ContextEntry] = []
    run: list[ContextEntry] = []
    for kind, text in entries:
        if kind in ("call", "output"):
            run.append((kind, text))
            continue
        made += sorted(run)
        run = []
        words = " ".join(text.split())
        if kind == "assistant" and made and made[-1][0] == kind:
            made[-1] = (kind, f"{made[-1][1]} {words}".strip())
        elif words:
            made.append((kind, words))
    return [*made, *sorted(run)]


def is_chained(entry: Entry) -> bool:
    """Whether a request continues a response and repeats nothing of it."""
    return entry.previous_response_id is not None and not any(
        item.get("role") in ("assistant", "system", "developer")
        or item.get("type") == "function_call"
        for item in entry.input
    )
