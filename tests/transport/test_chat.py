"""Turns over Chat Completions: the same answers, faults and recoveries as on a socket."""

import asyncio
import gc
import importlib.util
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import openai
import pytest
from openai import AsyncAzureOpenAI, AsyncOpenAI

from rtllm import (
    ChatClient,
    ConfigError,
    ConnectFailed,
    ConnectionLost,
    Item,
    Message,
    Overloaded,
    RateLimited,
    Request,
    RequestRejected,
    ResponseFailed,
    RetryPolicy,
    TextDelta,
    Timeouts,
    ToolCall,
    ToolCallReady,
    ToolOutput,
    TurnError,
    TurnReport,
    TurnTimeout,
)
from rtllm.retry.faults import FaultKind
from rtllm.simulator import (
    Abort,
    BrokenArguments,
    Call,
    Close,
    CutResponse,
    Empty,
    ErrorFrame,
    FailedResponse,
    Garbage,
    MangleChat,
    Pause,
    Reasoning,
    Refusal,
    RefuseRequest,
    Reply,
    Silence,
    Simulator,
    Text,
    fixed,
    in_turn,
    overloaded,
    rate_limited,
)
from rtllm.simulator.faults import ChatFlaw
from rtllm.transport.http_faults import fault_of
from transport.caller import (
    NEVER_RUNS_OUT,
    QUICK,
    Caller,
    as_recorded,
    ended,
    spoken,
)

