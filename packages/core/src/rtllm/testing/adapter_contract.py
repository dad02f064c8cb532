"""The contract of an adapter: the laws of docs/architecture.md, checked from outside.

Each check holds conversations through an adapter on the simulator, and compares what the model saw
with the framework's context. With pytest::

    @pytest.mark.parametrize("name", CONTRACT)
    async def test_contract(name: str) -> None:
        await CONTRACT[name](MyAdapterUnderTest)

Nothing is mocked. The checks take as long as the adapter's own time limits and retries; an event
loop in virtual time makes them quick.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any, Protocol

from rtllm.simulator import (
    Abort,
    BrokenArguments,
    Call,
    Close,
    Entry,
    ErrorFrame,
    FailedResponse,
    Fault,
    HangUp,
    Pause,
    RefuseHandshake,
    Reply,
    Request,
    Script,
    Silence,
    Simulator,
    Text,
    calls_on_demand,
    only,
    overloaded,
    refusing,
)

INSTRUCTIONS = "Be brief."
"""The system text of each conversation."""

LIMIT = 100.0
"""Seconds after which a check fails because a turn has not ended."""

ContextEntry = tuple[str, str]
"""A kind and a text: ``system``, ``user``, ``assistant``, ``call`` (`call_entry`) or ``output``."""


class ContractViolation(AssertionError):
    """An adapter violates a law; the text tells what was expected and what happened."""


async def get_weather(city: str) -> str:
    """Look up the weather."""
    return f"sunny in {city}"


def call_entry(name: str, arguments: str | Mapping[str, Any]) -> ContextEntry:
    """Create the entry of a call, with its arguments by value."""
    try:
        value = json.loads(arguments) if isinstance(arguments, str) else dict(arguments)
    except ValueError:
        value = arguments
    return ("call", f"{name} {json.dumps(value, sort_keys=True)}")


@dataclass(frozen=True, slots=True)
class Heard:
    """What the user heard of one turn, all its responses included.

    Attributes:
        text: The text that the framework got to play.
        failed: Whether the framework got an error.
    """

    text: str
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Setup:
    """The settings of an adapter under test.

    Attributes:
        base_url: The API's root.
        api_key: The key.
        model: The model.
        timeout: The base time limit in seconds.
        temperature: A parameter of all requests; None not to send it.
    """

    base_url: str
    api_key: str = "key"
    model: str = "gpt-4.1"
    timeout: float = 2.0
    temperature: float | None = None


class ConversationUnderTest(Protocol):
    """One conversation of a framework, with `INSTRUCTIONS` and the tool `get_weather`."""

    async def say(self, text: str, *, interrupt: bool = False) -> Heard:
        """Let the user speak, and wait for the response, with all its tool calls.

        A turn that fails does not raise.

        Args:
            text: The words of the user.
            interrupt: Whether to interrupt the response after its first piece of text, as the
                framework does it.
        """

    def context(self) -> Sequence[ContextEntry]:
        """Return the framework's context in the order that the model must see."""


class AdapterUnderTest(Protocol):
    """An adapter, with one object that serves several conversations.

    If it does not use the Responses WebSocket, it also has an attribute ``protocol``: "http" (the
    Responses API with stored responses) or "chat" (Chat Completions). Over HTTP the tokens of an
    interrupted response are not known, and Chat Completions continues no response, so these are not
    checked.
    """

    async def start(self) -> ConversationUnderTest:
        """Start a conversation."""

    def tokens(self) -> tuple[int, int]:
        """Return the input and output tokens that were reported so far, late ones included."""

    async def aclose(self) -> None:
        """Close the adapter and its conversations."""


MakeAdapter = Callable[[Setup], AdapterUnderTest]
"""Creates an adapter under test."""
Check = Callable[[MakeAdapter], Awaitable[None]]
"""Checks one law; raises `ContractViolation`."""


async def check_adapter(make: MakeAdapter) -> list[str]:
    """Run all checks; return what an adapter violates, by the names of the checks."""
    found: list[str] = []
    for name, check in CONTRACT.items():
        try:
            await check(make)
        except ContractViolation as violation:
            found.append(f"{name}: {violation}")
    return found


# -- the stage ------------------------------------------------------------------------------------


