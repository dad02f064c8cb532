"""Conversations in real sessions: faithful, chained where possible, nothing said twice."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from videosdk.agents import (
    AgentSession,
    ChatContext,
    ChatRole,
    ContextWindow,
    FallbackLLM,
    Pipeline,
)

from rtllm.simulator import Call, Pause, Reply, Request, Script, Text
from support.contexts import NO_RESULT
from support.oracle import is_chained
from support.waiting import until
from videosdk_adapter.stage import Host, stage
from videosdk_adapter.talks import Plain, talk, tool


class Tools:
    """Tools that note what ran."""

    def __init__(self) -> None:
        self.ran: list[str] = []

        @tool
        async def weather(city: str) -> str:
            """Tell the weather.

            Args:
                city: Where.
            """
            self.ran.append(city)
            return f"21 degrees in {city}"

        @tool
        async def broken(city: str) -> str:
            """Raise."""
            self.ran.append(city)
            raise RuntimeError("no line to the weather service")

        @tool
        def sync(city: str) -> str:
            """Run without async."""
            self.ran.append(city)
            return "done"

        self.weather, self.broken, self.sync = weather, broken, sync


def outputs(request: Request) -> str:
    """The outcomes of the calls after the caller's last words."""
    texts: list[str] = []
    for item in request.context:
        if item.get("role") == "user":
            texts = []
        elif item.get("type") == "function_call_output":
            try:
                texts.append(str(json.loads(item["output"])))
            except ValueError:
                texts.append(str(item["output"]))
    return "; ".join(texts)


def on_demand(request: Request) -> Reply | str:
    """``NAME CITY …``: calls the tool for each city; then tells what came of it."""
    if outputs(request):
        return f"I found: {outputs(request)}."
    name, *cities = request.last_user_text.split()
    if name in ("weather", "broken", "sync"):
        return Reply.of(*(Call(name, {"city": city}) for city in cities))
    if name == "preamble":
        return Reply.of("Let me look. ", *(Call("weather", {"city": city}) for city in cities))
    return f"You said {request.last_user_text}."


# -- plain turns and tools ------------------------------------------------------------------------


async def test_plain_turns_are_chained(any_host: Host) -> None:
    async with stage(on_demand, **any_host) as st, talk(st.llm) as call:
        for text in ("hello", "how are you", "fine", "goodbye"):
            await call.say(text)
        assert call.last == ("assistant", "You said goodbye.")
    await st.check()
    if st.is_socket:
        assert [len(e.input) for e in st.entries if e.outcome != "refused"][1:] == [1, 1, 1]


async def test_one_tool_is_one_round_trip(any_host: Host) -> None:
    tools = Tools()
    async with stage(on_demand, **any_host) as st, talk(st.llm, Plain(tools=[tools.weather])) as c:
        await c.say("hello")
        await c.say("weather Paris")
        await c.say("thanks")
        assert ("assistant", "I found: 21 degrees in Paris.") in c.history()
    assert tools.ran == ["Paris"]
    await st.check()
    assert len([e for e in st.entries if e.outcome == "completed"]) == 4


@pytest.mark.parametrize("word", ["weather", "preamble"])
async def test_three_parallel_tools_all_run_once(any_host: Host, word: str) -> None:
    tools = Tools()
    async with stage(on_demand, **any_host) as st, talk(st.llm, Plain(tools=[tools.weather])) as c:
        await c.say(f"{word} Paris Rome Oslo")
        await c.say("thanks")
        begin = "Let me look. " if word == "preamble" else ""
        said = [text for role, text in c.history() if role == "assistant"]
        assert said[0].startswith(begin + "I found: ")
        assert all(city in said[0] for city in ("Paris", "Rome", "Oslo"))
    assert tools.ran == ["Paris", "Rome", "Oslo"]
    await st.check()
    done = [e for e in st.entries if e.outcome == "completed"]
    assert len(done) == 3
    found = [t for _, t in done[1].texts() if "degrees" in t]
    assert len(found) == 3