Reports = list[TurnReport]
PATIENT = Timeouts(base=1.0, connect=5.0, open_item=2.0, total=20.0)
NO_BUDGET = RetryPolicy(budget=0, interval=0.0)
SOME = RetryPolicy(budget=3, interval=0.0)
TOOL = msgspec.json.encode(
    {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": False}
)


class Making:
    """Makes openai clients of a simulator, and remembers them."""

    def __init__(self, simulator: Simulator) -> None:
        self.made: list[AsyncOpenAI] = []
        self._url = simulator.base_url

    def __call__(self, _: str | None = None) -> AsyncOpenAI:
        made = AsyncOpenAI(base_url=self._url, api_key="key")
        self.made.append(made)
        return made


@asynccontextmanager
async def chat_caller(
    simulator: Simulator, reports: Reports | None = None, **settings: Any
) -> AsyncIterator[Caller]:
    """A caller over chat; at the end everything is closed and no task is left."""
    before = asyncio.all_tasks()
    on_turn: Callable[[TurnReport], None] | None = None if reports is None else reports.append
    client = ChatClient(make_client=Making(simulator), on_turn=on_turn)
    limits, retry = settings.pop("limits", NEVER_RUNS_OUT), settings.pop("retry", SOME)
    try:
        yield Caller(client, settings=settings, limits=limits, retry=retry)
    finally:
        await client.aclose()
    left = [t for t in asyncio.all_tasks() - before if "rtllm" in t.get_name() and not t.done()]
    assert not left, left


def chat(caller: Caller) -> ChatClient:
    assert isinstance(caller.client, ChatClient)
    return caller.client


async def test_a_conversation_is_sent_in_full_each_time(reports: Reports) -> None:
    async with Simulator() as simulator, chat_caller(simulator, reports) as caller:
        assert spoken(await caller.say("one")) == "You said: one"
        assert spoken(await caller.say("two")) == "You said: two"
        assert simulator.journal.entries[1].texts() == [
            ("system", "Be brief."),
            ("user", "one"),
            ("assistant", "You said: one"),
            ("user", "two"),
        ]
        assert {report.full_context_reason for report in reports} == {"no chaining here"}
        assert [report.items_sent for report in reports] == [2, 4]
        assert [report.conversation for report in reports] == [1, 1]
        assert [report.connection for report in reports] == [None, None]
        assert not any(report.reused or report.chained for report in reports)
        assert reports[0].bytes_sent > 50
        assert reports[0].time_to_first is not None
        assert reports[0].response_id == simulator.journal.entries[0].response_id


async def test_tokens_are_counted(reports: Reports) -> None:
    script = Reply.of(Reasoning(tokens=5), "Hi there")
    async with Simulator(script) as simulator, chat_caller(simulator, reports) as caller:
        usage = ended(await caller.say("one")).usage
        assert usage is not None
        assert (usage.output, usage.reasoning, usage.cached, usage.tier) == (7, 5, 0, "default")
        assert reports[0].usage == usage
        totals = chat(caller).usage
        assert totals.answered.attempts == totals.all.attempts == 1
        assert totals.all.output == 7
        assert totals.all.unknown == 0


@pytest.mark.parametrize("hold", [False, True])
async def test_a_tool_round(hold: bool) -> None:
    script = fixed(Reply.of("One moment.", Call("weather", '{"city": "Bonn"}')), "It rains.")
    async with Simulator(script) as simulator, chat_caller(simulator) as caller:
        items: list[Item] = [*caller.items, Message.of("user", "Weather?")]
        events = await hear(chat(caller), items, tools=(TOOL,), hold_calls=hold)
        [call] = [e.call for e in events if isinstance(e, ToolCallReady)]
        assert (call.name, call.arguments) == ("weather", '{"city": "Bonn"}')
        assert isinstance(events[-2], ToolCallReady)
        items += [Message.of("assistant", "One moment."), call, ToolOutput(call.call_id, "rain")]
        assert spoken(await hear(chat(caller), items, tools=(TOOL,))) == "It rains."
        body = simulator.journal.entries[1].body
        assert [m["role"] for m in body["messages"]] == ["system", "user", "assistant", "tool"]
        assert body["tools"][0]["function"]["name"] == "weather"


async def hear(client: ChatClient, items: list[Item], **fields: Any) -> list[Any]:
    request = Request(tuple(items), "gpt-4.1", as_recorded, **fields)
    with client.ask(request) as answer:
        return [event async for event in answer]


async def test_settings_travel_by_their_names_in_chat() -> None:
    settings: dict[str, Any] = {
        "max_output_tokens": 50,
        "temperature": 0.5,
        "seed": 7,
        "text": {"format": {"type": "json_object"}},
        "extra_headers": {"X-Trace": "abc"},
        "extra_query": {"tenant": "9"},
        "extra_body": {"user": "u"},
    }
    async with Simulator() as simulator, chat_caller(simulator, **settings) as caller:
        await caller.say("Answer in JSON")
        entry = simulator.journal.entries[0]
        assert entry.body.keys() == {
            *("model", "messages", "stream", "stream_options", "max_completion_tokens"),
            *("temperature", "seed", "response_format", "user"),
        }
        assert entry.headers["X-Trace"] == "abc"
        assert entry.query["tenant"] == "9"


async def test_what_chat_does_not_know_is_reported_when_it_is_asked() -> None:
    async with Simulator() as simulator, chat_caller(simulator, truncation="auto") as caller:
        with pytest.raises(ConfigError, match="truncation"):
            chat(caller).ask(caller.request())
        assert simulator.journal.entries == []


@pytest.mark.parametrize("wrong", [{}, {"client": object(), "make_client": object}])
def test_a_client_is_given_in_one_way(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="make_client"):
        ChatClient(**wrong)


# -- whose client ------------------------------------------------------------------------


async def test_our_own_client_is_closed_and_made_again() -> None:
    async with Simulator() as simulator:
        making = Making(simulator)
        client = ChatClient(make_client=making)
        assert making.made == []
        for number in (1, 2):
            assert spoken(await Caller(client).say("Hi")) == "You said: Hi"
            await client.aclose()
            await client.aclose()
            assert len(making.made) == number
            assert all(made.is_closed() for made in making.made)


async def test_a_client_can_be_made_before_it_is_needed() -> None:
    async with Simulator() as simulator:
        making = Making(simulator)
        client = ChatClient(make_client=making)
        client.prewarm("gpt-4.1")
        client.prewarm("gpt-4.1")
        assert len(making.made) == 1
        await client.aclose()
        assert making.made[0].is_closed()
        assert simulator.journal.entries == []


async def test_a_client_of_the_user_stays_open_and_does_not_retry() -> None:
    fault = in_turn(rate_limited(), rate_limited())
    async with Simulator(fault=fault) as simulator:
        sdk = AsyncOpenAI(base_url=simulator.base_url, api_key="key", max_retries=5)
        client = ChatClient(sdk)
        with pytest.raises(RateLimited):
            await Caller(client, retry=NO_BUDGET).say("Hi")
        assert len(simulator.journal.entries) == 1
        await client.aclose()
        assert not sdk.is_closed()
        simulator.fault = None
        assert spoken(await Caller(client).say("Hi")) == "You said: Hi"
        await client.aclose()
        await sdk.close()


async def test_azure_works_through_its_own_client() -> None:
    async with Simulator("one two", api_key="secret", models=["prod"]) as simulator:
        azure = AsyncAzureOpenAI(
            azure_endpoint=simulator.azure_endpoint, api_key="secret", api_version="2024-10-21"
        )
        async with azure:
            client = ChatClient(azure)
            request = Request((Message.of("user", "Hi"),), "prod", as_recorded)
            with client.ask(request) as answer:
                events = [event async for event in answer]
            await client.aclose()
        assert spoken(events) == "one two"
        assert ended(events).usage is not None


async def test_anything_shaped_like_the_client_will_do() -> None:
    class Completions:
        async def create(self, **body: Any) -> AsyncIterator[Any]:
            assert body["messages"][-1] == {"role": "user", "content": "Hi"}

            async def chunks() -> AsyncIterator[Any]:
                yield {"choices": [{"delta": {"content": "Hello"}, "finish_reason": "stop"}]}

            return chunks()

    class Chat:
        completions = Completions()

    class Client:
        chat = Chat()

    client = ChatClient(Client())
    assert spoken(await Caller(client).say("Hi")) == "Hello"
    await client.aclose()


def test_each_event_loop_has_a_client_of_its_own() -> None:
    ready, stop = threading.Event(), threading.Event()
    found: list[Simulator] = []

    def serve() -> None:
        async def run() -> None:
            async with Simulator() as simulator:
                found.append(simulator)
                ready.set()
                while not stop.is_set():
                    await asyncio.sleep(0.01)

        asyncio.run(run())

    server = threading.Thread(target=serve)
    server.start()
    try:
        assert ready.wait(20)
        making = Making(found[0])
        client = ChatClient(make_client=making)

        async def talk() -> str:
            said = spoken(await Caller(client).say("Hi"))
            await client.aclose()
            return said

        assert [asyncio.run(talk()) for _ in range(2)] == ["You said: Hi"] * 2
        assert len(making.made) == 2
    finally:
        stop.set()
        server.join()
    gc.collect()


# -- cuts --------------------------------------------------------------------------------


async def test_a_cut_waits_for_nothing_and_closes_its_stream(reports: Reports) -> None:
    never = asyncio.Event()
    script = Reply.of(Text(pieces=("one ", Pause(never), "two")))
    async with Simulator(script) as simulator, chat_caller(simulator, reports) as caller:
        with chat(caller).ask(caller.request()) as answer:
            assert await anext(answer) == TextDelta("one ")
        assert reports[-1].outcome == "cancelled"
        cut = chat(caller).usage.cancelled
        assert (cut.attempts, cut.unknown) == (1, 1)
        await simulator.journal.wait_for(1, "dropped")
        simulator.script = "three"
        assert spoken(await caller.say("go on")) == "three"
        assert chat(caller).usage.all.attempts == 2


async def test_a_cut_before_the_first_chunk_goes_at_once(reports: Reports) -> None:
    async with Simulator(fault=[Silence()]) as simulator, chat_caller(simulator, reports) as caller:
        reading = asyncio.create_task(caller.say("Hi"))
        await simulator.journal.wait_for(1, "running")
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert reports[-1].outcome == "cancelled"
        await simulator.journal.wait_for(1, "dropped")
        assert chat(caller).usage.cancelled.unknown == 1


async def test_turns_do_not_touch_each_other(reports: Reports) -> None:
    go = asyncio.Event()
    script = Reply.of(Text(pieces=("one ", Pause(go), "two")))
    async with Simulator(script) as simulator, chat_caller(simulator, reports) as caller:
        with chat(caller).ask(caller.request()) as kept:
            heard = [await anext(kept)]
            with chat(caller).ask(caller.request()) as cut:
                await anext(cut)
            go.set()
            heard += [event async for event in kept]
        assert spoken(heard) == "one two"


async def test_closing_ends_what_runs() -> None:
    fault = in_turn(Silence(phase="output"))
    async with Simulator(fault=fault) as simulator, chat_caller(simulator) as caller:
        reading = asyncio.create_task(caller.say("Hi"))
        await simulator.journal.wait(lambda j: j.entries[0].deltas == 1)
        await caller.client.aclose()
        with pytest.raises(ConnectionLost, match="closed"):
            await reading
        assert spoken(await caller.say("again")) == "You said: again"


@pytest.mark.skipif(
    importlib.util.find_spec("openai._streaming_cleanup") is None,
    reason="older SDKs leave the end of a stream unread, and so lose its connection",
)
async def test_an_answer_that_is_over_lets_its_connection_be_used_again() -> None:
    async with Simulator() as simulator:
        caller = Caller(ChatClient(make_client=Making(simulator)))
        sockets: list[int] = []
        for word in ("one", "two", "three"):
            await caller.say(word)
            await asyncio.gather(
                *(t for t in asyncio.all_tasks() if t.get_name().startswith("rtllm http"))
            )
            sockets.append(simulator.open_sockets)
        assert sockets == [1, 1, 1]
        await caller.client.aclose()


async def test_the_words_of_calls_that_are_over_are_not_kept() -> None:
    async with Simulator("yes") as simulator, chat_caller(simulator) as caller:
        for number in range(3):
            one = Caller(caller.client, limits=caller.limits, retry=caller.retry)
            await one.say(f"I am {number}. " + "x" * 5000)
            del one
        reading = [t for t in asyncio.all_tasks() if t.get_name().startswith("rtllm http")]
        await asyncio.wait_for(asyncio.gather(*reading), 20)
        del reading
        gc.collect()
        held = [str(item.parts) for item in gc.get_objects() if isinstance(item, Message)]
        assert not [parts for parts in held if "text='I am " in parts]


# -- faults ------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["created", "output"])
async def test_junk_in_a_stream_loses_nothing_but_itself(reports: Reports, phase: Any) -> None:
    async with Simulator(fault=[Garbage(phase=phase)]) as simulator:
        async with chat_caller(simulator, reports) as caller:
            assert spoken(await caller.say("one")) == "You said: one"
        assert len(simulator.journal.entries) == 1


@pytest.mark.parametrize(
    "fault",
    [
        rate_limited("0"),
        overloaded(),
        FailedResponse(),
        ErrorFrame(phase="created"),
        ErrorFrame(code="server_is_overloaded", phase="created"),
        RefuseRequest(502, "<html>Bad Gateway</html>"),
        Close(),
        Abort(),
        Close(phase="created"),
        Abort(phase="created"),
        Silence(),
        Silence(phase="created", noise="keepalive"),
        Silence(phase="created", noise="in_progress"),
        Empty(),
    ],
    ids=str,
)
async def test_a_fault_before_any_output_is_recovered(reports: Reports, fault: Any) -> None:
    # A client that is being made takes its time, and only silence needs a limit that is short.
    limits = PATIENT if isinstance(fault, Silence) else NEVER_RUNS_OUT
    async with (
        Simulator(fault=[fault]) as simulator,
        chat_caller(simulator, reports, limits=limits) as caller,
    ):
        assert spoken(await caller.say("Hi")) == "You said: Hi"
        assert len(simulator.journal.entries) == 2
        assert len(reports[0].recoveries) == 1
        usage_ledger = chat(caller).usage
        assert (usage_ledger.answered.attempts, usage_ledger.all.attempts) == (1, 2)


@pytest.mark.parametrize("fault", [Close(), Abort(), Close(phase="created"), Empty()], ids=str)
async def test_a_lost_connection_is_replaced_free_once(fault: Any) -> None:
    # Nothing tells a kept connection that went stale from one that broke just now.
    async with (
        Simulator(fault=[fault]) as simulator,
        chat_caller(simulator, retry=NO_BUDGET) as caller,
    ):
        assert spoken(await caller.say("Hi")) == "You said: Hi"


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Close(phase="output"), ConnectionLost),
        (Abort(phase="output"), ConnectionLost),
        (Silence(phase="output"), TurnTimeout),
        (Silence(phase="output", noise="in_progress"), TurnTimeout),
        (ErrorFrame(phase="output"), ResponseFailed),
        (overloaded(phase="output"), Overloaded),
        (FailedResponse(phase="output", code="odd", message="gave up"), ResponseFailed),
        (Close(phase="complete"), ConnectionLost),
    ],
    ids=str,
)
async def test_no_chat_is_replayed_once_text_was_emitted(
    reports: Reports, fault: Any, error: type[TurnError]
) -> None:
    async with (
        Simulator("one two", fault=fault) as simulator,
        chat_caller(simulator, reports, limits=PATIENT) as caller,
    ):
        with pytest.raises(error) as raised:
            await caller.say("Hi")
        assert raised.value.details.emitted[0] >= len("one ")
        assert raised.value.details.phase == "emitted"
        assert len(simulator.journal.entries) == 1
        assert reports[0].outcome == "failed"
        assert chat(caller).usage.failed.unknown == 1


