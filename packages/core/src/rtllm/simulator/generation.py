"""Events of one response, generated from a reply. No I/O.

Every event is a dict with its ``sequence_number``; the transport adds its own parts (``stream_id``
on a WebSocket, ``data:`` lines over HTTP).
"""

from __future__ import annotations

import asyncio
import copy
import re
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

from rtllm.simulator.counting import tokens
from rtllm.simulator.echoed import opening_response, tier_used
from rtllm.simulator.memory import Item
from rtllm.simulator.script import (
    Call,
    Completed,
    Ending,
    Failed,
    Hosted,
    Incomplete,
    Pause,
    Reasoning,
    Refusal,
    Reply,
    Text,
)

Event: TypeAlias = dict[str, Any]
Split: TypeAlias = Callable[[str], Iterable[str]]


def words(text: str) -> list[str]:
    """Split a text into deltas: each word with the spaces that follow it."""
    return re.findall(r"\S+\s*|\s+", text)


def new_id(prefix: str) -> str:
    """Create a new id, like ``msg_0a1b…``."""
    return f"{prefix}_{secrets.token_hex(16)}"


@dataclass(frozen=True, slots=True)
class Pace:
    """The speed of a reply: seconds before the first output and between deltas, and the pieces."""

    time_to_first: float = 0.0
    per_delta: float = 0.0
    split: Split = words
    queued: bool = False


_NOISE = "aQ3xZ7mK0pL9vT2s"


class _FullError(Exception):
    """The next delta would exceed ``max_output_tokens``."""