async def test_a_chain_of_tools_with_words_between(host: Host) -> None:
    """The words of the first round are spoken; those of nested rounds the framework drops."""
    tools = Tools()

    def script(request: Request) -> Reply | str:
        done = len([i for i in request.context if i.get("type") == "function_call_output"])
        if request.last_user_text != "go" or done == 3:
            return "All done."
        return Reply.of(f"Step {done}. ", Call("weather", {"city": f"City{done}"}))

    async with stage(script, **host) as st, talk(st.llm, Plain(tools=[tools.weather])) as c:
        await c.say("go")
        assert c.last == ("assistant", "Step 0. All done.")
        await c.say("thanks")
    assert tools.ran == ["City0", "City1", "City2"]
    await st.check()


async def test_preamble_tool_and_answer_are_chained_on_the_next_turn(socket: Host) -> None:
    tools = Tools()
    async with stage(on_demand, **socket) as st, talk(st.llm, Plain(tools=[tools.weather])) as c:
        await c.say("preamble Paris")
        assert c.last == ("assistant", "Let me look. I found: 21 degrees in Paris.")
        await c.say("thanks")
        await c.say("preamble Rome")
        await c.say("bye")
    await st.check()
    assert [is_chained(e) for e in st.entries] == [False, *[True] * 5]
    assert [len(e.input) for e in st.entries][1:] == [1] * 5


# -- tools that go wrong --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["broken", "sync"])
async def test_a_tool_that_raises_leaves_no_silence(any_host: Host, name: str) -> None:
    tools = Tools()
    agent = Plain(tools=[tools.broken, tools.sync])
    async with stage(on_demand, **any_host) as st, talk(st.llm, agent) as c:
        await c.say(f"{name} Paris")
        assert c.last == ("assistant", f"I found: {NO_RESULT}.")
        await c.say("still there?")
        assert c.last == ("assistant", "You said still there?.")
    assert tools.ran == ["Paris"]
    assert st.errors == []
    await st.check()


async def test_the_first_of_three_raises_and_the_others_run(any_host: Host) -> None:
    tools = Tools()

    def script(request: Request) -> Reply | str:
        if request.last_user_text == "go" and not request.trailing_outputs:
            names = ("broken", "weather", "weather")
            return Reply.of(*(Call(n, {"city": str(i)}) for i, n in enumerate(names)))
        return f"I found: {outputs(request)}."

    agent = Plain(tools=[tools.broken, tools.weather])
    async with stage(script, **any_host) as st, talk(st.llm, agent) as c:
        await c.say("go")
        assert "21 degrees in 2" in c.last[1]
        await c.say("thanks")
    assert tools.ran == ["0", "1", "2"]
    await st.check()


@pytest.mark.parametrize("cities", ["Paris Rome", "Paris Rome Oslo"])
async def test_a_later_parallel_tool_raises(any_host: Host, cities: str) -> None:
    ran: list[str] = []

    @tool
    async def weather(city: str) -> str:
        """Tell the weather."""
        ran.append(city)
        if city == "Rome":
            raise RuntimeError("no")
        return "fine"

    async with stage(on_demand, **any_host) as st, talk(st.llm, Plain(tools=[weather])) as c:
        await c.say(f"weather {cities}")
        assert c.last[0] == "assistant"
        assert "I found" in c.last[1]
        await c.say("thanks")
    assert ran == cities.split()
    await st.check()


async def test_a_tool_whose_result_is_not_json(host: Host) -> None:
    @tool
    async def weather(city: str) -> object:
        """Tell the weather."""
        return object()

    async with stage(on_demand, **host) as st, talk(st.llm, Plain(tools=[weather])) as c:
        await c.say("weather Paris")
        assert c.last == ("assistant", f"I found: {NO_RESULT}.")
        await c.say("and now?")
    await st.check()


async def test_the_limit_of_calls_ends_in_words(host: Host) -> None:
    """The framework takes ten calls a turn; what it takes no more is void."""
    tools = Tools()

    def script(request: Request) -> Reply | str:
        if request.last_user_text != "go" or not request.tools:
            return f"I know {len(request.trailing_outputs)}."
        if request.body.get("tool_choice") == "none":
            return "Enough."
        done = len([i for i in request.context if i.get("type") == "function_call"])
        return Reply.of(*(Call("weather", {"city": str(done + n)}) for n in range(4)))

    async with stage(script, **host) as st, talk(st.llm, Plain(tools=[tools.weather])) as c:
        await c.say("go")
        assert c.last[0] == "assistant"
        await c.say("thanks")
    assert tools.ran == [str(n) for n in range(10)]
    await st.check(connections=None)


