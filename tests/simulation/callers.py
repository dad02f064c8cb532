"""Callers: what frameworks ask for, record, cut, edit and hand back."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from rtllm.content.items import Image, Item, Message, Text, ToolCall, ToolOutput
from rtllm.content.request import Request
from rtllm.content.retries import RetryPolicy
from rtllm.content.timeouts import Timeouts
from simulation.decisions import Decisions
from simulation.records import Response, Wanted
from simulation.worlds import Keys, World
from support.contexts import Unit, by_value, canonical, message

NO_RESULT = "no result: interrupted or failed"
LIMITS = Timeouts(base=10.0, connect=5.0, open_item=30.0, total=120.0)
RETRY = RetryPolicy(budget=3, interval=2.0, max_wait=8.0)
WARM_UP_LIMITS = Timeouts(base=10.0, connect=5.0, open_item=30.0, total=20.0)
LOOK_UP = '{"type":"function","name":"look_up","description":"%s","parameters":{},"strict":false}'
TOOLS = ((LOOK_UP % "Look up.").encode(),)
MODELS = ("model-a", "model-b")
WINDOW = 16
"""How many items a context has before its oldest ones are dropped."""
TURNS = 14
"""How many turns a call has at most."""
SAYINGS = ("hello", "yes", "no, the other one", "what time is it", "book it")
PROMPTS = ("You are Ada.", "You are Bob.")
LARGE = "x" * 300_000
HUGE = "x" * 1_100_000


def secret(owner: int) -> str:
    """What only one call may hold."""
    return f"#{owner}#"


@dataclass(slots=True, eq=False)
class Call:
    """One phone call: a conversation as its framework keeps it.

    Attributes:
        owner: Its number, which no other call has.
        engine: The number of the engine that it uses.
        caller: The number of its caller.
        model: The model that it asks.
        keys: How its items are named.
        marks: Whether marks are recorded.
        name: The name that its requests give.
        store: Whether its answers are stored.
        hold_calls: Whether calls are emitted at the end of an answer.
        keeps_carried: Whether the framework records a host's own fields of calls.
        guide: Text for ``instructions``.
        lead: The leading system texts.
        items: What was said and done since, with what the model sees of each.
        responses: The completed responses of its turns, the oldest first.
        asks: How often each context was asked.
        turns: How many turns it had.
        rounds: How many tool rounds the present turn had.
        last_ask: When it last asked.
        has_edited: Whether instructions were edited since the last request.
        tools: Its tools, whose descriptions may be changed in place.
        headers: What its requests over HTTP have: nothing, its caller's headers, or those and one
            that is new in each request.
    """

    owner: int
    engine: int
    caller: int
    model: str
    keys: Keys
    marks: bool
    name: str | None
    store: bool
    hold_calls: bool
    keeps_carried: bool
    guide: str
    lead: list[str]
    says_secrets: bool
    items: list[tuple[Item, Unit]] = field(default_factory=list)
    responses: list[Response] = field(default_factory=list)
    asks: dict[tuple[str | None, ...], int] = field(default_factory=dict)
    turns: int = 0
    rounds: int = 0
    last_ask: float = -1e9
    cuts: int = 0
    trace: str = ""
    lead_keys: list[str | None] = field(default_factory=list)
    tools: tuple[bytes, ...] = TOOLS
    words: int = 0
    headers: Literal["none", "own", "changing"] = "none"
    numbers: itertools.count[int] = field(default_factory=itertools.count)

    @property
    def is_anonymous(self) -> bool:
        """Whether nothing but its words tells it from others who say the same.

        Such a call drops and changes nothing of what it said: else its context could become
        that of another such call, which nothing could tell.
        """
        return self.keys == "none" and self.name is None and not self.says_secrets

    @property
    def label(self) -> str:
        """What its pictures and tools hold of it."""
        return secret(self.owner) if self.says_secrets else "all"

    def key(self) -> str | None:
        """Name a new item."""
        if self.keys in ("none", "fresh"):
            return None
        return f"{self.owner}-{next(self.numbers)}"

    def say(self, text: str) -> None:
        """Add the user's words."""
        self.items.append(
            (replace(Message.of("user", text), key=self.key()), message("user", text))
        )

    def show(self, text: str, picture: str) -> None:
        """Add the user's words and a picture."""
        shown = Message("user", (Text(text), Image(picture)), key=self.key())
        self.items.append((shown, _seen(shown)))

    def change(self, choose: Decisions) -> None:
        """Change a message of the user, or its picture, in place under its id."""
        own = [
            (at, said)
            for at, (said, _) in enumerate(self.items)
            if isinstance(said, Message) and said.role == "user"
        ]
        shown = [(at, said) for at, said in own if said.has_images]
        if not own:
            return
        at, said = choose.pick(shown or own)
        if shown:
            parts = tuple(
                replace(part, url=f"{part.url}+") if isinstance(part, Image) else part
                for part in said.parts
            )
        else:
            parts = (Text(f"{said.text} Please."),)
        said = replace(said, parts=parts)
        self.items[at] = (said, _seen(said))

    def describe(self, text: str) -> None:
        """Change the description of its tool."""
        self.tools = ((LOOK_UP % text).encode(),)

    def instruct(self, text: str) -> None:
        """Add a system text."""
        said = replace(Message.of("system", text), key=self.key())
        self.items.append((said, message("system", text)))

    def unsay(self) -> None:
        """Drop the user's latest words, and what followed them."""
        while self.items:
            _, seen = self.items.pop()
            if seen[:2] == ("message", "user"):
                return

    def hear(self, text: str, mark: str | None) -> None:
        """Record what was heard of an answer."""
        mark = mark if self.marks else None
        said = replace(Message.of("assistant", text), key=self.key(), mark=mark)
        self.items.append((said, message("assistant", text)))

    def run(
        self, calls: Sequence[ToolCall], outputs: Sequence[str | None], mark: str | None
    ) -> None:
        """Record calls and what they came to; None for an output that is missing."""
        mark = mark if self.marks else None
        for call in calls:
            made = replace(call, key=self.key(), mark=mark)
            if not self.keeps_carried:
                made = replace(made, carried=None)
            self.items.append((made, ("call", call.call_id, call.name, by_value(call.arguments))))
        for call, output in zip(calls, outputs, strict=True):
            if output is not None:
                done = ToolOutput(call.call_id, output, key=self.key())
                self.items.append((done, ("output", call.call_id, output)))

    def window(self) -> None:
        """Drop the oldest items, up to a message of the user."""
        if len(self.items) <= WINDOW or self.is_anonymous:
            return
        for at in range(WINDOW // 2, len(self.items)):
            if self.items[at][1][:2] == ("message", "user"):
                del self.items[:at]
                return

    def wanted(self) -> Wanted:
        """Tell what the model must see: each call answered, and else all as it is."""
        seen = [seen for _, seen in self.items]
        answered = {item[1] for item in seen if item[0] == "output"}
        whole: list[Unit] = []
        for item in seen:
            whole.append(item)
            if item[0] == "call" and item[1] not in answered:
                whole.append(("output", item[1], NO_RESULT))
        keys = tuple(getattr(item, "key", None) for item, _ in self.items)
        return Wanted(tuple(self.lead), self.guide, canonical(whole), keys)

    def context(self) -> tuple[Item, ...]:
        """Build the items of a request."""
        if self.keys == "fresh":
            numbers = self.numbers
            self.lead_keys = [f"{self.owner}-{next(numbers)}" for _ in self.lead]
            self.items = [
                (renamed(item, f"{self.owner}-{next(numbers)}"), seen) for item, seen in self.items
            ]
        lead = [
            replace(Message.of("system", text), key=key)
            for text, key in zip(self.lead, self.lead_keys, strict=True)
        ]
        return (*lead, *(item for item, _ in self.items))


def _seen(said: Message) -> Unit:
    """What the model sees of a message with pictures."""
    parts = (
        ("image", part.url, part.detail) if isinstance(part, Image) else ("text", part.text)
        for part in said.parts
    )
    return ("message", said.role, None, tuple(parts))


def renamed(item: Item, key: str) -> Item:
    """Give an item another id."""
    return replace(item, key=key) if isinstance(item, Message | ToolCall | ToolOutput) else item


def record(output: tuple[Item, ...]) -> tuple[Item, ...]:
    """Map an output to what the framework records: its texts joined, then its calls."""
    said = " ".join(item.text for item in output if isinstance(item, Message) and item.text)
    calls = tuple(item for item in output if isinstance(item, ToolCall))
    return (Message.of("assistant", said), *calls) if said else calls


def record_nothing(_: tuple[Item, ...]) -> None:
    """Map an output to nothing: the framework records something else."""


def record_strangely(_: tuple[Item, ...]) -> tuple[Item, ...]:
    """Return what is not an item, as foreign code may."""
    strange: Any = ("words", None)
    return strange  # type: ignore[no-any-return]


def record_badly(_: tuple[Item, ...]) -> tuple[Item, ...]:
    """Fail, as foreign code may."""
    raise LookupError("foreign code failed")


Recorder = Callable[[tuple[Item, ...]], tuple[Item, ...] | None]
ODD_RECORDERS: tuple[Recorder, ...] = (record_nothing, record_badly, record_strangely)
"""Recorders after which a response can't be continued."""


def begin_call(
    owner: int, caller: int, engine: int, world: World, choose: Decisions, now: float
) -> Call:
    """Begin a call."""
    keys = choose.pick(world.keys)
    store = choose.pick((False, False, True))
    is_alike = world.twins or choose.chance(0.2)
    call = Call(
        owner=owner,
        engine=engine,
        caller=caller,
        model=choose.pick(MODELS) if not world.twins and choose.chance(0.3) else MODELS[0],
        keys=keys,
        marks=choose.chance(0.3),
        name=f"call-{owner}" if choose.chance(0.1) else None,
        store=store,
        hold_calls=choose.chance(0.4),
        keeps_carried=keys not in ("kept", "template") or bool(choose.below(2)),
        guide="Speak plainly." if not world.twins and choose.chance(0.3) else "",
        lead=_lead(world, choose),
        says_secrets=not is_alike,
    )
    call.headers = choose.pick(("none", "own", "changing"))
    call.trace = f"config-{owner}" if keys in ("kept", "fresh") else ""
    call.lead_keys = [call.key() for _ in call.lead]
    call.last_ask = now
    if keys == "template":
        greeting, answer = "Hello, this is Ada.", "Hi."
        said = replace(Message.of("assistant", greeting), key="t-1")
        call.items.append((said, message("assistant", greeting)))
        call.items.append((replace(Message.of("user", answer), key="t-2"), message("user", answer)))
    return call


def _lead(world: World, choose: Decisions) -> list[str]:
    if world.twins:
        return [PROMPTS[0]]
    return [choose.pick(PROMPTS)] if choose.below(8) < 7 else []


def words_of(call: Call, choose: Decisions, world: World) -> str:
    """Choose the user's next words."""
    call.words += 1
    if not call.says_secrets:
        return SAYINGS[(call.words if world.twins else choose.below(5)) % len(SAYINGS)]
    text = f"{SAYINGS[choose.below(5)]} {secret(call.owner)} {call.words}"
    if choose.chance(world.large):
        text += LARGE
    if choose.chance(world.huge):
        text += HUGE
    return text


def request_of(
    call: Call, serial: int, choose: Decisions, *, silence: float, is_odd: bool
) -> Request:
    """Build a request for the call in its current state."""
    settings: dict[str, object] = {"metadata": {"t": serial}}
    if not call.store:  # left out means yes
        settings["store"] = False
    if choose.chance(0.3):
        settings["temperature"] = 0.5
    recorder: Recorder = record
    if is_odd:
        recorder = choose.pick(ODD_RECORDERS)
    return Request(
        items=call.context(),
        model=call.model,
        record=recorder,
        settings=settings,
        tools=call.tools,
        guide=call.guide,
        limits=replace(LIMITS, silence=silence) if serial % 2 else LIMITS,
        retry=RETRY,
        hold_calls=call.hold_calls,
        headers=headers_of(call, serial),
        unsent=(call.trace,) if call.trace else (),
        conversation=call.name,
    )


def headers_of(call: Call, serial: int) -> dict[str, str]:
    """Write the headers of a call's request."""
    headers = {} if call.headers == "none" else {"x-caller": secret(call.owner)}
    return headers | {"x-request": str(serial)} if call.headers == "changing" else headers


def warm_up_of(prompt: str, model: str, serial: int) -> Request:
    """Build a request that prepares a prompt for every call."""
    return Request(
        items=(Message.of("system", prompt),),
        model=model,
        record=lambda _: (),
        settings={"metadata": {"t": serial}, "store": False},
        tools=TOOLS,
        limits=WARM_UP_LIMITS,
        retry=RetryPolicy(budget=0),
        warm_up=True,
    )