async def test_calls_are_not_emitted_before_the_end_so_that_a_drop_is_recovered() -> None:
    script = Reply.of(Call("weather", {"city": "Bonn"}))
    async with (
        Simulator(script, fault=[Close(phase="complete")]) as simulator,
        chat_caller(simulator, retry=NO_BUDGET) as caller,
    ):
        events = await hear(chat(caller), [Message.of("user", "Weather?")], tools=(TOOL,))
        assert [type(e) for e in events[:-1]] == [ToolCallReady]
        assert len(simulator.journal.entries) == 2


@pytest.mark.parametrize(
    ("fault", "error", "status", "code"),
    [
        (
            ErrorFrame("insufficient_quota", 429, kind="insufficient_quota"),
            RequestRejected,
            429,
            "insufficient_quota",
        ),
        (ErrorFrame("invalid_api_key", 401), RequestRejected, 401, "invalid_api_key"),
        (ErrorFrame("content_filter", 400), RequestRejected, 400, "content_filter"),
        (
            ErrorFrame("context_length_exceeded", 400),
            RequestRejected,
            400,
            "context_length_exceeded",
        ),
        (RefuseRequest(403, {"error": "no"}), RequestRejected, 403, None),
        (RefuseRequest(307, headers={"Location": "https://elsewhere"}), RequestRejected, 307, None),
    ],
    ids=str,
)
async def test_a_refusal_is_the_turns_error(
    fault: Any, error: type[TurnError], status: int, code: str | None
) -> None:
    async with Simulator(fault=fault) as simulator:
        http = openai.DefaultAsyncHttpxClient(follow_redirects=False)
        sdk = AsyncOpenAI(base_url=simulator.base_url, api_key="key", http_client=http)
        client = ChatClient(make_client=lambda _: sdk)
        with pytest.raises(error) as raised:
            await Caller(client).say("Hi")
        await client.aclose()
        assert len(simulator.journal.entries) == 1
        details = raised.value.details
        assert (details.status, details.code) == (status, code)
        assert details.request_id is not None
        assert "<html>" not in raised.value.message