async def test_twelve_calls_in_one_response(host: Host) -> None:
    tools = Tools()

    def script(request: Request) -> Reply | str:
        if request.last_user_text == "go" and not request.trailing_outputs:
            return Reply.of(*(Call("weather", {"city": str(n)}) for n in range(12)))
        return "That was much."

    async with stage(script, **host) as st, talk(st.llm, Plain(tools=[tools.weather])) as c:
        await c.say("go")
        assert c.last == ("assistant", "That was much.")
        await c.say("thanks")
    assert tools.ran == [str(n) for n in range(10)]
    await st.check(connections=None)


# -- calls that can't run -------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [Call("weather", '{"city": '), Call("weather", "[1]"), Call("x")])
async def test_a_call_that_cannot_run_is_answered_and_never_runs(any_host: Host, bad: Call) -> None:
    tools = Tools()

    def script(request: Request) -> Reply | str:
        if request.last_user_text != "go":
            return "Bye."
        if "21 degrees" in outputs(request):
            return "It is warm."
        if "error: " in outputs(request):
            return Reply.of(Call("weather", {"city": "Paris"}))
        return Reply.of("One moment. ", bad)

    async with stage(script, **any_host) as st, talk(st.llm, Plain(tools=[tools.weather])) as c:
        await c.say("go")
        assert c.last == ("assistant", "One moment. It is warm.")
        await c.say("thanks")
        assert [i for i in c.history() if i[0] == "call"] == [("call", '{"city": "Paris"}')]
    assert tools.ran == ["Paris"]
    assert st.errors == []
    st.unseen = True
    await st.check(whole=range(9), connections=None)
    last = st.entries[-1]
    assert not [i for i in last.context if "error" in str(i.get("output"))]


async def test_a_call_that_cannot_run_next_to_one_that_can(host: Host) -> None:
    tools = Tools()

    def script(request: Request) -> Reply | str:
        if request.last_user_text != "go":
            return "Bye."
        if not request.trailing_outputs:
            return Reply.of(Call("weather", {"city": "Paris"}), Call("weather", "{"))
        return f"I found: {outputs(request)}."

    async with stage(script, **host) as st, talk(st.llm, Plain(tools=[tools.weather])) as c:
        await c.say("go")
        assert "21 degrees in Paris" in c.last[1]
        assert "error: the arguments of 'weather'" in c.last[1]
        await c.say("thanks")
    assert tools.ran == ["Paris"]
    st.unseen = True
    await st.check()


async def test_calls_that_never_can_run_end_the_turn(host: Host) -> None:
    async with (
        stage(Reply.of(Call("weather", "{")), **host) as st,
        talk(st.llm, Plain(tools=[Tools().weather])) as c,
    ):
        with pytest.raises(Exception, match="not JSON"):
            await c.say("go")
        assert len(st.errors) == 1
        assert len(st.entries) == 3
    st.unseen = True
    await st.check()


# -- words from elsewhere -------------------------------------------------------------------------


async def test_say_between_turns_is_heard_by_the_model(host: Host) -> None:
    async with stage(on_demand, **host) as st, talk(st.llm) as c:
        await c.say("hello")
        await c.session.say("Your order has shipped.")
        await c.say("great")
        await c.say("bye")
    await st.check()
    assert ("assistant", "Your order has shipped.") in st.entries[1].texts()


async def test_say_inside_a_tool(any_host: Host) -> None:
    agent: Any = None

    @tool
    async def weather(city: str) -> str:
        """Tell the weather."""
        await agent.session.say("Hold on.")
        return "fine"

    agent = Plain(tools=[weather])
    async with stage(on_demand, **any_host) as st, talk(st.llm, agent) as c:
        await c.say("weather Paris Rome")
        assert c.last == ("assistant", "I found: fine; fine.")
        await c.say("bye")
    await st.check()


