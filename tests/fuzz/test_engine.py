"""The engine under mangled and random frames: nothing raises, repeats, crosses, or grows.

Each round has one seed: two callers on one connection, whose responses come through hosts with
habits, mixed with broken copies of their frames, random bytes, and facts out of order. A failure
names its seed, and ``pytest tests/fuzz --fuzz-seed SEED --fuzz-seconds 0`` plays that round alone::

    pytest tests/fuzz --fuzz-seconds 60
"""

from __future__ import annotations

import itertools
import json
import random
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from core.heard import events_of
from rtllm import TraceRecord
from rtllm.codec.trace_lines import event_line, read_line
from rtllm.content.events import TextDelta, ToolCallReady
from rtllm.content.items import Message
from rtllm.content.request import Request
from rtllm.engine.actions import Action, Connect, Deliver, Finish, Send, StartHttp, Trace
from rtllm.engine.engine import Engine
from rtllm.engine.options import EngineOptions
from rtllm.engine.prepared import PreparedRequest, prepare
from rtllm.providers.hosts import HostProfile
from rtllm.retry.faults import Fault, FaultKind
from rtllm.simulator import Call, Reasoning, Reply, Text
from rtllm.simulator.mangling import HABITS, Mangler

TURNS = 4
"""How many turns of each caller a round has."""
BOUND = 64
"""How many attempts, deadlines or turns an engine may hold at most in a round."""
_WORD = re.compile(r"[ab]\d+x")


def words(text: str) -> Iterator[str]:
    """Cut a text into its words."""
    yield from re.findall(r"\S+\s*", text)


