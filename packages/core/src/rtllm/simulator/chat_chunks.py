"""Chunks of one chat completion, generated from a reply. No I/O."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from collections.abc import AsyncIterator, Collection, Iterator
from typing import Any, TypeAlias

from rtllm.simulator.counting import tokens
from rtllm.simulator.faults import ChatFlaw
from rtllm.simulator.generation import Pace, new_id
from rtllm.simulator.script import Call, Hosted, Pause, Reasoning, Refusal, Reply, Text

Chunk: TypeAlias = dict[str, Any]
_NOISE = "aQ3xZ7mK0pL9vT2s"


class _FullError(Exception):
    """The next delta would exceed the limit."""


class Completion:
    """One chat completion being generated.

    Attributes:
        id: Its id.
        message: The message so far, as in a response that isn't streamed.
        is_full: Whether the limit of output tokens cut it short.

    Args:
        body: The checked request.
        model: The model's name in the chunks.
        input_tokens: The tokens of all messages and tools.
        cached_tokens: How many of them are read from the prompt cache.
        cache_write_tokens: How many of them are written to it.
        pace: The speed.
        flaws: The forms of chunks that some host uses.
        azure: Whether chunks have Azure's additional fields.
    """

    def __init__(
        self,
        body: dict[str, Any],
        *,
        model: str,
        input_tokens: int,
        cached_tokens: int = 0,
        cache_write_tokens: int = 0,
        pace: Pace,
        flaws: Collection[ChatFlaw] = (),
        azure: bool = False,
    ) -> None:
        self.id = f"chatcmpl-{secrets.token_hex(14)}"
        self.message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
        self.is_full = False
        self._pace = pace
        self._flaws = flaws
        self._azure = azure
        self._input_tokens = input_tokens
        self._cached_tokens = cached_tokens
        self._cache_write_tokens = cache_write_tokens
        self._reasoning_tokens = 0
        self._characters = 0
        self._cap = body.get("max_completion_tokens") or body.get("max_tokens")
        self._tells_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        tier = body.get("service_tier") or "auto"
        self._head = {
            "id": self.id,
            "created": int(time.time()),
            "model": model,
            "service_tier": {"fast": "priority", "auto": "default"}.get(tier, tier),
            "system_fingerprint": "fp_simulator",
        }

    def chunk(self, delta: Any, finish: str | None = None, **fields: Any) -> Chunk:
        """Create a chunk with one choice."""
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        if self._azure:
            choice["content_filter_results"] = {}
        return self._chunk([choice], **fields)

    def _chunk(self, choices: list[Any], usage: Any = None, **fields: Any) -> Chunk:
        chunk = {**self._head, "object": "chat.completion.chunk", "choices": choices, **fields}
        if usage is None and "usage_everywhere" in self._flaws:
            usage = self.usage()
        if self._tells_usage or usage is not None:
            chunk["usage"] = usage
        return chunk

    def opening(self) -> list[Chunk]:
        """Create the chunks before the first output."""
        role = self.chunk({"role": "assistant", "content": "", "refusal": None})
        if not (self._azure or "prompt_filter" in self._flaws):
            return [role]
        results = [{"prompt_index": 0, "content_filter_results": {}}]
        empty = {"id": "", "created": 0, "model": "", "object": ""}
        return [{**empty, "choices": [], "prompt_filter_results": results}, role]

    async def pieces(self, reply: Reply) -> AsyncIterator[Chunk]:
        """Generate all chunks with output."""
        if reply.parts and self._pace.time_to_first:
            await asyncio.sleep(self._pace.time_to_first)
        try:
            for are_calls, group in itertools.groupby(reply.parts, lambda p: isinstance(p, Call)):
                parts = list(group)
                stream = self._calls(parts) if are_calls else self._words(parts)
                async for delta in stream:
                    if self._pace.per_delta:
                        await asyncio.sleep(self._pace.per_delta)
                    yield self.chunk(delta, obfuscation=_NOISE[: self._characters % 17])
        except _FullError:
            self.is_full = True

    async def _words(self, parts: list[Any]) -> AsyncIterator[dict[str, Any]]:
        for part in parts:
            match part:
                case Pause():
                    await part.wait()
                case Hosted():
                    raise ValueError(
                        f"Chat Completions has no {part.type}; use Hosted with the Responses API"
                    )
                case Reasoning():
                    if part.seconds:
                        await asyncio.sleep(part.seconds)
                    given = part.tokens
                    self._reasoning_tokens += tokens(part.summary) if given is None else given
                    if part.shown:
                        yield {"content": None, "reasoning_content": part.summary}
                case Text():
                    async for delta in self._said("content", part.steps()):
                        yield delta
                case Refusal():
                    async for delta in self._said("refusal", (part.text,)):
                        yield delta

    async def _said(
        self, field: str, steps: tuple[str | Pause, ...]
    ) -> AsyncIterator[dict[str, Any]]:
        for step in steps:
            if isinstance(step, Pause):
                await step.wait()
                continue
            for delta in self._pace.split(step):
                self._spend(delta)
                self.message[field] = (self.message[field] or "") + delta
                yield {field: delta}

    async def _calls(self, calls: list[Any]) -> AsyncIterator[dict[str, Any]]:
        first = len(self.message.get("tool_calls", ()))
        streams = [self._call(first + place, call) for place, call in enumerate(calls)]
        interleaved = itertools.chain.from_iterable(itertools.zip_longest(*streams))
        in_turn = itertools.chain.from_iterable(streams)
        for piece in interleaved if "calls_interleaved" in self._flaws else in_turn:
            if piece is not None:
                yield {"tool_calls": [piece]}

    def _call(self, place: int, call: Call) -> Iterator[dict[str, Any]]:
        call_id = call.call_id or new_id("call")[:29]
        made = {"name": call.name, "arguments": ""}
        whole = {"id": call_id, "type": "function", "function": made}
        self.message.setdefault("tool_calls", []).append(whole)
        deltas = list(self._pace.split(call.arguments_json))
        if "call_whole" not in self._flaws:
            yield self._piece(place, call_id, call.name, "", is_first=True)
        else:
            deltas = [call.arguments_json]
        for delta in deltas:
            self._spend(delta)
            made["arguments"] += delta
            yield self._piece(
                place, call_id, call.name, delta, is_first="call_whole" in self._flaws
            )

    def _piece(
        self, place: int, call_id: str, name: str, arguments: str, *, is_first: bool
    ) -> dict[str, Any]:
        piece: dict[str, Any] = {"index": place}
        function = {"arguments": arguments}
        if is_first or "call_id_repeated" in self._flaws:
            piece |= {"id": call_id, "type": "function"}
        if is_first or "call_name_repeated" in self._flaws:
            function = {"name": name, **function}
        for flaw in self._flaws:
            match flaw:
                case "call_id_missing":
                    piece.pop("id", None)
                case "call_place_missing":
                    piece.pop("index", None)
                case "call_place_zero":
                    piece["index"] = 0
                case "call_places_with_gaps":
                    piece["index"] = 3 * place + 1
                case _:
                    pass
        return {**piece, "function": function}

    def _spend(self, delta: str) -> None:
        self._characters += len(delta)
        if self._cap is not None and self._output_tokens() > self._cap:
            self._characters -= len(delta)
            raise _FullError

    def _output_tokens(self) -> int:
        return self._reasoning_tokens - (-self._characters // 4)

    def finish(self, reason: str) -> list[Chunk]:
        """Create the end of the choice, then the usage if it was requested."""
        with_finish = "usage_with_finish" in self._flaws
        chunks = [self.chunk({}, reason, usage=self.usage() if with_finish else None)]
        if "finish_missing" in self._flaws:
            chunks = []
        if "delta_null_tail" in self._flaws:
            chunks.append(self.chunk(None))
        if self._tells_usage and not with_finish and "usage_missing" not in self._flaws:
            usage = None if "usage_null" in self._flaws else self.usage()
            chunks.append(self._chunk([], usage=usage))
        return chunks

    def usage(self) -> dict[str, Any]:
        """Return the tokens of input and output."""
        made = self._output_tokens()
        return {
            "prompt_tokens": self._input_tokens,
            "completion_tokens": made,
            "total_tokens": self._input_tokens + made,
            "prompt_tokens_details": {
                "cached_tokens": self._cached_tokens,
                "cache_write_tokens": self._cache_write_tokens,
                "audio_tokens": 0,
            },
            "completion_tokens_details": {
                "reasoning_tokens": self._reasoning_tokens,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }

    def whole(self, reason: str) -> dict[str, Any]:
        """Return the completion as one object, for a request that isn't streamed."""
        message = {"annotations": [], **self.message}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
        return {
            **self._head,
            "object": "chat.completion",
            "choices": [choice],
            "usage": self.usage(),
        }