async def test_say_inside_a_tool_after_words(socket: Host) -> None:
    agent: Any = None

    @tool
    async def weather(city: str) -> str:
        """Tell the weather."""
        await agent.session.say("Hold on.")
        return "fine"

    agent = Plain(tools=[weather])
    async with stage(on_demand, **socket) as st, talk(st.llm, agent) as c:
        await c.say("preamble Paris")
        assert c.last == ("assistant", "Let me look. I found: fine.")
        await c.say("bye")
        await c.say("really")
        assert all(is_chained(e) for e in st.entries[1:])
        assert [role for role, _ in st.entries[-1].texts()][2:6] == [
            "assistant",
            "function_call",
            "function_call_output",
            "assistant",
        ]
        st.reordered = True
        for entry in st.entries[2:]:
            st.check_context(entry)


async def test_reply_inside_a_tool(host: Host) -> None:
    agent: Any = None

    @tool
    async def weather(city: str) -> str:
        """Tell the weather."""
        agent.chat_context.add_message(role=ChatRole.USER, content="Tell a joke meanwhile.")
        return "fine"

    agent = Plain(tools=[weather])
    async with stage(on_demand, **host) as st, talk(st.llm, agent) as c:
        await c.say("weather Paris")
        await c.say("bye")
    await st.check()


async def test_session_reply(host: Host) -> None:
    async with stage(on_demand, **host) as st, talk(st.llm) as c:
        await c.say("hello")
        await c.session.reply("Greet the caller.")
        await until(lambda: len(c.history()) == 4)
        await c.say("bye")
    await st.check()


# -- instructions, contexts that change ------------------------------------------------------------


async def test_edited_instructions_hold_from_the_next_turn_on(host: Host) -> None:
    async with stage(on_demand, **host) as st, talk(st.llm) as c:
        await c.say("hello")
        c.agent.instructions = "Be brief."
        await c.say("again")
        await c.say("bye")
    await st.check()
    seen = [text for role, text in st.entries[-1].texts() if role == "system"]
    assert any("Be brief." in text for text in seen)
    assert any("Be kind." in text for text in seen)


async def test_replaced_instructions(host: Host) -> None:
    async with stage(on_demand, **host) as st, talk(st.llm) as c:
        await c.say("hello")
        c.context.add_message(role=ChatRole.SYSTEM, content="Be a pirate.", replace=True)
        c.context._items.insert(0, c.context._items.pop())
        await c.say("again")
        await c.say("and again")
        c.context.items[0].content = ["Be a sailor."]
        await c.say("bye")
    await st.check(whole=[1])
    texts = [e.instructions or e.texts()[0][1] for e in st.entries]
    assert texts[1:] == ["Be a pirate.", "Be a pirate.", "Be a sailor."]


async def test_a_config_update_follows_the_frameworks_rule(host: Host) -> None:
    async with stage(on_demand, **host) as st, talk(st.llm) as c:
        await c.say("hello")
        c.context.add_config_update(instructions="Speak French.")
        await c.say("again")
        await c.say("bye")
    await st.check(whole=[1])
    last = st.entries[-1]
    systems = [text for role, text in last.texts() if role == "system"]
    assert systems == ["Speak French."] or last.instructions == "Speak French."


async def test_a_handoff_with_its_context(host: Host) -> None:
    bob = Plain("You are Bob.")

    @tool
    async def to_bob() -> Any:
        """Hand over to Bob."""
        return bob

    def script(request: Request) -> Reply | str:
        if request.last_user_text == "bob please" and not request.trailing_outputs:
            return Reply.of(Call("to_bob"), Call("weather", {"city": "Paris"}))
        return f"You said {request.last_user_text}."

    tools = Tools()
    agent = Plain("You are Alice.", tools=[to_bob, tools.weather])
    async with stage(script, **host) as st, talk(st.llm, agent) as c:
        await c.say("hello")
        await c.say("bob please")
        await c.say("who are you")
        await c.say("fine")
        assert c.session.agent is bob
    assert tools.ran == []
    await st.check(whole=[2])
    assert "Alice" not in str(st.entries[-1].texts()) + str(st.entries[-1].instructions)


async def test_a_handoff_as_a_later_call_fails_but_not_in_silence(host: Host) -> None:
    bob = Plain("You are Bob.")

    @tool
    async def to_bob() -> Any:
        """Hand over to Bob."""
        return bob

    def script(request: Request) -> Reply | str:
        if request.last_user_text == "go" and not request.trailing_outputs:
            return Reply.of(Call("weather", {"city": "Paris"}), Call("to_bob"))
        return f"I found: {outputs(request)}."

    tools = Tools()
    agent = Plain("You are Alice.", tools=[to_bob, tools.weather])
    async with stage(script, **host) as st, talk(st.llm, agent) as c:
        await c.say("go")
        assert c.session.agent is agent
        assert c.last[0] == "assistant"
        assert NO_RESULT in c.last[1]
        await c.say("bye")
    await st.check()