class _Stage:
    def __init__(self, service: Simulator, adapter: AdapterUnderTest) -> None:
        self.service = service
        self.adapter = adapter

    @property
    def protocol(self) -> str:
        """The protocol of the adapter."""
        return str(getattr(self.adapter, "protocol", "websocket"))

    def check_chained(self, entry: Entry) -> None:
        """Check that a request continues a response, if its protocol has that."""
        _require(
            self.protocol == "chat" or _is_chained(entry),
            f"request {entry.index} sends {entry.input} and continues "
            f"{entry.previous_response_id}; it should send only what is new",
        )

    def requests(self, text: str) -> list[Entry]:
        """Return the requests of the turn that begins with a text of the user."""
        return [e for e in self.service.journal.entries if _last_user_text(e) == text]

    async def say(self, conversation: ConversationUnderTest, text: str) -> str:
        """Hold a turn that must succeed; return its text."""
        heard = await conversation.say(text)
        _require(not heard.failed, f"the turn {text!r} failed after {heard.text!r}")
        self.check_context(conversation, text)
        return heard.text

    def check_context(self, conversation: ConversationUnderTest, text: str) -> None:
        """Check that the model saw the framework's context in a turn that has ended."""
        requests = self.requests(text)
        _require(bool(requests), f"no request ends with the user's {text!r}")
        last = requests[-1]
        seen = _canonical([*_seen(last), ("assistant", last.reply_text)])
        expected = _canonical(conversation.context())
        _require(
            seen == expected,
            f"in the turn {text!r} the model saw and answered {seen}; the context is {expected}",
        )


@asynccontextmanager
async def _stage(
    make: MakeAdapter,
    script: Script | Reply | str,
    *,
    temperature: float | None = None,
    **simulator: Any,
) -> AsyncIterator[_Stage]:
    async with Simulator(script, **simulator) as service:
        adapter = make(Setup(service.base_url, temperature=temperature))
        try:
            yield _Stage(service, adapter)
        finally:
            await adapter.aclose()


def _limited(check: Check) -> Check:
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


def _require(condition: bool, violation: str) -> None:
    if not condition:
        raise ContractViolation(violation)


def _last_user_text(entry: Entry) -> str | None:
    texts = [text for role, text in entry.texts() if role == "user"]
    return texts[-1] if texts else None


def _seen(entry: Entry) -> list[ContextEntry]:
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


def _canonical(entries: Iterable[ContextEntry]) -> list[ContextEntry]:
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


def _is_chained(entry: Entry) -> bool:
    """Whether a request continues a response and repeats nothing of it."""
    return entry.previous_response_id is not None and not any(
        item.get("role") in ("assistant", "system", "developer")
        or item.get("type") == "function_call"
        for item in entry.input
    )


# -- the laws -------------------------------------------------------------------------------------

_WEATHER = 'call get_weather {"city": "Rome"}'
_COUNT = "one two three four five"


@_limited
async def check_context(make: MakeAdapter) -> None:
    """Check that the model sees exactly the framework's context: turns, tools, interruptions."""
    async with _stage(make, calls_on_demand()) as stage:
        conversation = await stage.adapter.start()
        await stage.say(conversation, "Hello")
        text = await stage.say(conversation, _WEATHER)
        _require("sunny in Rome" in text, f"the answer to the tool's output was {text!r}")
        stage.service.script = _paused(asyncio.Event())
        cut = await conversation.say("Count", interrupt=True)
        stage.service.script = "Stopped."
        await stage.say(conversation, "Stop")
        seen = _seen(stage.requests("Stop")[-1])
        recorded = [text.strip() for kind, text in seen if kind == "assistant"][-1]
        _require(
            recorded == cut.text.strip(),
            f"the user heard {cut.text!r} of the interrupted response, the model saw {recorded!r}",
        )


@_limited
async def check_chaining(make: MakeAdapter) -> None:
    """Check that each turn after the first sends only what is new."""

    def script(request: Request) -> Reply | str:
        if request.trailing_outputs or "weather" not in request.last_user_text:
            return f"You said: {request.last_user_text}"
        calls = (Call("get_weather", {"city": city}) for city in ("Rome", "Oslo"))
        return Reply.of("One moment.", *calls)

    async with _stage(make, script) as stage:
        conversation = await stage.adapter.start()
        for text in ("Hello", "The weather?", "Thanks", "Bye"):
            heard = await conversation.say(text)
            _require(not heard.failed, f"the turn {text!r} failed")
        entries = stage.service.journal.entries
        _require(len(entries) == 5, f"there were {len(entries)} requests instead of 5")
        for entry in entries[1:]:
            stage.check_chained(entry)


