"""Hosts whose call ids restart in each conversation: callers are still kept apart."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import aclosing
from typing import Any

import pytest
from videosdk.agents import ChatContext, ChatRole, FunctionCall, FunctionCallOutput

import rtllm
from rtllm.simulator import Call, Entry, Reply, Request
from support.waiting import until
from videosdk_adapter.dice import ACTIONS, Chance, act
from videosdk_adapter.requests import calls_of, chunks_of, context, text_of
from videosdk_adapter.stage import Host, Stage, stage
from videosdk_adapter.talks import Plain, talk, tool

CALL_ID = "functions.book:0"


@tool
async def book(table: str = "") -> str:
    """Book a table."""
    return f"booked {table}"


def book_behind(gate: asyncio.Event, running: asyncio.Event) -> Any:
    """The same tool, which waits for a gate."""

    @tool
    async def book(table: str = "") -> str:
        """Book a table."""
        running.set()
        await gate.wait()
        return f"booked {table}"

    return book


def booking(request: Request) -> Reply | str:
    """``I am NAME, …``: says words with the name, and calls; each time by the same id."""
    if request.trailing_outputs:
        return f"Done, {request.last_user_text}."
    if "book" not in request.last_user_text:
        return "Bye."
    words = f"One moment, {request.last_user_text}. "
    return Reply.of(words, Call("book", {"table": request.last_user_text}, call_id=CALL_ID))


def told(entry: Entry) -> list[str]:
    """What the model saw, in order: texts, and the kinds of all other items."""
    texts: list[str] = []
    for item in entry.context:
        content = item.get("content")
        if item.get("type", "message") != "message" or not content:
            texts.append(str(item["type"]))
        elif isinstance(content, str):
            texts.append(content)
        else:
            texts.append("".join(part.get("text", "") for part in content))
    return texts


def of(st: Stage, name: str) -> list[Entry]:
    """The requests of a caller."""
    return [entry for entry in st.entries if name in str(entry.context) + str(entry.instructions)]


ONE_TURN = ["I am {}, book", "One moment, I am {}, book. ", "function_call", "function_call_output"]
SAID = "Done, I am {}, book."


def named(texts: list[str], name: str) -> list[str]:
    return [text.format(name) for text in texts]


# -- two callers ----------------------------------------------------------------------------------


async def test_words_before_a_call_stay_with_their_caller(host: Host) -> None:
    """BOB's tool runs while ALICE gets words and a call of the same id and name."""
    gate, running = asyncio.Event(), asyncio.Event()
    slow = book_behind(gate, running)
    alice, bob = Plain("You serve ALICE.", tools=[book]), Plain("You serve BOB.", tools=[slow])
    async with (
        stage(booking, **host) as st,
        talk(st.llm, alice) as with_alice,
        talk(st.llm, bob) as with_bob,
    ):
        waiting = asyncio.create_task(with_bob.say("I am BOB, book"))
        await running.wait()
        await with_alice.say("I am ALICE, book")
        gate.set()
        await waiting
        await with_bob.say("BOB says bye")
        await with_alice.say("ALICE says bye")
        for name in ("ALICE", "BOB"):
            asked = of(st, name)
            assert len(asked) == 3
            assert told(asked[1])[-4:] == named(ONE_TURN, name)
            assert told(asked[2])[-6:] == named([*ONE_TURN, SAID, f"{name} says bye"], name)
        assert not [e.index for e in of(st, "ALICE") if "BOB" in str(told(e))]
    await st.check(connections=None)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(
    "host",
    [
        pytest.param({"streaming": True}, id="unstored"),
        pytest.param({"streaming": True, "store": True}, id="stored"),
        pytest.param({"streaming": False}, id="http"),
    ],
)
async def test_law_callers_whose_call_ids_are_the_same(host: dict[str, Any], seed: int) -> None:
    """Two conversations by chance at once, on one model, whose calls have the same ids."""
    names = ("ALICE", "BOB")
    chances = {name: Chance(2 * seed + n) for n, name in enumerate(names)}
    ids = {name: (f"work:{n}" for n in itertools.count()) for name in names}

    def script(request: Request) -> Reply:
        name = "ALICE" if "ALICE" in str(request.context) + str(request.instructions) else "BOB"
        reply = chances[name].reply(request)
        parts = [named_part(part, name, ids[name]) for part in reply.parts]
        return Reply(tuple(parts))

    cuts: list[str] = []  # made by chance too early, since the other caller's request came

    async def one(st: Stage, name: str) -> None:
        chance = chances[name]
        chance.agent = Plain(f"You serve {name}.", tools=[chance.work])
        chance.gate.set()
        async with talk(st.llm, chance.agent) as c:
            # The name stays in the instructions, by which the model tells the callers apart.
            kept = [a for a in ACTIONS if a not in ("instructions", "replaced")]
            for _ in range(chance.dice.randint(4, 8)):
                action = chance.dice.choice(kept)
                cuts.extend([action] if action.startswith("cut") else [])
                await act(chance, st, c, action)
            await c.turn("goodbye")
            chance.gate.set()

    async with stage(script, **host) as st:
        await asyncio.gather(*(one(st, name) for name in names))
        for entry in st.entries:
            seen = str(entry.context) + str(entry.instructions)
            assert ("ALICE" in seen) != ("BOB" in seen), seen
        assert st.errors == []
        st.reordered = True
        await st.check(connections=None, lost=len(cuts))