async def test_a_wait_that_the_service_asks_for_is_reported() -> None:
    async with Simulator(fault=rate_limited("60")) as simulator, chat_caller(simulator) as caller:
        with pytest.raises(RateLimited) as raised:
            await caller.say("Hi")
        assert raised.value.details.retry_after == 60
        assert raised.value.message.startswith("Rate limit reached")
        assert len(simulator.journal.entries) == 1


@pytest.mark.parametrize(
    ("settings", "left"),
    [
        ({"temperature": 0.5}, "temperature"),
        ({"reasoning": {"effort": "none"}}, "reasoning_effort"),
        ({"text": {"verbosity": "low"}}, "verbosity"),
        ({"prompt_cache_options": {"mode": "explicit"}}, "prompt_cache_options"),
    ],
)
async def test_a_parameter_that_a_model_refuses_is_left_out_and_stays_so(
    settings: dict[str, Any], left: str
) -> None:
    model = "gpt-4.1" if left in ("reasoning_effort", "verbosity") else "gpt-5"
    async with Simulator() as simulator, chat_caller(simulator) as caller:
        for _ in range(2):
            request = Request(
                (Message.of("user", "Hi"),), model, as_recorded, settings, retry=NO_BUDGET
            )
            with chat(caller).ask(request) as answer:
                assert spoken([event async for event in answer]) == "You said: Hi"
        assert [left in e.body for e in simulator.journal.entries] == [True, False, False]


