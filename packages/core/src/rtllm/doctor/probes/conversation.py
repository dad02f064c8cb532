"""Probe by a conversation: the library's own client talks to the host as an agent would.

Its turns share a long prompt, so that they also tell about the host's prompt cache.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from rtllm.client.base import BaseClient
from rtllm.client.chat_client import ChatClient
from rtllm.client.client import Client
from rtllm.content.events import TextDelta, ToolCallReady
from rtllm.content.items import Item, Message
from rtllm.content.request import Request
from rtllm.content.timeouts import Timeouts
from rtllm.content.usage import Totals
from rtllm.doctor.judgements.conversation import ToolTurn, Turn
from rtllm.doctor.judgements.steps import CAP, COUNT, LONG_CAP, Step
from rtllm.doctor.probes.lab import new_word
from rtllm.doctor.target import Target
from rtllm.errors import ToolArgumentsError, TurnError
from rtllm.providers.hosts import HostProfile
from rtllm.tools.function import FunctionTool

LIMIT = 20.0
"""Seconds to the first word of a turn."""
_DRAIN_LIMIT = 10.0
"""Seconds to wait for the tokens of the interrupted turn."""
RULES = "\n".join(
    f"Rule {number}: if a caller asks about day {number} of the month, say that the office is "
    f"open from nine to five on that day."
    for number in range(1, 53)
)
GREET = "Say good morning in one short sentence."
LEAVE = "Now say goodbye in one short sentence."
AGAIN = "Stop counting. Say thank you in one short sentence."
CALL = "Call the function save_word with the word {word}."
_TOOL_TOKENS = 70
"""Tokens of the tool's definition, roughly."""

_TURN = Step(f"{RULES}\n{GREET}", 10)
_SECOND = Step(LEAVE, 10, after=_TURN)
_COUNTED = Step(COUNT, 90, after=_SECOND, cap=LONG_CAP)
_LAST = Step(AGAIN, 10, after=_COUNTED)
_CALLED = Step(CALL + "x" * 4 * _TOOL_TOKENS, 20)
STEPS: tuple[Step, ...] = (_TURN, _TURN, _SECOND, _COUNTED, _LAST, _CALLED, _CALLED)
"""The requests of the conversation, for the estimate of their cost."""


def save_word(word: str) -> str:
    """Save a word.

    Args:
        word: The word.
    """
    return word


TOOL = FunctionTool.of(save_word)
"""The function that the model is asked to call."""


@dataclass(frozen=True, slots=True)
class Route:
    """How the conversation reaches the host, from what was learned before.

    Attributes:
        profile: The host's profile.
        websocket: Whether to use the WebSocket.
        chat: Whether to use Chat Completions.
        stored: Whether to ask the host to store responses.
        settings: The settings of each request.
        usual_cap: The limit of output tokens of a short response.
    """

    profile: HostProfile
    websocket: bool = True
    chat: bool = False
    stored: bool = False
    settings: Mapping[str, object] = field(default_factory=dict)
    usual_cap: int = CAP


@dataclass(frozen=True, slots=True)
class ConversationTurns:
    """The turns of the conversation, and what it cost.

    Attributes:
        cold: The first turn of the client.
        warm: The first turn of a second conversation.
        chained: The second turn of that conversation.
        after: The turn after an interrupted one.
        strict: A turn with a strict tool.
        plain: The same without ``strict``; None if the strict one succeeded.
        totals: The tokens of all requests.
    """

    cold: Turn
    warm: Turn
    chained: Turn
    after: Turn
    strict: ToolTurn
    plain: ToolTurn | None
    totals: Totals


async def hold_conversation(target: Target, route: Route) -> ConversationTurns:
    """Talk to the host. Everything is closed at the end, also if it is cancelled."""
    async with aclosing(_Agent(target, route)) as agent:
        prompt = Message.of("system", f"Your name is {new_word()}.\n{RULES}")
        cold, _ = await agent.turn([prompt, Message.of("user", GREET)], "first")
        context: list[Item] = [prompt, Message.of("user", GREET)]
        warm, said = await agent.turn(context, "second")
        context += [Message.of("assistant", said or "…"), Message.of("user", LEAVE)]
        chained, said = await agent.turn(context, "second")
        context += [Message.of("assistant", said or "…"), Message.of("user", COUNT)]
        _, said = await agent.turn(context, "second", is_cut=True)
        context += [Message.of("assistant", said or "…"), Message.of("user", AGAIN)]
        after, _ = await agent.turn(context, "second")
        await agent.drain()
    strict, plain, of_tools = await _call_tools(target, route)
    return ConversationTurns(cold, warm, chained, after, strict, plain, agent.totals + of_tools)