def named_part(part: Any, name: str, ids: Iterator[str]) -> Any:
    """The same part of a reply, with the caller's name in its words, or a fresh id."""
    if isinstance(part, Call):
        return Call(part.name, part.arguments, call_id=next(ids))
    pieces = tuple(f"{name} {p}" if isinstance(p, str) else p for p in part.pieces)
    return type(part)(part.text and f"{name} {part.text}", pieces=pieces)


# -- one caller -----------------------------------------------------------------------------------


async def test_two_turns_of_one_conversation_with_one_call_id(host: Host) -> None:
    async with stage(booking, **host) as st, talk(st.llm, Plain(tools=[book])) as c:
        await c.say("I am ONE, book")
        await c.say("I am TWO, book")
        assert c.last == ("assistant", "One moment, I am TWO, book. Done, I am TWO, book.")
        await c.say("bye")
        texts = told(st.entries[-1])
        first, second = named([*ONE_TURN, SAID], "ONE"), named([*ONE_TURN, SAID], "TWO")
        assert texts[-11:] == [*first, *second, "bye"]
        # In the second turn, while it goes on.
        assert told(st.entries[3])[-9:] == [*first, *second[:-1]]


def through_json(ctx: ChatContext) -> ChatContext:
    return ChatContext.from_dict(json.loads(json.dumps(ctx.to_dict())))


@pytest.mark.parametrize(
    "copied",
    [
        lambda ctx: ctx,
        lambda ctx: ctx.copy(),
        lambda ctx: ctx.fork(),
        lambda ctx: ctx.fork_filtered(recent_turns=3),
        through_json,
    ],
    ids=["same", "copy", "fork", "fork_filtered", "json"],
)
async def test_a_copy_keeps_the_place_of_the_words(
    host: Host, copied: Callable[[ChatContext], ChatContext]
) -> None:
    async with stage(booking, **host) as st, talk(st.llm, Plain(tools=[book])) as c:
        await c.say("I am ONE, book")
        ctx = copied(c.context)
        ctx.add_message(role=ChatRole.USER, content="bye")
        await chunks_of(st.llm, ctx)
        assert told(st.entries[-1])[-6:] == named([*ONE_TURN, SAID, "bye"], "ONE")


@pytest.mark.real_time
async def test_merging_keeps_the_place_of_the_words(host: Host) -> None:
    async with stage(booking, **host) as st, talk(st.llm, Plain(tools=[book])) as c:
        other = c.context.fork()
        await c.say("I am ONE, book")
        await other.merge(c.context)
        other.add_message(role=ChatRole.USER, content="bye")
        await chunks_of(st.llm, other)
        assert told(st.entries[-1])[-6:] == named([*ONE_TURN, SAID, "bye"], "ONE")


