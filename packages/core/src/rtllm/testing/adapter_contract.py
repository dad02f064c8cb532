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
from collections.abc import Iterable, Mapping

from rtllm.simulator import (
    Abort,
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
    Silence,
    Text,
    calls_on_demand,
    only,
    overloaded,
    refusing,
)
from rtllm.testing.stage import limited, require, seen_in, stage_of
from rtllm.testing.tool_checks import (
    check_corrected_calls,
    check_interrupted_tools,
    check_invalid_calls,
    check_late_outputs,
    check_mixed_calls,
)
from rtllm.testing.under_test import Check, ContractViolation, Heard, MakeAdapter

_WEATHER = 'call get_weather {"city": "Rome"}'
_COUNT = "one two three four five"


@limited
async def check_context(make: MakeAdapter) -> None:
    """Check that the model sees exactly the framework's context: turns, tools, interruptions."""
    async with stage_of(make, calls_on_demand()) as stage:
        conversation = await stage.adapter.start()
        await stage.say(conversation, "Hello")
        text = await stage.say(conversation, _WEATHER)
        require("sunny in Rome" in text, f"the answer to the tool's output was {text!r}")
        stage.service.script = _paused(asyncio.Event())
        cut = await conversation.say("Count", interrupt=True)
        stage.service.script = "Stopped."
        await stage.say(conversation, "Stop")
        seen = seen_in(stage.requests("Stop")[-1])
        recorded = [text.strip() for kind, text in seen if kind == "assistant"][-1]
        require(
            recorded == cut.text.strip(),
            f"the user heard {cut.text!r} of the interrupted response, the model saw {recorded!r}",
        )


@limited
async def check_chaining(make: MakeAdapter) -> None:
    """Check that each turn after the first sends only what is new."""

    def script(request: Request) -> Reply | str:
        if request.trailing_outputs or "weather" not in request.last_user_text:
            return f"You said: {request.last_user_text}"
        calls = (Call("get_weather", {"city": city}) for city in ("Rome", "Oslo"))
        return Reply.of("One moment.", *calls)

    async with stage_of(make, script) as stage:
        conversation = await stage.adapter.start()
        for text in ("Hello", "The weather?", "Thanks", "Bye"):
            heard = await conversation.say(text)
            require(not heard.failed, f"the turn {text!r} failed")
        entries = stage.service.journal.entries
        require(len(entries) == 5, f"there were {len(entries)} requests instead of 5")
        for entry in entries[1:]:
            stage.check_chained(entry)


@limited
async def check_no_repeats(make: MakeAdapter) -> None:
    """Check that a turn that fails after its first text is not sent again, and is an error."""
    for fault in FAULTS_AFTER_OUTPUT:
        async with stage_of(make, _COUNT, fault=only(0, fault)) as stage:
            conversation = await stage.adapter.start()
            heard = await conversation.say("Count")
            count = len(stage.service.journal.entries)
            require(count == 1, f"{fault}: there were {count} requests instead of one")
            require(heard.failed, f"{fault}: the turn ended without an error")
            require(
                heard.text == "one two ",
                f"{fault}: the user heard {heard.text!r} instead of 'one two ', which was emitted "
                "before the error; some frameworks drop what is queued when a stream raises",
            )
            require(
                await stage.say(conversation, "Again") == _COUNT, f"{fault}: the next turn differs"
            )


@limited
async def check_recovery(make: MakeAdapter) -> None:
    """Check that a turn survives a fault before its first text, and plays its text once."""
    for fault in FAULTS_BEFORE_OUTPUT:
        async with stage_of(make, _COUNT, fault=only(0, fault)) as stage:
            text = await stage.say(await stage.adapter.start(), "Count")
            require(text == _COUNT, f"{fault}: the user heard {text!r}")
    refused = RefuseHandshake(503)
    async with stage_of(make, _COUNT, on_connect=lambda n: refused if n == 0 else None) as stage:
        text = await stage.say(await stage.adapter.start(), "Count")
        require(text == _COUNT, f"{refused}: the user heard {text!r}")


@limited
async def check_silence(make: MakeAdapter) -> None:
    """Check that a turn ends if the host is silent, before its first text and after it."""
    for fault in (Silence(), Silence(phase="output", after=2), Silence(pongs=False)):
        async with stage_of(make, _COUNT, fault=fault) as stage:
            heard = await (await stage.adapter.start()).say("Count")
            require(heard.failed, f"{fault}: the turn ended without an error")