async def test_a_host_that_does_not_know_stream_options_is_asked_without() -> None:
    sentence = "Unrecognized request argument supplied: stream_options"
    refusal = RefuseRequest(400, {"error": {"message": sentence, "code": None, "param": None}})
    async with (
        Simulator(fault=[refusal]) as simulator,
        chat_caller(simulator, retry=NO_BUDGET) as caller,
    ):
        events = await caller.say("Hi")
        assert spoken(events) == "You said: Hi"
        assert ended(events).usage is None
        assert ["stream_options" in e.body for e in simulator.journal.entries] == [True, False]


async def test_the_effort_that_a_refusal_names_is_sent_from_then_on() -> None:
    async with Simulator() as simulator, chat_caller(simulator) as caller:
        request = Request((Message.of("user", "Hi"),), "gpt-5.5", as_recorded, tools=(TOOL,))
        for _ in range(2):
            with chat(caller).ask(request) as answer:
                assert isinstance(await anext(answer), TextDelta)
        efforts = [entry.body.get("reasoning_effort") for entry in simulator.journal.entries]
        assert efforts == [None, "none", "none"]


async def test_no_host_is_unreachable() -> None:
    client = ChatClient(
        make_client=lambda _: AsyncOpenAI(base_url="http://127.0.0.1:9/v1", api_key="key")
    )
    with pytest.raises(ConnectFailed) as raised:
        await Caller(client, retry=NO_BUDGET).say("Hi")
    assert raised.value.retryable
    await client.aclose()