async def test_a_history_of_another_process_is_left_as_it_is(host: Host) -> None:
    """The same call id, and words that another caller heard before his."""
    async with stage(booking, **host) as st, talk(st.llm, Plain(tools=[book])) as c:
        await c.say("I am ONE, book")
        ctx = context(("user", "I am ONE, book"))
        ctx.add_function_call("book", '{"table": ""}', call_id=CALL_ID)
        ctx.add_function_output("book", "booked", CALL_ID)
        recorded = "One moment, I am ONE, book. Done, I am ONE, book."
        ctx.add_message(role=ChatRole.ASSISTANT, content=recorded)
        ctx.add_message(role=ChatRole.USER, content="bye")
        await chunks_of(st.llm, ctx)
        assert told(st.entries[-1])[1:] == [
            "function_call",
            "function_call_output",
            recorded,
            "bye",
        ]


async def until_called(model: Any, ctx: ChatContext) -> dict[str, Any]:
    """Ask outside a session, and leave at the first call."""
    async with aclosing(model.chat(ctx, tools=[book])) as stream:
        async for chunk in stream:
            if found := calls_of([chunk]):
                return found[0]
    raise AssertionError("no call")


def record(ctx: ChatContext, call: dict[str, Any], **more: Any) -> None:
    arguments = json.dumps(call["arguments"])
    found = {"name": call["name"], "call_id": call["call_id"]}
    ctx.items.append(FunctionCall(**found, arguments=arguments, **more))
    ctx.items.append(FunctionCallOutput(**found, output="booked"))


@pytest.mark.parametrize("when", ["as it closes", "later"])
async def test_a_call_that_is_recorded_after_the_turn(host: Host, when: str) -> None:
    async with stage(booking, **host) as st:
        ctx = context(("user", "I am ONE, book"))
        call = await until_called(st.llm, ctx)
        if when == "later":
            await until(lambda: ", 0 running" in repr(st.llm))
        record(ctx, call)
        spoken = "One moment, I am ONE, book. Done."
        ctx.add_message(role=ChatRole.ASSISTANT, content=spoken)
        ctx.add_message(role=ChatRole.USER, content="bye")
        await chunks_of(st.llm, ctx)
        assert told(st.entries[-1]) == named([*ONE_TURN, "Done.", "bye"], "ONE")


async def test_a_call_that_only_a_fork_shows(host: Host) -> None:
    """The tool was cut; the next request is made with a fork of what it left."""
    async with stage(booking, **host) as st:
        ctx = context(("user", "I am ONE, book"))
        stream = st.llm.chat(ctx, tools=[book])
        async for chunk in stream:
            if found := calls_of([chunk]):
                record(ctx, found[0])
                break
        await stream.aclose()
        await until(lambda: ", 0 running" in repr(st.llm))
        ctx.add_message(role=ChatRole.ASSISTANT, content="One moment, I am ONE, book. ")
        fork = ctx.fork()
        ctx.cleanup()
        fork.add_message(role=ChatRole.USER, content="bye")
        await chunks_of(st.llm, fork)
        assert told(st.entries[-1]) == named([*ONE_TURN, "bye"], "ONE")


@pytest.mark.parametrize("when", ["as it closes", "later"])
async def test_a_call_of_a_later_turn_is_not_taken_for_one_that_was_never_recorded(
    host: Host, when: str
) -> None:
    async with stage(booking, **host) as st:
        ctx = context(("user", "I am ONE, book"))
        await until_called(st.llm, ctx)  # cut: nothing is recorded
        if when == "later":
            await until(lambda: ", 0 running" in repr(st.llm))
        ctx.add_message(role=ChatRole.USER, content="I am TWO, book")
        record(ctx, await until_called(st.llm, ctx))
        spoken = "One moment, I am ONE, book. Done."
        ctx.add_message(role=ChatRole.ASSISTANT, content=spoken)
        ctx.add_message(role=ChatRole.USER, content="bye")
        await chunks_of(st.llm, ctx)
        assert told(st.entries[-1])[-4:] == ["function_call", "function_call_output", spoken, "bye"]