class Generation:
    """One response being generated.

    ``output`` has the complete items. ``ending`` is how the response will end: as the reply says,
    or incomplete when ``max_output_tokens`` is reached.

    Args:
        body: The checked request.
        input_tokens: The tokens of everything that the model sees, including instructions and
            tools.
        cached_tokens: How many of them are read from the prompt cache.
        cache_write_tokens: How many of them are written to it.
        pace: The speed.
        sealed: Whether reasoning items have their encrypted content.
        response_id: The id of the response; a new one by default.
    """

    def __init__(
        self,
        body: dict[str, Any],
        *,
        input_tokens: int,
        cached_tokens: int,
        cache_write_tokens: int = 0,
        pace: Pace,
        sealed: bool = True,
        response_id: str | None = None,
    ) -> None:
        self._body = body
        self._pace = pace
        self._sealed = sealed
        self._input_tokens = input_tokens
        self._cached_tokens = cached_tokens
        self._cache_write_tokens = cache_write_tokens
        self._reasoning_tokens = 0
        self._characters = 0
        self._cap: int | None = body.get("max_output_tokens")
        self._sequence = 0
        self._open: Item | None = None
        self.id = response_id or new_id("resp")
        self.output: list[Item] = []
        self.ending: Ending = Completed()
        self._response = opening_response(self.id, body)

    def response(self, status: str, **changes: Any) -> dict[str, Any]:
        """Return the full ``response`` object at this moment."""
        return {**self._response, "status": status, **changes}

    def change(self, changed: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        """Change the ``response`` object that the events carry."""
        self._response = changed(self._response)

    def event(self, kind: str, **fields: Any) -> Event:
        """Create the next event. Objects in it are copied, since items still change."""
        event: Event = {"type": kind, "sequence_number": self._sequence}
        for name, value in fields.items():
            event[name] = copy.deepcopy(value) if isinstance(value, dict) else value
        self._sequence += 1
        return event

    def opening(self) -> list[Event]:
        """Create ``queued`` if the pace has it, then ``created`` and ``in_progress``."""
        opening = [("queued", "queued")] if self._pace.queued else []
        opening += [("created", "in_progress"), ("in_progress", "in_progress")]
        return [
            self.event(f"response.{kind}", response=self.response(status))
            for kind, status in opening
        ]

    async def items(self, reply: Reply) -> AsyncIterator[Event]:
        """Generate all events of the output, except the terminal one."""
        self.ending = reply.ending
        try:
            async for event in self._parts(reply):
                yield event
        except _FullError:
            self.ending = Incomplete("max_output_tokens")
            for event in self.close("incomplete"):
                yield event

    async def _parts(self, reply: Reply) -> AsyncIterator[Event]:
        if reply.parts and self._pace.time_to_first:
            await asyncio.sleep(self._pace.time_to_first)
        last = max(
            (i for i, part in enumerate(reply.parts) if not isinstance(part, Pause)), default=-1
        )
        for index, part in enumerate(reply.parts):
            cut = index == last and isinstance(reply.ending, Incomplete)
            async for event in self._part(part, "incomplete" if cut else "completed"):
                yield event

    async def _part(
        self, part: Text | Call | Reasoning | Hosted | Refusal | Pause, status: str
    ) -> AsyncIterator[Event]:
        match part:
            case Pause():
                await part.wait()
            case Text() | Refusal():
                async for event in self._message(part, status):
                    yield event
            case Call():
                async for event in self._call(part, status):
                    yield event
            case Reasoning():
                async for event in self._reasoning(part, status):
                    yield event
            case Hosted():
                kind = part.type.removesuffix("_call")
                item: Item = {"id": new_id(kind), "type": part.type, "status": "in_progress"}
                yield self._added(item)
                yield self._in_item(f"response.{part.type}.in_progress", item)
                if part.seconds:
                    await asyncio.sleep(part.seconds)
                item.update(part.fields)
                for event in self.close(status):
                    yield event

    async def _message(self, part: Text | Refusal, status: str) -> AsyncIterator[Event]:
        item: Item = {
            "id": new_id("msg"),
            "type": "message",
            "status": "in_progress",
            "role": "assistant",
            "content": [],
        }
        if isinstance(part, Text) and part.phase is not None:
            item["phase"] = part.phase
        yield self._added(item)
        item["content"].append(_empty_part(part))
        yield self._in_content("response.content_part.added", item, part=item["content"][0])
        steps = part.steps() if isinstance(part, Text) else (part.text,)
        field, kind = ("text", "output_text") if isinstance(part, Text) else ("refusal", "refusal")
        logprobs: dict[str, Any] = {"logprobs": []} if isinstance(part, Text) else {}
        async for delta in self._deltas(steps):
            item["content"][0][field] += delta
            yield self._in_content(
                f"response.{kind}.delta", item, delta=delta, **logprobs, obfuscation=self._padding()
            )
        for event in self.close(status):
            yield event

    async def _call(self, part: Call, status: str) -> AsyncIterator[Event]:
        item: Item = {
            "id": new_id("fc"),
            "type": "function_call",
            "status": "in_progress",
            "arguments": "",
            "call_id": part.call_id or new_id("call"),
            "name": part.name,
        }
        yield self._added(item)
        async for delta in self._deltas((part.arguments_json,)):
            item["arguments"] += delta
            yield self._in_item(
                "response.function_call_arguments.delta",
                item,
                delta=delta,
                obfuscation=self._padding(),
            )
        for event in self.close(status):
            yield event

    async def _reasoning(self, part: Reasoning, status: str) -> AsyncIterator[Event]:
        item: Item = {
            "id": new_id("rs"),
            "type": "reasoning",
            "summary": [],
            # Incomplete until the item is done: a client must not keep this one.
            "encrypted_content": secrets.token_urlsafe(6) if self._sealed else None,
        }
        self._reasoning_tokens += tokens(part.summary) if part.tokens is None else part.tokens
        yield self._added(item)
        if part.seconds:
            await asyncio.sleep(part.seconds)
        if part.summary:
            item["summary"].append({"type": "summary_text", "text": ""})
            place = {"summary_index": 0}
            yield self._in_item(
                "response.reasoning_summary_part.added", item, **place, part=item["summary"][0]
            )
            async for delta in self._deltas((part.summary,), costs=False):
                item["summary"][0]["text"] += delta
                yield self._in_item(
                    "response.reasoning_summary_text.delta",
                    item,
                    **place,
                    delta=delta,
                    obfuscation=self._padding(),
                )
        if self._sealed:
            item["encrypted_content"] += secrets.token_urlsafe(24)
        for event in self.close(status):
            yield event

    async def _deltas(
        self, steps: Iterable[str | Pause], *, costs: bool = True
    ) -> AsyncIterator[str]:
        for step in steps:
            if isinstance(step, Pause):
                await step.wait()
                continue
            for delta in self._pace.split(step):
                if costs:
                    self._spend(delta)
                if self._pace.per_delta:
                    await asyncio.sleep(self._pace.per_delta)
                yield delta

    def _padding(self) -> str:
        """Return padding that hides the length of a delta, as the service sends it by default."""
        return _NOISE[: self._sequence * 7 % 17]

    def _spend(self, delta: str) -> None:
        self._characters += len(delta)
        spent = self._reasoning_tokens - (-self._characters // 4)
        if self._cap is not None and spent > self._cap:
            raise _FullError

    def _added(self, item: Item) -> Event:
        self._open = item
        return self.event("response.output_item.added", output_index=len(self.output), item=item)

    def _in_item(self, kind: str, item: Item, **fields: Any) -> Event:
        return self.event(kind, item_id=item["id"], output_index=len(self.output), **fields)

    def _in_content(self, kind: str, item: Item, **fields: Any) -> Event:
        return self._in_item(kind, item, content_index=0, **fields)

    def close(self, status: str) -> list[Event]:
        """End the open item, if there is one; return its ``done`` events."""
        item = self._open
        if item is None:
            return []
        self._open = None
        if item["type"] != "reasoning":
            item["status"] = status
        events = [
            *self._done_events(item),
            self.event("response.output_item.done", output_index=len(self.output), item=item),
        ]
        self.output.append(item)
        return events

    def _done_events(self, item: Item) -> list[Event]:
        if item["type"] == "function_call":
            return [
                self._in_item(
                    "response.function_call_arguments.done", item, arguments=item["arguments"]
                )
            ]
        if item["type"] not in ("reasoning", "message"):
            return []
        if item["type"] == "reasoning":
            return [event for part in item["summary"] for event in self._summary_done(item, part)]
        return [event for part in item["content"] for event in self._content_done(item, part)]

    def _summary_done(self, item: Item, part: Item) -> list[Event]:
        place = {"summary_index": 0}
        return [
            self._in_item("response.reasoning_summary_text.done", item, **place, text=part["text"]),
            self._in_item("response.reasoning_summary_part.done", item, **place, part=part),
        ]

    def _content_done(self, item: Item, part: Item) -> list[Event]:
        if part["type"] == "refusal":
            done = self._in_content("response.refusal.done", item, refusal=part["refusal"])
        else:
            done = self._in_content(
                "response.output_text.done", item, text=part["text"], logprobs=[]
            )
        return [done, self._in_content("response.content_part.done", item, part=part)]

    def end(self, ending: Ending) -> list[Event]:
        """Close the open item and end the response."""
        match ending:
            case Failed(code, message):
                error = {"code": code, "message": message}
                failed = self.response("failed", error=error, output=self.output)
                return [self.event("response.failed", response=failed)]
            case Incomplete(reason):
                events = self.close("incomplete")
                cut = self.response(
                    "incomplete",
                    incomplete_details={"reason": reason},
                    **self._settled(),
                )
                return [*events, self.event("response.incomplete", response=cut)]
            case _:
                events = self.close("completed")
                done = self.response("completed", completed_at=int(time.time()), **self._settled())
                return [*events, self.event("response.completed", response=done)]

    def _settled(self) -> dict[str, Any]:
        return {
            "output": self.output,
            "usage": self.usage(),
            "service_tier": tier_used(self._body.get("service_tier")),
        }

    def usage(self) -> dict[str, Any]:
        """Return the tokens of input and output; the input includes the context of a parent."""
        visible = sum(tokens(_visible(item)) for item in self.output)
        output_tokens = visible + self._reasoning_tokens
        return {
            "input_tokens": self._input_tokens,
            "input_tokens_details": {
                "cached_tokens": self._cached_tokens,
                "cache_write_tokens": self._cache_write_tokens,
            },
            "output_tokens": output_tokens,
            "output_tokens_details": {"reasoning_tokens": self._reasoning_tokens},
            "total_tokens": self._input_tokens + output_tokens,
        }


def _visible(item: Item) -> Any:
    if item["type"] == "message":
        return "".join(part.get("text") or part.get("refusal") or "" for part in item["content"])
    return item["name"] + item["arguments"] if item["type"] == "function_call" else ""


def _empty_part(part: Text | Refusal) -> dict[str, Any]:
    if isinstance(part, Refusal):
        return {"type": "refusal", "refusal": ""}
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": ""}
