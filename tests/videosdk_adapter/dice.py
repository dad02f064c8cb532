"""A model and an agent that do what dice say."""

from __future__ import annotations

import asyncio
import itertools
import random
from typing import Any

from videosdk.agents import ChatRole

from rtllm.simulator import Call, Pause, Reply, Request, Text
from support.waiting import until
from videosdk_adapter.stage import Stage
from videosdk_adapter.talks import Talk, tool

ACTIONS = (
    "plain",
    "plain",
    "tools",
    "tools",
    "say",
    "cut before",
    "cut within",
    "heard in part",
    "cut in tool",
    "instructions",
    "replaced",
    "forgotten",
    "silent tool",
)


class Chance:
    """A model and an agent that do what dice say."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)  # noqa: S311 - a game
        self.count = itertools.count()
        self.gate = asyncio.Event()
        self.running = asyncio.Event()
        self.ran: list[str] = []
        self.given: list[str] = []
        self.agent: Any = None

        @tool
        async def work(kind: str) -> str:
            """Work."""
            self.ran.append(kind)
            await asyncio.sleep(0)
            match kind.split(maxsplit=1)[0]:
                case "raise":
                    raise RuntimeError("no")
                case "say":
                    await self.agent.session.say(f"Hold on {kind}. ")
                case "wait":
                    self.running.set()
                    await self.gate.wait()
            return f"did {kind}"

        self.work = work

    def reply(self, request: Request) -> Reply:
        """What the model says: a line of orders is part of the caller's words."""
        orders = request.last_user_text.split("; ")
        behind = request.context[::-1]
        rounds = 0
        for item in behind:
            if item.get("role") == "user":
                break
            rounds += item.get("type") == "function_call"
        number = next(self.count)
        if orders[0] == "slow":
            return Reply.of(Text(pieces=(f"A{number} ", Pause(self.gate), "B.")))
        if orders[0] == "silent":
            return Reply.of(Text(pieces=(Pause(self.gate), f"A{number}.")))
        wanted = [order.split(":") for order in orders[1:]]
        if orders[0] == "tools" and rounds < sum(len(kinds) for _, *kinds in wanted):
            for words, *kinds in wanted:
                if rounds <= 0:
                    calls = [
                        Call("work", {"kind": f"{k} {number}-{n}"}) for n, k in enumerate(kinds)
                    ]
                    said = [f"{words} {number}. "] if words else []
                    return Reply.of(*said, *calls)
                rounds -= len(kinds)
        return Reply.of(f"Answer {number}.")

    def orders(self) -> str:
        """One to three rounds of one to three calls, some with words before."""
        rounds = []
        for _ in range(self.dice.randint(1, 3)):
            kinds = self.dice.choices(("do", "do", "do", "raise", "say"), k=self.dice.randint(1, 3))
            rounds.append(":".join([self.dice.choice(("", "Look")), *kinds]))
        return "; ".join(["tools", *rounds])


async def act(chance: Chance, st: Stage, c: Talk, action: str) -> None:
    dice, number = chance.dice, next(chance.count)
    match action:
        case "plain":
            await c.turn(f"hello {number}")
        case "tools":
            await c.turn(chance.orders())
        case "say":
            await c.session.say(f"By the way {number}.")
        case "cut before" | "cut within" | "cut in tool":
            await cut(chance, st, c, action)
        case "heard in part":
            await c.turn(f"hello {number}")
            last = c.context.items[-1]
            text = last.content[0]
            last.content = [text[: dice.randint(1, len(text) - 1)]]
        case "instructions":
            c.agent.instructions = f"Be brief {number}."
        case "replaced":
            c.context.add_message(role=ChatRole.SYSTEM, content=f"Be {number}.", replace=True)
            c.context._items.insert(0, c.context._items.pop())
        case "forgotten":
            c.context.truncate(max_items=dice.randint(4, 9))
        case "silent tool":
            await c.turn("tools; Look:raise")


def accepted(st: Stage) -> list[Any]:
    return [entry for entry in st.entries if entry.outcome != "refused"]


async def cut(chance: Chance, st: Stage, c: Talk, action: str) -> None:
    """A barge-in, early or late; the cut answer runs out now or much later."""
    chance.gate.clear()
    chance.running.clear()
    if action == "cut in tool":
        task = await c.hear(f"tools; {chance.dice.choice(('', 'Look'))}:wait:do")
        await chance.running.wait()
    else:
        sent = len(accepted(st))
        task = await c.hear("silent" if action == "cut before" else "slow")
        await until(lambda: len(accepted(st)) > sent)
        if action == "cut within":
            await until(lambda: c.pipeline.orchestrator._partial_response)
    await c.barge_in()
    await asyncio.wait([task], timeout=5)
    if action == "cut in tool" or chance.dice.random() < 0.5:
        chance.gate.set()