@_limited
async def check_no_repeats(make: MakeAdapter) -> None:
    """Check that a turn that fails after its first text is not sent again, and is an error."""
    for fault in FAULTS_AFTER_OUTPUT:
        async with _stage(make, _COUNT, fault=only(0, fault)) as stage:
            conversation = await stage.adapter.start()
            heard = await conversation.say("Count")
            count = len(stage.service.journal.entries)
            _require(count == 1, f"{fault}: there were {count} requests instead of one")
            _require(
                heard.failed and heard.text == "one two ",
                f"{fault}: {heard} instead of 'one two ' and a failure",
            )
            _require(
                await stage.say(conversation, "Again") == _COUNT, f"{fault}: the next turn differs"
            )


@_limited
async def check_recovery(make: MakeAdapter) -> None:
    """Check that a turn survives a fault before its first text, and plays its text once."""
    for fault in FAULTS_BEFORE_OUTPUT:
        async with _stage(make, _COUNT, fault=only(0, fault)) as stage:
            text = await stage.say(await stage.adapter.start(), "Count")
            _require(text == _COUNT, f"{fault}: the user heard {text!r}")
    refused = RefuseHandshake(503)
    async with _stage(make, _COUNT, on_connect=lambda n: refused if n == 0 else None) as stage:
        text = await stage.say(await stage.adapter.start(), "Count")
        _require(text == _COUNT, f"{refused}: the user heard {text!r}")


@_limited
async def check_silence(make: MakeAdapter) -> None:
    """Check that a turn ends if the host is silent, before its first text and after it."""
    for fault in (Silence(), Silence(phase="output", after=2), Silence(pongs=False)):
        async with _stage(make, _COUNT, fault=fault) as stage:
            heard = await (await stage.adapter.start()).say("Count")
            _require(heard.failed, f"{fault}: the turn ended without an error")


@_limited
async def check_cancellation(make: MakeAdapter) -> None:
    """Check that an interruption does not affect a concurrent conversation."""
    go_on = asyncio.Event()
    async with _stage(make, _paused(go_on)) as stage:
        one, other = await stage.adapter.start(), await stage.adapter.start()
        whole = asyncio.ensure_future(other.say("Count slowly"))
        await stage.service.journal.wait(lambda j: j.entries[0].deltas > 0)
        heard = await one.say("Count", interrupt=True)
        _require(
            not heard.failed and heard.text in _COUNT and heard.text != _COUNT,
            f"an interrupted turn is {heard}",
        )
        go_on.set()
        _require(await whole == Heard(_COUNT), f"the other turn is {whole.result()}")
        stage.check_context(other, "Count slowly")
        stage.service.script = "Stopped."
        await stage.say(one, "Stop")
        _require(len(stage.service.journal.entries) == 3, "a turn was sent again")


@_limited
async def check_usage(make: MakeAdapter) -> None:
    """Check that the tokens of each response are reported once, with those of interrupted ones."""
    go_on = asyncio.Event()
    async with _stage(make, calls_on_demand()) as stage:
        conversation = await stage.adapter.start()
        await stage.say(conversation, "Hello")
        await stage.say(conversation, _WEATHER)
        if stage.protocol == "websocket":
            stage.service.script = _paused(go_on)
            await conversation.say("Count", interrupt=True)
            go_on.set()
            stage.service.script = _COUNT  # complete before it is interrupted, or soon after
            await conversation.say("Count quickly", interrupt=True)
        await stage.service.journal.wait_idle()
        stage.service.script = "Stopped."
        await stage.say(conversation, "Stop")
        billed = _billed(stage.service.journal.entries)
        for _ in range(100):  # tokens of interrupted responses may be reported later
            if stage.adapter.tokens() == billed:
                return
            await asyncio.sleep(0.05)
        _require(False, f"the adapter reports {stage.adapter.tokens()} tokens of {billed}")


def _billed(entries: Iterable[Entry]) -> tuple[int, int]:
    """Sum the input and output tokens of requests, by their names in either API."""
    usages = [entry.usage or {} for entry in entries]
    given = sum(u.get("input_tokens", u.get("prompt_tokens", 0)) for u in usages)
    return given, sum(u.get("output_tokens", u.get("completion_tokens", 0)) for u in usages)