async def _call_tools(target: Target, route: Route) -> tuple[ToolTurn, ToolTurn | None, Totals]:
    """Ask for a call, with a strict schema, and if that fails without ``strict``."""
    plain, totals = None, Totals()
    async with aclosing(_Agent(target, route, {"strict_tools": "kept"})) as agent:
        strict = await agent.tool_turn()
        totals += agent.totals
    if strict.error:
        async with aclosing(_Agent(target, route, {"strict_tools": "left out"})) as agent:
            plain = await agent.tool_turn()
            totals += agent.totals
    return strict, plain, totals


class _Agent:
    """A client of the library, and one that waits for the usage of its interrupted turn."""

    def __init__(
        self, target: Target, route: Route, dialect: Mapping[str, str] | None = None
    ) -> None:
        self._model = target.model
        self._route = route
        self._client = make_client_of(target, route, dialect)
        self._late: asyncio.Event | None = None

    @property
    def totals(self) -> Totals:
        """The tokens so far."""
        return self._client.usage.all

    async def aclose(self) -> None:
        """Close the client."""
        await self._client.aclose()

    async def turn(
        self, items: Sequence[Item], conversation: str, *, is_cut: bool = False
    ) -> tuple[Turn, str]:
        """Ask for a response; return what it took, and its text.

        Args:
            items: The context.
            conversation: The name of the conversation.
            is_cut: Whether to stop at the first word.
        """
        cap = LONG_CAP if is_cut else self._route.usual_cap
        request = self._request(tuple(items), conversation, cap)
        late = asyncio.Event()
        if is_cut:
            request = replace(request, on_late_usage=lambda _: late.set())
        said = ""
        stream = self._client.ask(request)
        try:
            with stream:
                async for event in stream:
                    said += event.text if isinstance(event, TextDelta) else ""
                    if is_cut and said:
                        self._late = late
                        break
        except TurnError as error:
            return Turn(error=str(error)), said
        report = stream.report
        if report is None:
            return Turn(), said
        return (
            Turn(
                report.time_to_first,
                report.reused,
                report.previous_response_id is not None,
                report.full_context_reason or "",
                report.usage,
            ),
            said,
        )

    async def drain(self) -> None:
        """Wait for the tokens of the interrupted turn, within a limit."""
        if self._late is None or self._route.chat:
            return
        try:
            async with asyncio.timeout(_DRAIN_LIMIT):
                await self._late.wait()
        except TimeoutError:
            return  # it is counted as unknown

    async def tool_turn(self) -> ToolTurn:
        """Ask for a call of the tool."""
        word, said, called = new_word(), "", False
        items = (Message.of("user", CALL.format(word=word)),)
        request = self._request(items, "tools", self._route.usual_cap)
        try:
            with self._client.ask(replace(request, tools=(TOOL.encoded,))) as stream:
                async for event in stream:
                    match event:
                        case ToolCallReady(call) if call.name == TOOL.name:
                            called = _word_of(call.arguments) == word
                        case TextDelta(text):
                            said += text
        except TurnError as error:
            return ToolTurn(error=str(error))
        return ToolTurn(called, f"{len(said)} characters of text")

    def _request(self, items: tuple[Item, ...], conversation: str, cap: int) -> Request:
        settings: dict[str, object] = {**self._route.settings, "max_output_tokens": cap}
        if not self._route.chat:
            settings["store"] = self._route.stored
        return Request(
            items,
            self._model,
            record=_recorded,
            settings=settings,
            untouched=frozenset(settings) - {"store"},
            limits=Timeouts(base=LIMIT, silence=LIMIT),
            conversation=conversation,
        )


def _recorded(output: tuple[Item, ...]) -> tuple[Item, ...] | None:
    """Return an output as the contexts of this conversation repeat it."""
    said = "".join(item.text for item in output if isinstance(item, Message))
    return (Message.of("assistant", said),) if said else None


def _word_of(arguments: str) -> object:
    try:
        return TOOL.arguments(arguments).get("word")
    except ToolArgumentsError:
        return None


def make_client_of(
    target: Target, route: Route, dialect: Mapping[str, str] | None = None
) -> BaseClient:
    """Create a client as the adapters create theirs.

    Args:
        target: The host.
        route: How to reach it.
        dialect: Points of the dialect that are not to be learned.
    """
    config = target.config
    own, proxy = config.client, config.proxy
    has_maker = own is None and config.make_client is not None
    if route.chat:
        if own is not None:
            return ChatClient(own, profile=route.profile, dialect=dialect)
        return ChatClient(make_client=config.http, profile=route.profile, dialect=dialect)
    return Client(
        target.endpoint,
        target.credentials,
        websocket=route.websocket,
        profile=route.profile,
        dialect=dialect,
        http_client=own,
        make_http_client=config.http if has_maker else None,
        proxy=proxy if route.websocket or own is None else None,
    )
