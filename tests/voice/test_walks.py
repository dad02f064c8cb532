"""Calls with unusual callers, who do anything at any time, by chance."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from livekit.agents import Agent, function_tool

from rtllm.simulator import Call, Reply, Request
from rtllm_livekit.testing import FakeAudioOutput, FakeSTT, FakeTTS
from voice.line import PROMPT, Line, answer_of, has_results, line

HOSTS: list[dict[str, Any]] = [
    {"lanes": lanes, "store": store, "warm_connections": warm_connections}
    for lanes in ("on", "off", "refuse", "ignore")
    for store in (None, False)
    for warm_connections in (0, 1)
]


class Clerk(Agent):
    """An agent with a tool that takes a while, by chance."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__(instructions=PROMPT)
        self.chance = chance

    @function_tool
    async def fetch(self, what: int) -> str:
        """Fetch something.

        Args:
            what: The number of the thing.
        """
        await asyncio.sleep(self.chance.choice([0.0, 0.2, 1.0, 3.0]))
        return f"thing {what}"


class Walk:
    """A call in which what happens next is drawn."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)  # noqa: S311 - not for secrets
        self.host = HOSTS[seed % len(HOSTS)]
        self.mistaken = self.chance.random() < 0.5

    def answer(self, request: Request) -> Reply | str:
        """Words of one's own, and now and then a tool."""
        words = answer_of(request.index, self.chance.choice([1, 3, 8, 15]))
        if has_results(request) or self.chance.random() > 0.3:
            return words
        calls = [Call("fetch", {"what": n}) for n in range(self.chance.choice([1, 1, 2]))]
        return Reply.of(*([words] if self.chance.random() < 0.5 else []), *calls)

    def hears(self, text: str, kind: str) -> str:
        """Words that are sometimes corrected in the end."""
        return text if kind == "final" or not self.mistaken else text.replace("want", "won't")

    def options(self) -> dict[str, Any]:
        """A voice, ears, a loudspeaker and a model of some speed."""
        draw = self.chance.choice
        return {
            "tts": FakeTTS(first_byte=draw([0.05, 0.3, 1.0]), streaming=draw([True, False])),
            "stt": FakeSTT(preflight=draw([None, 0.05, 0.15]), final=0.25, hears=self.hears),
            "output": FakeAudioOutput(
                start_delay=draw([0.0, 0.2, 0.8]), can_pause=draw([True] * 3 + [False])
            ),
            "simulator": {
                "time_to_first": draw([0.0, 0.3, 1.5]),
                "per_delta": draw([0.0, 0.05, 0.3]),
            },
            "turn_handling": {"preemptive_generation": {"preemptive_tts": draw([True, False])}},
        }

    async def step(self, on: Line, number: int) -> None:
        """Let something happen."""
        match self.chance.choice(["say", "say", "say", "noise", "wait", "words", "quiet", "self"]):
            case "say":
                words = [f"I want number {number}", "please", "and more"]
                await on.call.caller_says(" ".join(words[: self.chance.randint(1, 3)]))
            case "noise":
                await on.call.caller_makes_noise(self.chance.choice([0.1, 0.6, 1.2]))
            case "wait":
                await asyncio.sleep(self.chance.choice([0.05, 0.3, 0.7, 1.5, 4.0]))
            case "words":
                await on.call.output.plays_words(self.chance.randint(1, 6))
            case "quiet":
                await on.call.quiet()
            case "self" if self.chance.random() < 0.3:
                on.call.session.generate_reply(instructions=f"Say something about {number}.")
            case _:
                on.call.session.say(f"s{number}a s{number}b s{number}c.")


@pytest.mark.parametrize("seed", range(16))
async def test_whatever_the_caller_does_the_model_knows_what_was_heard(seed: int) -> None:
    walk = Walk(seed)
    async with line(
        walk.host,
        walk.answer,
        agent=Clerk(walk.chance),
        checked=False,
        **walk.options(),
    ) as on:
        for number in range(25):
            await walk.step(on, number)
    # Requests that leave together may each find out that there are no lanes.
    refused = on.stage.service.journal.refused if walk.host["lanes"] == "refuse" else []
    assert {entry.error_code for entry in refused} <= {"unknown_parameter"}
    await on.check(connections=None, refused=len(refused))