@_limited
async def check_separation(make: MakeAdapter) -> None:
    """Check that two equal conversations that take turns stay apart."""
    async with _stage(make, calls_on_demand()) as stage:
        pair = [await stage.adapter.start() for _ in range(2)]
        for conversation in pair:
            await conversation.say("Hello")
        for number, conversation in enumerate(pair):
            await stage.say(conversation, f"My secret is {number}")
        for number, conversation in enumerate(pair):
            await stage.say(conversation, f'{_WEATHER}\ncall get_weather {{"city": "{number}"}}')
        for number, conversation in enumerate(pair):
            await stage.say(conversation, f"Bye {number}")
            seen = str(_seen(stage.requests(f"Bye {number}")[-1]))
            _require(f"secret is {1 - number}" not in seen, f"a text of the other one: {seen}")
        for entry in stage.service.journal.entries[2:]:
            stage.check_chained(entry)


@_limited
async def check_rejections(make: MakeAdapter) -> None:
    """Check that a rejected parameter is left out once and from then on, and content is not."""
    async with _stage(make, _COUNT, temperature=0.5, fault=refusing("temperature")) as stage:
        conversation = await stage.adapter.start()
        for text in ("Count", "Again"):
            played = await stage.say(conversation, text)
            _require(played == _COUNT, f"the user heard {played!r}")
        sent = ["temperature" in entry.body for entry in stage.service.journal.entries]
        _require(
            sent == [True, False, False],
            f"temperature should be in the first of three requests, but was in {sent}",
        )
    rejected = ErrorFrame(code="invalid_prompt", status=400, kind="invalid_request_error")
    async with _stage(make, _COUNT, fault=only(0, rejected)) as stage:
        heard = await (await stage.adapter.start()).say("Count")
        count = len(stage.service.journal.entries)
        _require(heard.failed, "the rejection of a prompt is not an error")
        _require(count == 1, f"a rejected prompt was sent {count} times")


@_limited
async def check_invalid_calls(make: MakeAdapter) -> None:
    """Check that a call that can't run leaves a context that the host accepts."""

    def script(call: Call, request: Request) -> Reply | str:
        return "I see." if request.trailing_outputs else Reply.of(call)

    for call in (Call("no_such_tool"), Call("get_weather", {"town": "Rome"})):
        async with _stage(make, partial(script, call)) as stage:
            await _check_calls(stage)
    good = Call("get_weather", {"city": "Rome"})
    broken = only(0, BrokenArguments())
    async with _stage(make, partial(script, good), fault=broken) as stage:
        await _check_calls(stage)


async def _check_calls(stage: _Stage) -> None:
    conversation = await stage.adapter.start()
    heard = await conversation.say("The weather?")
    _require(bool(heard.text) or heard.failed, "the user heard nothing, without an error")
    stage.service.script = "Hello."
    heard = await conversation.say("Hello?")
    _require(heard == Heard("Hello."), f"the turn after a call that can't run is {heard}")
    refused = [entry.error_message for entry in stage.service.journal.refused]
    _require(not refused, f"the host rejected requests: {refused}")


def _paused(go_on: asyncio.Event) -> Reply:
    """Create a response that stops in the middle until an event."""
    return Reply.of(Text(pieces=("one ", "two ", Pause(go_on), "three four five")))


FAULTS_BEFORE_OUTPUT: tuple[Fault, ...] = (
    Abort(),
    Close(phase="created"),
    HangUp(phase="created"),
    ErrorFrame(),
    overloaded(),
    FailedResponse(phase="created"),
    Silence(),
)
"""Faults that a turn survives: nothing was emitted yet."""

FAULTS_AFTER_OUTPUT: tuple[Fault, ...] = (
    Abort(phase="output", after=2),
    Close(phase="output", after=2),
    ErrorFrame(phase="output", after=2),
    FailedResponse(phase="output", after=2),
    Silence(phase="output", after=2),
)
"""Faults that end a turn: its first words were emitted."""

CONTRACT: Mapping[str, Check] = {
    "the model sees the framework's context": check_context,
    "what the service has is not sent again": check_chaining,
    "nothing is emitted twice": check_no_repeats,
    "a fault before the first output is survived": check_recovery,
    "a silent host ends within the limit": check_silence,
    "turns are independent": check_cancellation,
    "usage is reported once": check_usage,
    "conversations never mix": check_separation,
    "a rejected parameter is sent in another form": check_rejections,
    "a call that can't run harms nothing": check_invalid_calls,
}
"""The checks of an adapter, by what they check."""