async def test_a_token_that_is_refused_is_requested_again_once() -> None:
    tokens = iter(["old", "new"])

    async def token() -> str:
        return next(tokens)

    async with Simulator(api_key="new") as simulator:
        sdk = AsyncOpenAI(base_url=simulator.base_url, api_key=token)
        client = ChatClient(make_client=lambda _: sdk)
        assert spoken(await Caller(client, retry=NO_BUDGET).say("Hi")) == "You said: Hi"
        await client.aclose()


async def test_a_token_provider_that_raises_is_named_but_not_quoted() -> None:
    async def token() -> str:
        raise LookupError("secret-of-the-vault")

    async with Simulator() as simulator:
        sdk = AsyncOpenAI(base_url=simulator.base_url, api_key=token)
        client = ChatClient(make_client=lambda _: sdk)
        with pytest.raises(TurnError, match="LookupError") as raised:
            await Caller(client, retry=NO_BUDGET).say("Hi")
        assert "secret" not in str(raised.value)
        await client.aclose()


async def test_the_clients_own_limit_does_not_come_before_the_turns() -> None:
    go = asyncio.Event()
    script = Reply.of(Text(pieces=("one ", Pause(go), "two")))
    async with Simulator(script) as simulator:
        sdk = AsyncOpenAI(base_url=simulator.base_url, api_key="key", timeout=0.001)
        client = ChatClient(make_client=lambda _: sdk)
        caller = Caller(client)
        with client.ask(caller.request()) as answer:
            heard = [await anext(answer)]
            go.set()
            heard += [event async for event in answer]
        assert spoken(heard) == "one two"
        await client.aclose()


