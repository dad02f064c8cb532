"""Scripts: requests as a script sees them, and replies as values.

A script is a callable from a ``Request`` to a ``Reply`` (or a plain string), directly or as an
awaitable. Three ready-made ones cover most tests.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

from rtllm.simulator.memory import Item

Phase: TypeAlias = Literal["commentary", "final_answer"]
Api: TypeAlias = Literal["responses", "chat"]
Transport: TypeAlias = Literal["websocket", "http"]


@dataclass(frozen=True, slots=True)
class Request:
    """One request that passed the checks, as the model would see it.

    A chat completion looks the same here: its messages and tools have the forms of the Responses
    API. Only ``body`` is unchanged.

    Attributes:
        body: The frame or the HTTP body as sent.
        context: Everything visible: the parents' inputs and outputs, then this input.
        instructions: This request's instructions; they are never carried over.
        tools: This request's tools.
        connection: The number of the connection, from 0; -1 over HTTP.
        lane: The ``stream_id``, None on the default lane.
        index: The number of the request on the server, from 0, including rejected ones.
        api: The API that was used.
    """

    body: dict[str, Any]
    context: list[Item]
    instructions: str | None
    tools: list[dict[str, Any]]
    connection: int
    lane: str | None
    index: int
    api: Api = "responses"

    @property
    def transport(self) -> Transport:
        """The protocol of the request."""
        return "http" if self.connection < 0 else "websocket"

    @property
    def last_user_text(self) -> str:
        """The text of the newest user message, empty if there is none."""
        for item in reversed(self.context):
            if item.get("role") == "user":
                return text_of(item)
        return ""

    @property
    def trailing_outputs(self) -> list[Item]:
        """The tool outputs at the end of the context, oldest first."""
        found: list[Item] = []
        for item in reversed(self.context):
            if item.get("type") != "function_call_output":
                break
            found.append(item)
        return found[::-1]


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait for an event, or for a number of seconds, before going on."""

    until: asyncio.Event | float

    async def wait(self) -> None:
        """Wait."""
        if isinstance(self.until, asyncio.Event):
            await self.until.wait()
        else:
            await asyncio.sleep(self.until)


@dataclass(frozen=True, slots=True)
class Text:
    """A message. ``pieces`` replaces ``text`` if it must pause inside."""

    text: str = ""
    phase: Phase | None = None
    pieces: tuple[str | Pause, ...] = ()

    def steps(self) -> tuple[str | Pause, ...]:
        """Return the pieces to stream, in order."""
        return self.pieces or (self.text,)