async def test_a_handoff_keeps_the_place_of_the_words(host: Host) -> None:
    bob = Plain("You are Bob.", inherit_context=True)

    @tool
    async def to_bob() -> Any:
        """Hand over to Bob."""
        return bob

    def script(request: Request) -> Reply | str:
        if request.last_user_text == "go":
            return Reply.of("I connect you. ", Call("to_bob", call_id=CALL_ID))
        return "Bob here."

    async with stage(script, **host) as st, talk(st.llm, Plain(tools=[to_bob])) as c:
        await c.say("go")
        assert c.session.agent is bob
        fork = c.context.fork()
        for ctx in (fork, c.context):
            ctx.add_message(role=ChatRole.USER, content="hello")
            await chunks_of(st.llm, ctx)
            texts = [text for text in told(st.entries[-1]) if text != "You are Bob."]
            assert texts == [
                "go",
                "I connect you. ",
                "function_call",
                "function_call_output",
                "hello",
            ]


async def test_ids_that_a_user_set_himself_prove_nothing(host: Host) -> None:
    async with stage(booking, **host) as st:
        contexts = []
        for name in ("ALICE", "BOB"):
            ctx = context(("user", f"I am {name}, book"))
            record(ctx, await until_called(st.llm, ctx), id="call")
            answer = f"One moment, I am {name}, book. Done."
            ctx.add_message(role=ChatRole.ASSISTANT, content=answer)
            ctx.add_message(role=ChatRole.USER, content="bye")
            await chunks_of(st.llm, ctx)
            contexts.append((ctx, answer))
        for ctx, answer in contexts:
            await chunks_of(st.llm, ctx)
            seen = ["function_call", "function_call_output", answer, "bye"]
            assert told(st.entries[-1])[1:] == seen


async def test_two_chats_at_once_in_one_context(host: Host) -> None:
    """Both have a call of one id; each goes on with its own words, in the task that it is in."""
    async with stage(booking, **host) as st:
        ctx = context(("user", "I am ONE, book"))
        second, recorded = asyncio.Event(), asyncio.Event()

        async def turn(*, first: bool) -> str:
            async with aclosing(st.llm.chat(ctx, tools=[book])) as outer:
                async for chunk in outer:
                    if not (found := calls_of([chunk])):
                        continue
                    (second if not first else recorded).set()
                    await (second if first else recorded).wait()
                    record(ctx, found[0])
                    return text_of((await chunks_of(st.llm, ctx, tools=[book]))[0])
            raise AssertionError("no call")

        one = asyncio.create_task(turn(first=True))
        await until(recorded.is_set)
        recorded.clear()
        ctx.add_message(role=ChatRole.USER, content="I am TWO, book")
        two = asyncio.create_task(turn(first=False))
        await one
        texts = told(st.entries[-1])
        assert "One moment, I am ONE, book. " in texts
        assert "One moment, I am TWO, book. " not in texts
        recorded.set()
        await two
        assert "One moment, I am TWO, book. " in told(st.entries[-1])