async def test_truncation_at_constant_size_and_the_summary_call(host: Host) -> None:
    window = ContextWindow(max_context_items=6, keep_recent_turns=1)

    def script(request: Request) -> str:
        if "ummar" in f"{request.instructions} {request.context[0]['content']}":
            return "They said hello."
        return f"You said {request.last_user_text}."

    async with stage(script, **host) as st, talk(st.llm, context_window=window) as c:
        for n in range(6):
            await c.say(f"turn {n}")
            assert c.last == ("assistant", f"You said turn {n}.")
    await st.check(connections=None)
    assert any("Summary" in str(e.texts()) for e in st.entries)


async def test_the_knowledge_bases_text_is_there_for_one_request(host: Host) -> None:
    class Base:
        async def process_query(self, text: str) -> str:
            return f"Facts about {text}."

    agent = Plain()
    agent.knowledge_base = Base()
    async with stage("I see.", **host) as st, talk(st.llm, agent) as c:
        for text in ("cats", "dogs", "birds"):
            await c.turn(text)
    await st.check()
    assert str(st.entries[-1].texts()).count("Facts about") == 1


async def test_two_agents_on_one_llm(host: Host) -> None:
    async with stage(on_demand, **host) as st:
        alice, bob = Plain("You are Alice. The code is 1234."), Plain("You are Bob.")
        one, two = Pipeline(llm=st.llm), Pipeline(llm=st.llm)
        sessions = [AgentSession(agent=alice, pipeline=one), AgentSession(agent=bob, pipeline=two)]
        for session in sessions:
            await session.start()
        await one.process_text("hello")
        await two.process_text("hello")
        await asyncio.gather(one.process_text("more"), two.process_text("more"))
        await st.check(connections=None)
        assert "1234" not in str([e.texts() for e in st.entries if "Bob" in str(e.texts())])
        for session in sessions:
            await session.close()


# -- interruptions --------------------------------------------------------------------------------


def paused(*pieces: str | Pause) -> Reply:
    return Reply.of(Text(pieces=pieces))


def interruptible(gate: asyncio.Event) -> Script:
    def script(request: Request) -> Reply | str:
        match request.last_user_text:
            case "before":
                return paused(Pause(gate), "One two three.")
            case "within":
                return paused("One two", Pause(gate), " three four.")
        return on_demand(request)

    return script


@pytest.mark.parametrize("when", ["before", "within"])
async def test_a_barge_in_during_the_answer(any_host: Host, when: str) -> None:
    gate = asyncio.Event()
    async with stage(interruptible(gate), **any_host) as st, talk(st.llm) as c:
        await c.turn("hello")
        task = await c.hear(when)
        await until(lambda: len([e for e in st.entries if e.outcome != "refused"]) == 2)
        if when == "within":
            await until(lambda: c.pipeline.orchestrator._partial_response)
        await c.barge_in()
        await asyncio.wait([task], timeout=20)
        await c.turn("next")
        assert c.last == ("assistant", "You said next.")
        gate.set()
        await c.turn("bye")
        assert c.last == ("assistant", "You said bye.")
        said = [text for role, text in c.history() if role == "assistant"]
        assert said[1:2] == (["One two"] if when == "within" else ["You said next."])
        assert st.errors == []
        await st.check(connections=None if st.lanes != "on" else 1)


async def test_a_barge_in_after_the_whole_answer(any_host: Host) -> None:
    """The ordinary case: the model is idle, and a part of what it said was heard."""
    async with stage(on_demand, **any_host) as st, talk(st.llm) as c:
        await c.turn("hello")
        await c.turn("one two three")
        c.context._items.pop()
        c.pipeline.orchestrator._partial_response = "You said one"
        await c.barge_in()
        assert c.last == ("assistant", "You said one")
        await c.turn("next")
        await c.turn("bye")
    await st.check(connections=None if st.lanes != "on" else 1)