@dataclass(frozen=True, slots=True)
class Call:
    """A function call. Arguments may be a dict, or any string, also broken JSON."""

    name: str
    arguments: str | dict[str, Any] = "{}"
    call_id: str | None = None

    @property
    def arguments_json(self) -> str:
        """The arguments as they are sent."""
        if isinstance(self.arguments, str):
            return self.arguments
        return json.dumps(self.arguments, separators=(",", ":"), ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Reasoning:
    """A reasoning item; its tokens are estimated from the summary unless given.

    ``seconds`` is how long the model reasons. ``shown`` sends the summary over Chat Completions
    too, as ``reasoning_content``: OpenAI does not, many other hosts do.
    """

    summary: str = ""
    tokens: int | None = None
    seconds: float = 0.0
    shown: bool = False


@dataclass(frozen=True, slots=True)
class Hosted:
    """The item of a hosted tool that the service generates, such as ``web_search_call``.

    ``seconds`` is how long the tool runs.
    """

    type: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """A message in which the model refuses."""

    text: str


@dataclass(frozen=True, slots=True)
class Completed:
    """The normal end."""


@dataclass(frozen=True, slots=True)
class Incomplete:
    """The service cut the response short; its last item is incomplete."""

    reason: str = "max_output_tokens"


@dataclass(frozen=True, slots=True)
class Failed:
    """The service failed to complete the response."""

    code: str = "server_error"
    message: str = "The server had an error processing your request. Sorry about that!"


Part: TypeAlias = Text | Call | Reasoning | Hosted | Refusal | Pause
Ending: TypeAlias = Completed | Incomplete | Failed


@dataclass(frozen=True, slots=True)
class Reply:
    """The reply of the model: its parts in order, and how it ends."""

    parts: tuple[Part, ...] = ()
    ending: Ending = field(default_factory=Completed)

    def __post_init__(self) -> None:
        for part in self.parts:
            if not isinstance(part, Part):
                raise TypeError(
                    f"a part of a reply is {part!r}; expected a string or one of "
                    f"{', '.join(kind.__name__ for kind in get_args(Part))}"
                )

    @classmethod
    def of(cls, *parts: Part | str, ending: Ending | None = None) -> Reply:
        """Build a reply; strings become texts."""
        texts = tuple(Text(part) if isinstance(part, str) else part for part in parts)
        return cls(texts, ending or Completed())

    def with_reasoning(self) -> Reply:
        """Return the reply with a reasoning item first, if it has output and none yet."""
        if not self.parts or any(isinstance(part, Reasoning) for part in self.parts):
            return self
        return dataclasses.replace(self, parts=(Reasoning(), *self.parts))

    def with_phases(self) -> Reply:
        """Return the reply with a phase for every text: commentary before a call, else final."""
        last_call = max((i for i, p in enumerate(self.parts) if isinstance(p, Call)), default=-1)
        parts = [
            dataclasses.replace(part, phase="commentary" if i < last_call else "final_answer")
            if isinstance(part, Text) and part.phase is None
            else part
            for i, part in enumerate(self.parts)
        ]
        return dataclasses.replace(self, parts=tuple(parts))


Answer: TypeAlias = Reply | str
Script: TypeAlias = Callable[[Request], Answer | Awaitable[Answer]]
"""A function, plain or async, that responds to each request."""


def as_reply(answer: Answer) -> Reply:
    """Convert an answer to a reply, also from a plain string.

    Raises:
        TypeError: If it is neither.
    """
    if isinstance(answer, str):
        return Reply.of(answer)
    if not isinstance(answer, Reply):
        raise TypeError(
            f"an answer of a script is {answer!r}; expected a string or a Reply, for several parts "
            'for example Reply.of("One moment.", Call("get_weather"))'
        )
    return answer


def text_of(item: Item) -> str:
    """Return the text of an item, whatever its type."""
    kind = item.get("type", "message")
    if kind == "function_call":
        return f"{item['name']} {item['arguments']}"
    if kind == "function_call_output":
        return _parts_text(item["output"])
    if kind == "reasoning":
        return _parts_text(item.get("summary") or [])
    return _parts_text(item.get("content") or "")


def _parts_text(content: str | list[dict[str, Any]]) -> str:
    if isinstance(content, str):
        return content
    return "".join(part.get("text") or part.get("refusal") or "" for part in content)


def echo() -> Script:
    """Answer every request with the last user message."""
    return lambda request: f"You said: {request.last_user_text}"


def fixed(*answers: Answer) -> Script:
    """Give these answers one after another; the last one repeats.

    Raises:
        ValueError: If there are none.
        TypeError: If one is neither a string nor a `Reply`.
    """
    if not answers:
        raise ValueError("fixed() needs at least one answer")
    for answer in answers:
        as_reply(answer)
    left = list(answers)

    def script(_: Request) -> Answer:
        return left.pop(0) if len(left) > 1 else left[0]

    return script


def calls_on_demand() -> Script:
    """Call what the user asks for, then quote the outputs.

    Each line ``call NAME {json}`` of the user's text becomes a call, all in one response. Any other
    text is echoed.
    """

    def script(request: Request) -> Answer:
        outputs = request.trailing_outputs
        if outputs:
            return "The tools said: " + "; ".join(text_of(item) for item in outputs)
        asked = re.findall(r"^call +([\w-]+) *(\{.*\})? *$", request.last_user_text, re.MULTILINE)
        if asked:
            return Reply(tuple(Call(name, arguments or "{}") for name, arguments in asked))
        return f"You said: {request.last_user_text}"

    return script
