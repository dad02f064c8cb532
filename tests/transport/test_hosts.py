"""Hosts as they are, played by the simulator: turns are answered, and lessons learnt once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from openai import AsyncOpenAI

from rtllm import (
    ChatClient,
    Client,
    Credentials,
    RequestRejected,
    ResponseFailed,
    TurnReport,
    endpoint,
)
from rtllm.content.events import ToolCallReady
from rtllm.content.items import Item, Message, ToolCall, ToolOutput
from rtllm.simulator import (
    Call,
    Completed,
    Incomplete,
    Reasoning,
    RefuseRequest,
    Reply,
    Request,
    Simulator,
    Text,
    echo,
    in_turn,
)
from rtllm.tools.function import FunctionTool
from transport.caller import Caller, spoken

TEXT = {"type": "string"}
SYSTEM = Message.of("system", "Be brief.")
TOOL = FunctionTool.of_schema(
    "weather", {"type": "object", "properties": {"city": {"type": "string"}}}
).encoded
HISTORY = (
    SYSTEM,
    Message.of("system", "The caller is Ann."),
    Message.of("user", "Weather?"),
    ToolCall("functions.weather:0", "weather", "{}"),
    ToolOutput("functions.weather:0", "sunny"),
)


@asynccontextmanager
async def chat_of(
    manners: Sequence[str], script: Any = None, **options: Any
) -> AsyncIterator[tuple[Simulator, ChatClient]]:
    async with Simulator(script or echo(), manners=manners, strict=False) as simulator:
        client = ChatClient(
            make_client=lambda _: AsyncOpenAI(base_url=simulator.base_url, api_key="key"), **options
        )
        yield simulator, client
        await client.aclose()


MANNERS_OF_FORM = (
    "no strict tools",
    "one leading system",
    "no system",
    "no user behind tool",
    "alternating roles",
    "content everywhere",
    "nine characters",
    "no stream_options",
    "no unknown fields",
    "plain schemas",
    "named outputs",
    "ids of letters",
)


@pytest.mark.parametrize("manner", MANNERS_OF_FORM)
async def test_what_a_host_refuses_is_sent_in_another_form_and_learnt_once(manner: str) -> None:
    async with chat_of([manner]) as (simulator, client):
        for turn in range(2):
            caller = Caller(client, [*HISTORY, Message.of("user", "And now?")], tools=(TOOL,))
            before = len(simulator.journal.entries)
            assert spoken(await caller.say("Hello?")), turn
            assert len(simulator.journal.entries) - before <= (3 if turn == 0 else 1)


async def test_no_tool_is_lost_to_a_host_that_knows_few_words_of_schemas() -> None:
    schema = {
        "type": "object",
        "properties": {"city": TEXT, "day": {"anyOf": [TEXT, {"type": "null"}]}},
        "required": ["city", "day"],
        "additionalProperties": False,
    }
    tools = tuple(FunctionTool.of_schema(name, schema).encoded for name in ("weather", "news"))
    async with chat_of(["plain schemas"]) as (simulator, client):
        assert spoken(await Caller(client, tools=tools).say("Hello?"))
        refused, answered = simulator.journal.entries
        assert (refused.outcome, answered.outcome) == ("refused", "completed")
        functions = [tool["function"] for tool in answered.body["tools"]]
        assert [function["name"] for function in functions] == ["weather", "news"]
        assert functions[0]["parameters"] == {
            "type": "object",
            "properties": {"city": TEXT, "day": TEXT},
            "required": ["city"],
        }


GREETED = (SYSTEM, Message.of("assistant", "Welcome!"))


@pytest.mark.parametrize("api", ["chat", "responses"])
@pytest.mark.parametrize(
    ("manner", "items", "sent"),
    [
        ("user first", (*GREETED, Message.of("user", "Hi")), "system user assistant user"),
        ("user first", (SYSTEM,), "system user"),
        ("user last", (SYSTEM, Message.of("user", "Hi"), GREETED[1]), "system user assistant user"),
        ("user first", (SYSTEM, Message.of("user", "Hi")), "system user"),
    ],
)
async def test_a_user_is_added_only_where_a_host_misses_one(
    manner: str, items: Sequence[Item], sent: str, api: str
) -> None:
    async with Simulator(echo(), manners=[manner], strict=False) as simulator:
        client: ChatClient | Client
        if api == "chat":
            client = ChatClient(
                make_client=lambda _: AsyncOpenAI(base_url=simulator.base_url, api_key="key")
            )
        else:
            client = Client(endpoint(simulator.base_url), Credentials("key"))
        for turn in range(2):
            before = len(simulator.journal.entries)
            assert spoken(await Caller(client, [*items]).listen())
            assert len(simulator.journal.entries) - before <= (1 if turn else 2)
        last = simulator.journal.entries[-1].body
        messages = last["messages"] if api == "chat" else last["input"]
        assert " ".join(message["role"] for message in messages) == sent
        await client.aclose()


async def test_all_at_once_is_learnt_within_two_resends() -> None:
    manners = ["no strict tools", "one leading system", "no user behind tool"]
    async with chat_of(manners) as (simulator, client):
        caller = Caller(client, [*HISTORY], tools=(TOOL,))
        assert spoken(await caller.say("Hello?"))
        assert len(simulator.journal.entries) <= 4


async def test_a_setting_saves_the_try() -> None:
    async with chat_of(["one leading system"], dialect={"system_messages": "leading"}) as (
        simulator,
        client,
    ):
        assert spoken(await Caller(client, [*HISTORY]).say("Hello?"))
        assert len(simulator.journal.entries) == 1


async def test_a_known_host_costs_no_try() -> None:
    manners = ["one leading system", "no user behind tool", "nine characters", "no stream_options"]
    async with chat_of(manners, profile="mistral") as (simulator, client):
        assert spoken(await Caller(client, [*HISTORY]).say("Hello?"))
        assert len(simulator.journal.entries) == 1


def calls_once(request: Request) -> Reply | str:
    if any(item.get("type") == "function_call_output" for item in request.context):
        return "It is sunny."
    return Reply((Call("weather", '{"city":"Rome"}'),), Completed())


@pytest.mark.parametrize("manner", ["signs calls", "thinks beside calls"])
async def test_what_a_host_hangs_on_a_call_goes_back(manner: str) -> None:
    async with chat_of([manner], calls_once) as (simulator, client):
        caller = Caller(client, tools=(TOOL,))
        heard = await caller.say("Weather?")
        call = next(event.call for event in heard if isinstance(event, ToolCallReady))
        # A framework that keeps nothing but the call: its conversation is found by its words.
        kept: list[Item] = [i for i in caller.items if not isinstance(i, ToolCall)]
        key = next(i.key for i in caller.items if isinstance(i, ToolCall))
        kept.append(ToolCall(call.call_id, call.name, call.arguments, key))
        caller.items = [*kept, ToolOutput(call.call_id, "sunny")]
        assert spoken(await caller.listen()) == "It is sunny."
        assert spoken(await caller.say("Thanks.")) == "It is sunny."
        assert len(simulator.journal.entries) == 3


async def test_calls_of_another_host_get_what_this_one_wants() -> None:
    async with chat_of(["signs calls"]) as (_, client):
        caller = Caller(client, [*HISTORY], tools=(TOOL,))
        assert spoken(await caller.say("Hello?"))


@pytest.mark.parametrize("manner", ["thinks in the words", "thinks in channels"])
@pytest.mark.parametrize("prewarmed", [False, True])
async def test_thoughts_in_the_words_are_neither_spoken_nor_recorded(
    manner: str, *, prewarmed: bool
) -> None:
    async with chat_of([manner]) as (simulator, client):
        if prewarmed:
            client.prewarm("m")
        caller = Caller(client)
        assert spoken(await caller.say("hello")) == "You said: hello"
        assert spoken(await caller.say("again")) == "You said: again"
        assert "greets me" not in str(simulator.journal.entries[1].body)


async def test_a_system_message_between_two_of_the_user_is_moved_in_one_resend() -> None:
    history: list[Item] = [
        Message.of("system", "Be kind."),
        Message.of("user", "Hello."),
        Message.of("system", "The caller is Ann."),
    ]
    async with chat_of(["alternating roles"]) as (simulator, client):
        caller = Caller(client, history)
        assert spoken(await caller.say("again")) == "You said: Hello.\n\nagain"
        outcomes = [entry.outcome for entry in simulator.journal.entries]
        assert outcomes == ["refused", "completed"]


async def test_an_answer_that_never_leaves_its_thoughts_is_a_failure() -> None:
    async with chat_of([], "<think>hm, hm") as (_, client):
        with pytest.raises(ResponseFailed, match="thoughts"):
            await Caller(client).say("hello")


ONLY_REASONING = Reply((Reasoning("It is sunny.", shown=True),), Completed())


async def test_an_answer_to_the_user_in_the_reasoning_alone_is_a_failure() -> None:
    """As of vLLM, whose reasoning parser may take the whole answer for reasoning."""
    async with chat_of([], ONLY_REASONING) as (simulator, client):
        with pytest.raises(ResponseFailed, match="only the model's thoughts"):
            await Caller(client).say("hello")
        assert len(simulator.journal.entries) == 2


async def test_after_a_tool_a_model_may_think_and_say_nothing() -> None:
    async with chat_of([], ONLY_REASONING) as (_, client):
        assert spoken(await Caller(client, [*HISTORY], tools=(TOOL,)).listen()) == ""


@pytest.mark.parametrize("reason", ["content_filter", "max_output_tokens"])
@pytest.mark.parametrize("over", ["chat", "socket"])
async def test_an_answer_cut_before_its_first_word_is_a_failure(reason: str, over: str) -> None:
    nothing = Reply((), Incomplete(reason))
    async with Simulator(nothing) as simulator:
        client: Client | ChatClient
        if over == "chat":
            client = ChatClient(
                make_client=lambda _: AsyncOpenAI(base_url=simulator.base_url, api_key="key")
            )
        else:
            client = Client(endpoint(simulator.base_url), Credentials("key"), lanes=True)
        with pytest.raises(ResponseFailed, match="before its first output"):
            await Caller(client).say("hello")
        assert len(simulator.journal.entries) == 1
        await client.aclose()


# -- state that a host only pretends to keep ------------------------------------------------------


@asynccontextmanager
async def responses_of(
    manners: Sequence[str], *, websocket: bool, **options: Any
) -> AsyncIterator[tuple[Simulator, Client, list[TurnReport]]]:
    reports: list[TurnReport] = []
    async with Simulator(manners=manners, **options.pop("simulator", {})) as simulator:
        client = Client(
            endpoint(simulator.base_url),
            Credentials("key"),
            websocket=websocket,
            on_turn=reports.append,
            **options,
        )
        yield simulator, client, reports
        await client.aclose()


@pytest.mark.parametrize("websocket", [True, False])
async def test_a_host_that_ignores_a_parent_is_asked_whole_before_a_word_is_emitted(
    *, websocket: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with responses_of(["ignores parents"], websocket=websocket) as (sim, client, reports):
        caller = Caller(client, [SYSTEM])
        for text in ("one", "two", "three"):
            assert spoken(await caller.say(text)) == f"You said: {text}"
        texts = [text for role, text in sim.journal.entries[-1].texts() if role == "user"]
        assert texts == ["one", "two", "three"]
        assert len(sim.journal.entries) == 4
        assert not any(report.chained for report in reports)
        assert "chaining=False" in caplog.text
        assert client.usage.all.attempts == 4


PAGE = "<html><title>404 Not Found</title></html>"
NO_RETENTION = '{"error":{"message":"Previous response cannot be used: Zero Data Retention."}}'


@pytest.mark.parametrize(
    ("status", "body"),
    [(404, PAGE), (404, "Not Found"), (403, NO_RETENTION)],
    ids=["404 with a page", "404 in plain words", "403 for a policy"],
)
async def test_a_continued_request_refused_in_any_words_is_sent_with_the_full_context(
    status: int, body: str
) -> None:
    fault = in_turn(None, RefuseRequest(status=status, body=body), None)
    async with responses_of([], websocket=False, simulator={"fault": fault}) as (sim, client, _):
        caller = Caller(client, [SYSTEM])
        for text in ("one", "two"):
            assert spoken(await caller.say(text)) == f"You said: {text}"
        continued = [bool(e.body.get("previous_response_id")) for e in sim.journal.entries]
        assert continued == [False, True, False]


async def test_a_model_that_is_not_there_is_not_asked_for_twice() -> None:
    body = '{"error":{"message":"No such model.","code":"model_not_found"}}'
    fault = in_turn(None, RefuseRequest(status=404, body=body), None)
    async with responses_of([], websocket=False, simulator={"fault": fault}) as (sim, client, _):
        caller = Caller(client, [SYSTEM])
        await caller.say("one")
        with pytest.raises(RequestRejected, match="No such model"):
            await caller.say("two")
        assert len(sim.journal.entries) == 2


async def test_nothing_is_continued_if_a_user_forbids_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with responses_of([], websocket=True, chaining=False) as (_, client, reports):
        caller = Caller(client)
        for text in ("one", "two"):
            await caller.say(text)
        assert not reports[-1].chained
    monkeypatch.setenv("RTLLM_CHAINING", "off")
    async with responses_of([], websocket=True) as (_, client, reports):
        caller = Caller(client)
        for text in ("one", "two"):
            await caller.say(text)
        assert not reports[-1].chained


@pytest.mark.parametrize("websocket", [True, False])
async def test_a_host_that_keeps_a_parent_goes_on_being_continued(*, websocket: bool) -> None:
    async with responses_of([], websocket=websocket) as (sim, client, reports):
        caller = Caller(client)
        for text in ("one", "two", "three"):
            await caller.say(text)
        assert [report.chained for report in reports] == [False, True, True]
        assert len(sim.journal.entries) == 3


async def test_a_refused_parent_costs_one_resend_whatever_the_words() -> None:
    async with responses_of(["no parent"], websocket=False) as (sim, client, _):
        caller = Caller(client)
        for text in ("one", "two"):
            assert spoken(await caller.say(text)) == f"You said: {text}"
        assert len(sim.journal.entries) == 3


async def test_messages_say_that_they_are_messages() -> None:
    async with responses_of(["typed messages"], websocket=False, simulator={"strict": False}) as (
        sim,
        client,
        _,
    ):
        assert spoken(await Caller(client, [SYSTEM]).say("one")) == "You said: one"
        assert len(sim.journal.entries) == 1


async def test_a_call_that_the_host_could_not_read_is_asked_for_again() -> None:
    body = '{"error":{"message":"Failed to call a function.","code":"tool_use_failed"}}'
    fault = in_turn(RefuseRequest(status=400, body=body), None)
    async with Simulator(fault=fault) as simulator:
        client = ChatClient(
            make_client=lambda _: AsyncOpenAI(base_url=simulator.base_url, api_key="key")
        )
        assert spoken(await Caller(client).say("hello")) == "You said: hello"
        await client.aclose()


@pytest.mark.parametrize(
    ("manner", "settings", "left"),
    [
        ("only max_tokens", {"max_output_tokens": 50}, {"max_tokens": 50}),
        ("no effort", {"reasoning": {"effort": "low"}}, {}),
        ("no effort", {"text": {"verbosity": "low"}}, {}),
        ("no stream_options", {}, {}),
    ],
)
async def test_a_field_that_a_host_does_not_know_is_named_otherwise_or_left_out(
    manner: str, settings: dict[str, Any], left: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    async with chat_of([manner]) as (simulator, client):
        caller = Caller(client, settings=settings, model="some-model")
        for _ in range(2):
            assert spoken(await caller.say("Hello?"))
        bodies = [entry.body for entry in simulator.journal.entries]
        assert len(bodies) == 3
        known = {"max_tokens", "max_completion_tokens", "reasoning_effort", "verbosity"}
        assert {k: v for k, v in bodies[-1].items() if k in known} == left
        assert len([r for r in caplog.records if "from now on" in r.getMessage()]) == 1


@pytest.mark.parametrize("manner", ["no strict tools", "no effort"])
async def test_responses_are_asked_in_a_hosts_dialect_too(manner: str) -> None:
    async with responses_of([manner], websocket=True, simulator={"strict": False}) as (
        sim,
        client,
        _,
    ):
        settings: dict[str, Any] = {"store": False}
        if manner == "no effort":
            settings["reasoning"] = {"effort": "low"}
        loose = FunctionTool.of_schema("search", {"type": "object", "properties": {"q": TEXT}})
        caller = Caller(client, settings=settings, tools=(TOOL, loose.encoded), model="some-model")
        for text in ("one", "two"):
            assert spoken(await caller.say(text)) == f"You said: {text}"
        assert len(sim.journal.entries) == 3


@pytest.mark.parametrize("websocket", [True, False])
async def test_thoughts_are_dropped_over_responses_too(*, websocket: bool) -> None:
    async with Simulator("<think>hm, hm</think>\n\nHi there.") as simulator:
        client = Client(endpoint(simulator.base_url), Credentials("key"), websocket=websocket)
        caller = Caller(client)
        for _ in range(2):
            assert spoken(await caller.say("hello")) == "Hi there."
        assert simulator.journal.entries[-1].previous_response_id
        await client.aclose()


@pytest.mark.parametrize("websocket", [True, False])
async def test_put_back_items_that_are_refused_are_left_out_once(*, websocket: bool) -> None:
    def script(request: Request) -> Reply:
        return Reply((Reasoning(), Text(f"Answer {request.index}.")), Completed())

    async with responses_of(["no nulls"], websocket=websocket, simulator={"script": script}) as (
        sim,
        client,
        _,
    ):
        caller = Caller(client, settings={"store": False}, model="gpt-5.1")
        for text in ("one", "two"):
            await caller.say(text)
        assert len(sim.journal.entries) == 2


async def test_what_must_not_be_stored_is_never_stored_for_a_refusal() -> None:
    async with responses_of(["no store"], websocket=True) as (sim, client, _):
        with pytest.raises(RequestRejected, match="store"):
            await Caller(client, settings={"store": False}).say("one")
        assert len(sim.journal.entries) == 1
    dialect = {"store": "left out"}
    async with responses_of(["no store"], websocket=True, dialect=dialect) as (_, client, _):
        assert spoken(await Caller(client, settings={"store": False}).say("one"))


async def test_a_refusal_that_tells_nothing_changes_nothing_that_the_model_sees() -> None:
    fault = in_turn(RefuseRequest(status=400, body='{"error":{"message":"Bad request"}}'), None)
    async with Simulator(fault=fault, strict=False) as simulator:
        client = ChatClient(
            make_client=lambda _: AsyncOpenAI(base_url=simulator.base_url, api_key="key")
        )
        await Caller(client, [*HISTORY], tools=(TOOL,)).say("hello")
        first, second = (entry.body["messages"] for entry in simulator.journal.entries)
        assert first == second
        await client.aclose()


@pytest.mark.parametrize("websocket", [True, False])
async def test_input_tokens_show_that_a_host_forgets_what_it_claims_to_continue(
    *, websocket: bool, caplog: pytest.LogCaptureFixture
) -> None:
    manners = ["ignores parents", "claims parents"]
    async with responses_of(manners, websocket=websocket) as (sim, client, reports):
        caller = Caller(client, [Message.of("system", "You are Acme's agent. " * 30)])
        for text in ("one", "two", "three", "four", "five"):
            await caller.say(text)
        assert [report.chained for report in reports] == [False, True, True, False, False]
        texts = [text for role, text in sim.journal.entries[-1].texts() if role == "user"]
        assert texts == ["one", "two", "three", "four", "five"]
        assert len([r for r in caplog.records if "forgets contexts" in r.getMessage()]) == 1


async def test_input_tokens_that_count_the_full_context_prove_that_it_is_kept() -> None:
    async with responses_of([], websocket=True) as (_, client, reports):
        caller = Caller(client, [Message.of("system", "You are Acme's agent. " * 30)])
        for number in range(8):
            await caller.say(str(number))
        assert [report.chained for report in reports] == [False] + 7 * [True]


@pytest.mark.parametrize("websocket", [True, False])
async def test_responses_with_one_id_are_not_continued(
    *, websocket: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with responses_of(["repeats ids"], websocket=websocket) as (sim, client, reports):
        alice, bob = Caller(client), Caller(client)
        for turn in range(3):
            await alice.say(f"I am Alice, turn {turn}")
            await bob.say(f"I am Bob, turn {turn}")
        for entry in sim.journal.entries:
            said = [text for role, text in entry.texts() if role == "user"]
            assert len({text.split(",")[0] for text in said}) == 1, said
            assert len(said) == int(said[-1][-1]) + 1
        assert not any(report.chained for report in reports)
        assert len([r for r in caplog.records if "the same id" in r.getMessage()]) == 1