async def test_the_clients_limits_are_those_of_the_turn() -> None:
    given: list[Any] = []

    class Completions:
        async def create(self, **body: Any) -> AsyncIterator[Any]:
            given.append(body["timeout"])

            async def chunks() -> AsyncIterator[Any]:
                yield {"choices": [{"delta": {"content": "Hi"}, "finish_reason": "stop"}]}

            return chunks()

    class Client:
        class chat:  # noqa: N801
            completions = Completions()

    client = ChatClient(Client())
    limits = Timeouts(base=5.0, connect=2.0, open_item=15.0, total=60.0)
    await Caller(client, limits=limits).say("Hi")
    await client.aclose()
    assert (given[0].connect, given[0].read) == (2.0, 60.0)


async def test_chunks_after_the_end_are_not_counted_again() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 4}
    tail = {"choices": [], "usage": usage}

    class Completions:
        async def create(self, **_: Any) -> AsyncIterator[Any]:
            async def chunks() -> AsyncIterator[Any]:
                yield {"choices": [{"delta": {"content": "Hi"}, "finish_reason": "stop"}]}
                for _ in range(3):
                    yield tail

            return chunks()

    class Client:
        class chat:  # noqa: N801
            completions = Completions()

    client = ChatClient(Client())
    await Caller(client).say("Hi")
    await asyncio.gather(*(t for t in asyncio.all_tasks() if t.get_name().startswith("rtllm http")))
    assert (client.usage.all.attempts, client.usage.all.output) == (1, 4)
    await client.aclose()


async def test_thinking_may_take_longer_than_silence() -> None:
    limits = Timeouts(base=4.0, connect=5.0, open_item=20.0, total=30.0)
    gate = asyncio.Event()

    class Completions:
        async def create(self, **_: Any) -> AsyncIterator[Any]:
            async def chunks() -> AsyncIterator[Any]:
                yield {"choices": [{"delta": {"reasoning_content": "hmm"}}]}
                await gate.wait()
                yield {"choices": [{"delta": {"content": "Hi"}, "finish_reason": "stop"}]}

            return chunks()

    class Client:
        class chat:  # noqa: N801
            completions = Completions()

    client = ChatClient(Client())
    caller = Caller(client, limits=limits, retry=NO_BUDGET)
    asyncio.get_running_loop().call_later(2 * limits.base, gate.set)
    assert spoken(await caller.say("Hi")) == "Hi"
    await client.aclose()


# -- shapes ------------------------------------------------------------------------------

TWO = Reply.of(Call("weather", '{"city": "Bonn"}', "a"), Call("time", '{"zone": 1}', "b"))


@pytest.mark.parametrize(
    "flaw",
    [
        "call_whole",
        "call_id_repeated",
        "call_name_repeated",
        "call_place_missing",
        "call_place_zero",
        "call_places_with_gaps",
        "calls_interleaved",
        "delta_null_tail",
        "prompt_filter",
        "usage_with_finish",
        "usage_everywhere",
        "finish_missing",
        "done_missing",
    ],
)
async def test_calls_are_whole_whatever_the_host_sends(flaw: ChatFlaw) -> None:
    faults = [MangleChat(flaw)]
    if flaw == "call_place_zero":
        faults.append(MangleChat("call_whole"))
    async with Simulator(TWO, fault=[faults]) as simulator, chat_caller(simulator) as caller:
        events = await hear(chat(caller), [Message.of("user", "Hi")], retry=NO_BUDGET)
        assert [e.call for e in events if isinstance(e, ToolCallReady)] == [
            ToolCall("a", "weather", '{"city": "Bonn"}'),
            ToolCall("b", "time", '{"zone": 1}'),
        ]
        assert ended(events).outcome == "completed"
        assert ended(events).usage is not None