class Round:
    """One round, by its seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - no secret
        lanes = self.random.random() < 0.7
        self.engine = Engine(
            EngineOptions(HostProfile("fuzzed", lanes=lanes, memory="connection"), tracing=True)
        )
        self.now = 0.0
        self.owner: dict[int, str] = {}
        self.spoken: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self.frames: list[tuple[int, Iterator[str | bytes]]] = []
        self.sent: list[str | bytes] = []
        self.numbers = itertools.count()

    def play(self) -> None:
        """Play the round to its end."""
        for turn in range(TURNS):
            for caller in "ab":
                self.ask(caller, turn)
            while self.frames:
                self.step()
                self.inspect()
            self.now += 200.0
            self.act(self.engine.tick(self.now))
        self.act(self.engine.close(self.now))
        held = self.engine.snapshot()
        assert (held.turns, held.attempts, held.due, held.actions) == ({}, (), 0, 0), held

    def ask(self, caller: str, turn: int) -> None:
        """Ask as one caller."""
        number, actions = self.engine.ask(self.request(caller, turn), self.now)
        self.owner[number] = caller
        self.act(actions)

    def request(self, caller: str, turn: int) -> PreparedRequest:
        said = [
            Message("user", Message.of("user", f"{caller} {n}").parts, key=f"{caller}-{n}")
            for n in range(turn + 1)
        ]
        return prepare(Request(tuple(said), "m", tuple))

    def act(self, actions: Sequence[Action]) -> None:
        """Carry out actions."""
        for action in actions:
            match action:
                case Connect():
                    self.act(self.engine.connected(action.connection, self.now))
                case Send():
                    self.answer(action.connection, action.attempt, json.loads(action.data))
                case StartHttp():
                    fault = Fault(FaultKind.UNREACHABLE, "no HTTP here")
                    self.act(self.engine.lost(action.connection, fault, self.now))
                case Deliver():
                    self.hear(action)
                case Trace(event):
                    line = read_line(event_line(event, 1.0, 1))
                    assert isinstance(line, TraceRecord), f"{event} can't be read: {line}"
                case Finish() if action.error is not None:
                    str(action.error).encode()
                case _:
                    pass

    def answer(self, connection: int, attempt: int, body: dict[str, Any]) -> None:
        """Begin to answer a request."""
        self.act(self.engine.sent(attempt, self.now))
        caller = re.findall(r"[ab] \d", json.dumps(body["input"]))[-1][0]
        parts: list[Text | Call | Reasoning] = [
            Text(" ".join(self.word(caller) for _ in range(self.random.randrange(6))))
            for _ in range(self.random.randrange(1, 3))
        ]
        if self.random.random() < 0.3:
            parts.append(Call("book", {"who": self.word(caller)}))
        if self.random.random() < 0.3:
            parts.insert(0, Reasoning("think"))
        host = Mangler(self.random.getrandbits(32), set(HABITS) - {"constant"})
        lane = body.get("stream_id")

        def frames() -> Iterator[str | bytes]:
            for event in events_of(Reply(tuple(parts)), words):
                if lane is not None:
                    event = {**event, "stream_id": lane}  # noqa: PLW2901
                for frame in host.frames(event):
                    yield frame.data

        self.frames.append((connection, frames()))

    def word(self, caller: str) -> str:
        """Make a word that only this caller may hear, and once."""
        return f"{caller}{next(self.numbers)}x"

    def step(self) -> None:
        """Hand the engine its next fact."""
        self.now += self.random.random()
        place = self.random.randrange(len(self.frames))
        connection, frames = self.frames[place]
        luck = self.random.random()
        if luck < 0.1:
            self.act(self.engine.received(connection, self.noise(), self.now))
        elif luck < 0.14:
            self.act(self.engine.tick(self.now))
        elif luck < 0.16:
            self.act(self.engine.heard(connection, self.now))
        elif luck < 0.17:
            self.act(self.engine.cancel(self.random.choice(list(self.owner)), self.now))
        elif luck < 0.18:
            turn, conversation = self.random.choice(list(self.owner)), self.random.randrange(5)
            self.act(self.engine.discard(conversation, turn, self.now))
        elif luck < 0.185:
            fault = Fault(FaultKind.DROPPED, "the connection was lost")
            self.frames = [pair for pair in self.frames if pair[0] != connection]
            self.act(self.engine.lost(connection, fault, self.now))
        elif (data := next(frames, None)) is None:
            self.frames.remove((connection, frames))
        else:
            self.sent.append(data)
            self.act(self.engine.received(connection, data, self.now))

    def noise(self) -> str | bytes:
        """Make something that no host should send: random bytes, or a broken copy of a frame."""
        if not self.sent or self.random.random() < 0.3:
            return self.random.randbytes(self.random.randrange(60))
        data = self.random.choice(self.sent[-40:])
        raw = bytearray(data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data)
        at = self.random.randrange(len(raw))
        return bytes(raw[:at]) + self.random.choice((b"", b"\x00", b"{", b'"', b"\xff", b"[[["))

    def hear(self, delivery: Deliver) -> None:
        """Judge what a caller hears."""
        owner = self.owner.get(delivery.turn)
        for event in delivery.events:
            if isinstance(event, TextDelta):
                event.text.encode()
                for word in _WORD.findall(event.text):
                    assert word[0] == owner, f"{owner} hears {word}"
                    self.spoken[word] += 1
                    assert self.spoken[word] == 1, f"{word} is heard twice"
            elif isinstance(event, ToolCallReady):
                event.call.arguments.encode()
                self.calls[event.call.call_id] += 1
                assert self.calls[event.call.call_id] == 1, f"{event.call} runs twice"

    def inspect(self) -> None:
        """Judge what the engine holds."""
        held = self.engine.snapshot()
        sizes = (len(held.turns), len(held.attempts), len(held.timers), len(held.connections))
        assert max(sizes) <= BOUND, sizes
        assert (held.due, held.actions) == (0, 0)


@pytest.mark.timeout(900)
def test_the_engine_takes_whatever_comes(pytestconfig: pytest.Config) -> None:
    first = pytestconfig.getoption("--fuzz-seed")
    until = time.monotonic() + pytestconfig.getoption("--fuzz-seconds")
    for seed in itertools.count(first):
        try:
            Round(seed).play()
        except Exception as error:
            raise AssertionError(f"--fuzz-seed {seed}: {error}") from error
        if time.monotonic() >= until:
            break