async def test_a_barge_in_while_a_tool_runs(any_host: Host) -> None:
    gate, begun, ran = asyncio.Event(), asyncio.Event(), []

    @tool
    async def weather(city: str) -> str:
        """Tell the weather."""
        ran.append(city)
        begun.set()
        await gate.wait()
        return "fine"

    async with stage(on_demand, **any_host) as st, talk(st.llm, Plain(tools=[weather])) as c:
        task = await c.hear("preamble Paris Rome")
        await begun.wait()
        await c.barge_in()
        await asyncio.wait([task], timeout=20)
        gate.set()
        await c.turn("next")
        assert c.last == ("assistant", "You said next.")
        await c.turn("bye")
    assert ran == ["Paris"]
    await st.check(connections=None)


async def test_two_barge_ins_in_a_row(any_host: Host) -> None:
    gate = asyncio.Event()
    async with stage(interruptible(gate), **any_host) as st, talk(st.llm) as c:
        await c.turn("hello")
        for when in ("within", "before", "within"):
            task = await c.hear(when)
            await st.service.journal.wait_for(len(st.entries) + 1)
            await asyncio.sleep(2.0)  # virtual: what was sent has been heard
            await c.barge_in()
            await asyncio.wait([task], timeout=20)
        gate.set()
        await c.turn("bye")
        assert c.last == ("assistant", "You said bye.")
        await st.check(connections=None)


async def test_a_wrong_preflight_is_taken_back(socket: Host) -> None:
    """Same length of the context, other words: counting items would miss it."""
    async with stage(on_demand, **socket) as st, talk(st.llm) as c:
        await c.turn("hello")
        await c.turn("I want")
        items = c.context._items
        del items[-2:]
        await c.turn("I want a table")
        assert c.last == ("assistant", "You said I want a table.")
    await st.check()


# -- other objects around -------------------------------------------------------------------------


async def test_inside_a_fallback_llm_nothing_switches_without_need(host: Host) -> None:
    tools = Tools()

    def script(request: Request) -> Reply | str:
        if request.last_user_text == "go" and not request.trailing_outputs:
            return Reply.of(Call("weather", "{"))
        return on_demand(request) if "go" not in request.last_user_text else "Done."

    async with stage(script, **host) as st, stage("Backup.") as backup:
        wrapped = FallbackLLM([st.llm, backup.llm])
        async with talk(wrapped, Plain(tools=[tools.weather])) as c:
            await c.say("go")
            await c.say("weather Paris Rome")
            assert wrapped.active_provider is st.llm
        assert backup.entries == []
        assert tools.ran == ["Paris", "Rome"]
        st.unseen = True
        await st.check()


async def test_a_context_of_no_pipeline(host: Host) -> None:
    """Side calls come with a context alone."""
    async with stage(on_demand, **host) as st:
        ctx = ChatContext.empty()
        ctx.add_message(role=ChatRole.USER, content="hello")
        assert [c.content async for c in st.llm.chat(ctx) if c.content]
        await st.check()


async def test_a_session_that_ends_leaves_the_other_ones_on_the_same_model_alone() -> None:
    gate = asyncio.Event()
    scripts = {"hello": paused("One two", Pause(gate), " three.")}

    def model(request: Request) -> Reply | str:
        return scripts.get(request.last_user_text) or "Yes."

    async with stage(model, streaming=True, store=False, lanes="on") as st:
        one, two = Pipeline(llm=st.llm), Pipeline(llm=st.llm)
        alice, bob = Plain("You are Alice."), Plain("You are Bob.")
        sessions = [AgentSession(agent=alice, pipeline=one), AgentSession(agent=bob, pipeline=two)]
        for session in sessions:
            await session.start()
        await one.process_text("hi")
        running = asyncio.create_task(two.process_text("hello"))
        await st.service.journal.wait(lambda j: j.entries[1].deltas >= 1)
        await one.cleanup()
        assert len(st.service.journal.open_connections) == 1
        gate.set()
        await running
        await two.process_text("more")
        assert [e.outcome for e in st.entries] == ["completed"] * 3
        assert st.entries[2].previous_response_id == st.entries[1].response_id
        assert not st.errors
        await two.cleanup()
        await st.service.journal.wait(lambda j: not j.open_connections)