@pytest.mark.parametrize("flaw", ["usage_missing", "usage_null", "content_with_finish"])
async def test_words_are_whole_whatever_the_host_sends(flaw: ChatFlaw) -> None:
    async with (
        Simulator("one two", fault=[MangleChat(flaw)]) as simulator,
        chat_caller(simulator) as caller,
    ):
        events = await caller.say("Hi")
        assert spoken(events) == "one two"
        assert ended(events).outcome == "completed"
        assert (ended(events).usage is None) is flaw.startswith("usage")
        assert chat(caller).usage.answered.unknown == int(flaw.startswith("usage"))


@pytest.mark.parametrize("reason", ["max_output_tokens", "content_filter"])
async def test_a_cut_answer_is_an_outcome_and_its_calls_are_void(reason: str) -> None:
    script = Reply.of("one ", Call("weather", '{"city": "Bonn"}'))
    fault = CutResponse(phase="output", after=3, reason=reason)
    async with Simulator(script, fault=fault) as simulator, chat_caller(simulator) as caller:
        events = await hear(chat(caller), [Message.of("user", "Hi")])
        assert [type(e) for e in events[:-1]] == [TextDelta]
        assert (ended(events).outcome, ended(events).reason) == ("incomplete", reason)
        assert ended(events).usage is not None


async def test_broken_arguments_are_left_to_the_adapter() -> None:
    script = Reply.of(Call("weather", {"city": "Bonn"}))
    async with (
        Simulator(script, fault=BrokenArguments()) as simulator,
        chat_caller(simulator) as caller,
    ):
        events = await hear(chat(caller), [Message.of("user", "Hi")])
        [call] = [e.call for e in events if isinstance(e, ToolCallReady)]
        assert call.arguments == '{"city":"Bonn"'


async def test_a_refusal_of_the_model_is_distinguished() -> None:
    async with Simulator(Reply.of(Refusal("No."))) as simulator, chat_caller(simulator) as caller:
        events = await caller.say("Hi")
        assert events[0] == TextDelta("No.", refusal=True)


async def test_a_stream_that_breaks_after_the_end_was_complete() -> None:
    class Completions:
        async def create(self, **_: Any) -> AsyncIterator[Any]:
            async def chunks() -> AsyncIterator[Any]:
                yield {"id": "c1", "choices": [{"delta": {"content": "Hi"}}]}
                yield {"id": "c1", "choices": [{"delta": {}, "finish_reason": "stop"}]}
                raise ConnectionResetError

            return chunks()

    class Client:
        class chat:  # noqa: N801
            completions = Completions()

    client = ChatClient(Client())
    events = await Caller(client).say("Hi")
    assert (spoken(events), ended(events).outcome) == ("Hi", "completed")
    await client.aclose()


# -- exceptions --------------------------------------------------------------------------


def raised(name: str, bases: tuple[type[Exception], ...] = (Exception,)) -> Exception:
    kind: type[Exception] = type(name, bases, {})
    return kind("words")


def behind(cause: Exception) -> Exception:
    request: Any = None
    error = openai.APIConnectionError(request=request)
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "began", "kind"),
    [
        (behind(raised("ConnectError")), False, FaultKind.UNREACHABLE),
        (behind(raised("ConnectTimeout")), False, FaultKind.TIMEOUT),
        (behind(raised("ReadError")), False, FaultKind.DROPPED),
        (behind(raised("RemoteProtocolError")), True, FaultKind.DROPPED),
        (behind(raised("Odd")), False, FaultKind.UNREACHABLE),
        (behind(raised("Odd")), True, FaultKind.DROPPED),
        (
            raised("ReadTimeout", (type("TimeoutException", (Exception,), {}),)),
            True,
            FaultKind.TIMEOUT,
        ),
        (
            raised("ReadError", (type("TransportError", (Exception,), {}),)),
            False,
            FaultKind.DROPPED,
        ),
        (TypeError("unexpected keyword"), False, FaultKind.REFUSED),
        (openai.OpenAIError("no key"), False, FaultKind.REFUSED),
        (ValueError("line"), True, FaultKind.DROPPED),
        (KeyError("provider"), False, FaultKind.UNREACHABLE),
    ],
)
def test_an_exception_is_named_by_its_type(error: Exception, began: bool, kind: FaultKind) -> None:
    assert fault_of(error, QUICK.connect, began=began).kind is kind
