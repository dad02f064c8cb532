"""Scripts that note what they answered, and what a framework records of an answer."""

from __future__ import annotations

import inspect
from dataclasses import replace

from rtllm.simulator import Call, Refusal, Reply, Request, Script, Text
from support.contexts import Unit, by_value, message


class NotedScript:
    """A script that names its calls and remembers what it answered to which request."""

    def __init__(self, script: Script | Reply | str) -> None:
        self.script = script
        self.replies: dict[int, Reply] = {}

    async def __call__(self, request: Request) -> Reply:
        answer = self.script(request) if callable(self.script) else self.script
        if inspect.isawaitable(answer):
            answer = await answer
        reply = Reply.of(answer) if isinstance(answer, str) else answer
        parts = [
            replace(part, call_id=f"call_{request.index}_{n}")
            if isinstance(part, Call) and part.call_id is None
            else part
            for n, part in enumerate(reply.parts)
        ]
        self.replies[request.index] = reply = replace(reply, parts=tuple(parts))
        return reply


def words_of(reply: Reply) -> list[str]:
    """What a reply says, each of its messages."""
    texts: list[str] = []
    for part in reply.parts:
        if isinstance(part, Text):
            texts.append("".join(piece for piece in part.steps() if isinstance(piece, str)))
        elif isinstance(part, Refusal):
            texts.append(part.text)
    return texts


def calls_of(reply: Reply) -> list[Unit]:
    """The calls of a reply."""
    return [
        ("call", part.call_id, part.name, by_value(part.arguments_json))
        for part in reply.parts
        if isinstance(part, Call)
    ]


def recorded_of(reply: Reply) -> list[Unit] | None:
    """What frameworks record of a reply that was heard whole: one message, then the calls.

    None if words come after a call.
    """
    kinds = [isinstance(p, Call) for p in reply.parts if isinstance(p, Text | Refusal | Call)]
    if kinds != sorted(kinds):
        return None
    texts, calls = words_of(reply), calls_of(reply)
    phases = [part.phase for part in reply.parts if isinstance(part, Text) and part.phase]
    said = [message("assistant", " ".join(texts), phases[-1] if phases else None)] if texts else []
    return [*said, *calls]