class Equal(ChatContext):  # type: ignore[misc]  # the framework has no types
    """A context that equals every other one."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Equal)

    def __hash__(self) -> int:
        return 0


@pytest.mark.parametrize("kind", [ChatContext, Equal])
async def test_contexts_of_equal_content_and_call_ids_are_distinguished(
    host: Host, kind: type[Any]
) -> None:
    """Words differ by chance: each context goes on with what was said in it."""
    numbers = itertools.count()

    def script(request: Request) -> Reply | str:
        if request.trailing_outputs:
            return "Done."
        return Reply.of(f"Moment {next(numbers)}. ", Call("book", {"table": "1"}, call_id=CALL_ID))

    async with stage(script, **host) as st:
        contexts = [kind(context(("user", "book")).items) for _ in range(3)]
        streams = [st.llm.chat(ctx, tools=[book]) for ctx in contexts]
        calls = []
        for stream in streams:
            async for chunk in stream:
                if found := calls_of([chunk]):
                    calls.append(found[0])
                    break
        for ctx, call in zip(contexts, calls, strict=True):
            record(ctx, call)
        for n in (1, 0, 2):
            await chunks_of(st.llm, contexts[n], tools=[book])
            seen = ["book", f"Moment {n}. ", "function_call", "function_call_output"]
            assert told(st.entries[-1]) == seen
        for stream in streams:
            await stream.aclose()


async def test_broken_calls_of_two_rounds_with_the_same_ids(host: Host) -> None:
    """A problem is reported once for each round, next to the call of that round."""

    def script(request: Request) -> Reply | str:
        rounds = len([i for i in request.context if i.get("type") == "function_call"]) // 2
        if request.last_user_text != "go" or rounds == 2:
            return "Done."
        good = Call("book", {"table": str(rounds)}, call_id=CALL_ID)
        return Reply.of(Call("nothing", {"round": rounds}, call_id="functions.nothing:0"), good)

    async with stage(script, **host) as st, talk(st.llm, Plain(tools=[book])) as c:
        await c.say("go")
        assert c.last == ("assistant", "Done.")
        last = st.entries[-1].context
        wrong = [i for i in last if "no tool named" in str(i.get("output") or i.get("content"))]
        assert len(wrong) == 2


async def test_a_turn_that_was_left_open_does_not_take_the_next_ones_chat(host: Host) -> None:
    """Its generator is still there, and the next turn has a call of the same id."""
    async with stage(booking, **host) as st:
        ctx = context(("user", "I am ONE, book"))
        left = st.llm.chat(ctx, tools=[book])
        async for chunk in left:
            if found := calls_of([chunk]):
                record(ctx, found[0])
                break
        ctx.add_message(role=ChatRole.USER, content="I am TWO, book")
        call = await until_called(st.llm, ctx)
        await until(lambda: ", 1 running" in repr(st.llm))
        record(ctx, call)
        await chunks_of(st.llm, ctx, tools=[book])
        assert not [text for text in told(st.entries[-1]) if text.startswith("One moment")]
        await left.aclose()


async def test_a_context_of_the_users_own_kind(host: Host) -> None:
    """It can't be referred to weakly: what it records late stays as it is."""

    class Own:
        __slots__ = ("items",)

        def __init__(self, items: list[Any]) -> None:
            self.items = items

    failed: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: failed.append(what))
    async with stage(booking, **host) as st:
        ctx: Any = Own(context(("user", "I am ONE, book")).items)
        call = await until_called(st.llm, ctx)
        await until(lambda: ", 0 running" in repr(st.llm))
        record(ctx, call)
        spoken = "One moment, I am ONE, book. Done."
        ctx.items.extend(context(("assistant", spoken), ("user", "bye")).items)
        _, error = await chunks_of(st.llm, ctx)
        assert error is None
        assert failed == []
        assert told(st.entries[-1])[1:] == ["function_call", "function_call_output", spoken, "bye"]


# -- problems reported about a context ------------------------------------------------------------


async def test_each_request_tells_the_ids_of_its_context(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Problems of sent items are attached to them, also in nested chats; words moved have none."""
    asked: list[rtllm.Request] = []
    for kind in (rtllm.Client, rtllm.ChatClient):
        original: Any = kind.ask

        def ask(self: Any, request: rtllm.Request, original: Any = original) -> Any:
            asked.append(request)
            return original(self, request)

        monkeypatch.setattr(kind, "ask", ask)
    async with stage(booking, **host) as st, talk(st.llm, Plain(tools=[book])) as c:
        handoff = c.context.add_handoff(to_agent="Bob")
        await c.say("I am ONE, book")
        nested, recorded = asked[-1], [item.id for item in c.context.items]
        system, _, heard, call, output, said = recorded
        assert keys_of(nested) == [system, heard, None, call, output]
        assert nested.unsent == (handoff.id,)
        await c.say("bye")
        assert keys_of(asked[-1])[:6] == [system, heard, None, call, output, said]


def keys_of(request: rtllm.Request) -> list[str | None]:
    return [getattr(item, "key", None) for item in request.items]