@limited
async def check_cancellation(make: MakeAdapter) -> None:
    """Check that an interruption does not affect a concurrent conversation."""
    go_on = asyncio.Event()
    async with stage_of(make, _paused(go_on)) as stage:
        one, other = await stage.adapter.start(), await stage.adapter.start()
        whole = asyncio.ensure_future(other.say("Count slowly"))
        await stage.service.journal.wait(lambda j: j.entries[0].deltas > 0)
        heard = await one.say("Count", interrupt=True)
        require(
            not heard.failed and heard.text in _COUNT and heard.text != _COUNT,
            f"an interrupted turn is {heard}",
        )
        go_on.set()
        require(await whole == Heard(_COUNT), f"the other turn is {whole.result()}")
        stage.check_context(other, "Count slowly")
        stage.service.script = "Stopped."
        await stage.say(one, "Stop")
        require(len(stage.service.journal.entries) == 3, "a turn was sent again")


@limited
async def check_usage(make: MakeAdapter) -> None:
    """Check that the tokens of each response are reported once, with those of interrupted ones."""
    go_on = asyncio.Event()
    async with stage_of(make, calls_on_demand()) as stage:
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
        require(False, f"the adapter reports {stage.adapter.tokens()} tokens of {billed}")


def _billed(entries: Iterable[Entry]) -> tuple[int, int]:
    """Sum the input and output tokens of requests, by their names in either API."""
    usages = [entry.usage or {} for entry in entries]
    given = sum(u.get("input_tokens", u.get("prompt_tokens", 0)) for u in usages)
    return given, sum(u.get("output_tokens", u.get("completion_tokens", 0)) for u in usages)


@limited
async def check_separation(make: MakeAdapter) -> None:
    """Check that two equal conversations that take turns stay apart."""
    async with stage_of(make, calls_on_demand()) as stage:
        pair = [await stage.adapter.start() for _ in range(2)]
        for conversation in pair:
            await conversation.say("Hello")
        for number, conversation in enumerate(pair):
            await stage.say(conversation, f"My secret is {number}")
        for number, conversation in enumerate(pair):
            await stage.say(conversation, f'{_WEATHER}\ncall get_weather {{"city": "{number}"}}')
        for number, conversation in enumerate(pair):
            await stage.say(conversation, f"Bye {number}")
            seen = str(seen_in(stage.requests(f"Bye {number}")[-1]))
            require(f"secret is {1 - number}" not in seen, f"a text of the other one: {seen}")
        for entry in stage.service.journal.entries[2:]:
            stage.check_chained(entry)


@limited
async def check_rejections(make: MakeAdapter) -> None:
    """Check that a rejected parameter is left out once and from then on, and content is not."""
    async with stage_of(make, _COUNT, temperature=0.5, fault=refusing("temperature")) as stage:
        conversation = await stage.adapter.start()
        for text in ("Count", "Again"):
            played = await stage.say(conversation, text)
            require(played == _COUNT, f"the user heard {played!r}")
        sent = ["temperature" in entry.body for entry in stage.service.journal.entries]
        require(
            sent == [True, False, False],
            f"temperature should be in the first of three requests, but was in {sent}",
        )
    rejected = ErrorFrame(code="invalid_prompt", status=400, kind="invalid_request_error")
    async with stage_of(make, _COUNT, fault=only(0, rejected)) as stage:
        heard = await (await stage.adapter.start()).say("Count")
        count = len(stage.service.journal.entries)
        require(heard.failed, "the rejection of a prompt is not an error")
        require(count == 1, f"a rejected prompt was sent {count} times")


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
    "a corrected call leaves the text in order": check_corrected_calls,
    "a call that can run next to one that can't runs once": check_mixed_calls,
    "a tool can be interrupted": check_interrupted_tools,
    "outputs may come in any order": check_late_outputs,
}
"""The checks of an adapter, by what they check."""


async def check_adapter(make: MakeAdapter) -> list[str]:
    """Run all checks; return what an adapter violates, by the names of the checks."""
    found: list[str] = []
    for name, check in CONTRACT.items():
        try:
            await check(make)
        except ContractViolation as violation:
            found.append(f"{name}: {violation}")
    return found
