"""Chat Completions: what a request shows the model, and the chunks that the service answers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from simulation.callers import secret
from simulation.decisions import Decisions
from simulation.records import AttemptRecord
from simulation.scripts import (
    DEEP,
    GAP,
    HIGH,
    LOW,
    NOT_A_NUMBER,
    PHRASES,
    SMILE,
    Script,
    Step,
    arguments_of,
)
from simulation.worlds import CHAT_HABITS, World, draw_habits
from support.contexts import Unit, by_value, message

DONE = "[DONE]"
SIGNATURE = re.compile(r"signature of (\S+) #(\d+)#")
CUT = {"given up": None, "server error late": "server_error"}
"""Faults that end an answer with an error, and their codes."""


def units_of(messages: Sequence[Mapping[str, Any]]) -> list[Unit]:
    """Read what the model sees of a request."""
    units: list[Unit] = []
    for entry in messages:
        role, content = entry["role"], entry.get("content")
        if role == "tool":
            units.append(("output", entry["tool_call_id"], content))
            continue
        if isinstance(content, list):
            units.append(("message", role, None, tuple(map(_part, content))))
        elif content:
            units.append(message(role, content))
        for call in entry.get("tool_calls", ()):
            function = call["function"]
            arguments = by_value(function["arguments"])
            units.append(("call", call["id"], function["name"], arguments))
    return units


def _part(part: Mapping[str, Any]) -> Unit:
    if part["type"] == "image_url":
        return ("image", part["image_url"]["url"], part["image_url"].get("detail", "auto"))
    return ("text", part["text"])


def signatures_in(messages: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, int]]:
    """List the calls that carry a signature, with the call and the caller that it names."""
    found: list[tuple[str, str, int]] = []
    for entry in messages:
        for call in entry.get("tool_calls", ()):
            if (extra := call.get("extra_content")) is None:
                continue
            match = SIGNATURE.match(extra["google"]["thought_signature"])
            found.append((call["id"], match[1] if match else "", int(match[2]) if match else 0))
    return found


class ChatWriter:
    """Writes one answer in chunks.

    Args:
        number: The number of the answer.
        attempt: What it answers.
        fault: What befalls it.
        choose: Decides.
        world: The host's habits.
    """

    def __init__(
        self, number: int, attempt: AttemptRecord, fault: str, choose: Decisions, world: World
    ) -> None:
        self.number = number
        self.attempt = attempt
        self.fault = fault
        self.choose = choose
        self.world = world
        self.habits = world.habits
        if world.routed:
            possible = tuple(habit for habit in CHAT_HABITS if habit in world.habits)
            self.habits = draw_habits(choose, possible, 0.4)
        self.script = Script(f"chat_{number}")
        self.texts: list[str] = []
        self.calls: list[str] = []
        self.has_ended = False

    def write(self) -> Script:
        """Write the answer."""
        choose, call = self.choose, self.attempt.call
        self._delta("created", {"role": "assistant", "content": ""})
        if self.fault != "empty":
            if choose.below(10) >= 7:
                self._delta("open", {"reasoning_content": "thinking"})
            wants_calls = bool(self.attempt.body.get("tools")) and call and call.rounds < 3
            count = choose.pick((1, 1, 2, 3))
            count = count if wants_calls and choose.chance(self.world.tools) else 0
            has_text = not count or bool(choose.below(2))
            is_early = has_text and self._does("early finish")
            if has_text:
                self._text(is_early=is_early)
            if count:
                self._calls(count)
            self._end(is_early=is_early)
        else:
            self._end(is_early=False)
        self._befall()
        return self.script

    def _does(self, habit: str) -> bool:
        return habit in self.habits and self.choose.below(4) < 3

    def _chunk(self, kind: str, choices: list[dict[str, Any]], payload: str = "") -> Step:
        data: dict[str, Any] = {"id": self.script.response_id, "choices": choices}
        if self._does("odd numbers"):
            data["created"] = NOT_A_NUMBER
        step = Step(self.choose.between(0.0, GAP), kind, data, payload)
        self.script.steps.append(step)
        return step

    def _delta(self, kind: str, delta: dict[str, Any], payload: str = "") -> Step:
        choice = {"index": 0, "delta": delta, "finish_reason": None}
        return self._chunk(kind, [choice], payload)

    # -- text and calls ------------------------------------------------------------------------

    def _text(self, *, is_early: bool) -> None:
        call, choose = self.attempt.call, self.choose
        text = choose.pick(PHRASES)
        if call is not None and call.says_secrets:
            text = f"Answer {self.number} for {secret(call.owner)} is {text}"
        middle = len(text) // 2
        pieces = [text[:middle], text[middle:]]
        deltas = list(pieces)
        if not is_early and self._does("halves of characters"):
            deltas = [f"{pieces[0]}{HIGH}", f"{LOW}{pieces[1]}"]
            pieces[1] = f"{SMILE}{pieces[1]}"
        for at, piece in enumerate(pieces):
            self._delta("delta", {"content": deltas[at]}, piece)
            if at == 0 and is_early:
                self._finish("stop", ended=False)
        self.texts.append("".join(pieces))

    def _calls(self, count: int) -> None:
        """Add calls whole, in pieces, one after the other or in turns."""
        call, choose = self.attempt.call, self.choose
        pieces: list[list[dict[str, Any]]] = []
        is_whole = "whole calls" in self.habits
        for index in range(count):
            kind = DEEP if self._does("deep arguments") else "call"
            call_id = f"{kind}_{self.number}_{index}"
            if call is not None and not call.says_secrets:
                call_id = f"{kind}_{call.turns}_{call.rounds}_{index}"
            self.calls.append(call_id)
            arguments = arguments_of(call_id)
            begun: dict[str, Any] = {"index": index, "id": call_id, "type": "function"}
            if is_whole and choose.below(2):
                del begun["index"]
            knows_calls = call is not None and call.keys in ("kept", "template")
            if call is not None and knows_calls and self._does("signatures"):
                token = f"signature of {call_id} {secret(call.owner)}"
                begun["extra_content"] = {"google": {"thought_signature": token}}
            if is_whole:
                function = {"name": "look_up", "arguments": arguments}
                pieces.append([{**begun, "function": function}])
                continue
            more = {"name": "look_up"} if self._does("repeated names") else {}
            first = {**begun, "function": {"name": "look_up", "arguments": ""}}
            parts = (arguments[:4], arguments[4:])
            if self._does("halves of characters"):
                before, _, after = arguments.partition(SMILE)
                parts = (f"{before}{HIGH}", f"{LOW}{after}")
            rest = [{"index": index, "function": {**more, "arguments": part}} for part in parts]
            pieces.append([first, *rest])
        for piece in self._in_some_order(pieces):
            self._delta("open", {"tool_calls": [piece]})

    def _in_some_order(self, pieces: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
        one_by_one = [piece for of_one in pieces for piece in of_one]
        if not self._does("calls in turns") or any("index" not in p for p in one_by_one):
            return one_by_one
        heads = [of_one[0] for of_one in pieces]
        rest = [of_one[1:] for of_one in pieces]
        return heads + [p for turn in zip(*rest, strict=True) for p in turn]

    # -- the end -------------------------------------------------------------------------------

    def _finish(self, reason: str, *, ended: bool) -> Step:
        choice = {"index": 0, "delta": {}, "finish_reason": reason}
        return self._chunk("finish" if ended else "early", [choice])

    def _end(self, *, is_early: bool) -> None:
        script, status = self.script, "completed"
        if self.fault == "incomplete":
            status = "incomplete"
        elif not self.texts and not self.calls:
            status = "empty"
        script.status = status
        calls = () if status == "incomplete" else tuple(self.calls)
        has_output = status == "completed" and not is_early
        never = has_output and self._does("no finish")
        is_open = not never and not is_early and self._does("stays open")
        excuse = "empty" if status == "empty" else None
        step: Step | None = None
        if not never:
            reason = "length" if status == "incomplete" else "tool_calls" if calls else "stop"
            step = self._finish(reason, ended=True)
            step.calls, step.excuse, calls = calls, excuse, ()
        usage = {"prompt_tokens": 7, "completion_tokens": 3 + len(self.calls)}
        with_finish = step is not None and self._does("usage with the finish")
        if self.fault != "no usage" and with_finish and step is not None and step.data is not None:
            step.data["usage"] = usage
        elif self.fault != "no usage" and not is_open:
            kind = "usage" if never else status
            tail = self._chunk(kind, [])
            tail.delay = min(tail.delay, 0.1)
            tail.excuse = excuse
            if tail.data is not None:
                tail.data["usage"] = usage
            self.has_ended = not never
        is_quiet = not never and self._does("no last line")
        if not is_open and not is_quiet:
            kind = "late" if self.has_ended else status
            script.steps.append(Step(0.05, kind, {}, DONE, excuse, calls, raw=DONE))
        script.stays_open = is_open

    def _befall(self) -> None:
        """Let the fault happen to the answer."""
        script, choose, fault = self.script, self.choose, self.fault
        steps = script.steps
        at = 1 + choose.below(len(steps) - 1)
        if fault in CUT:
            while any(step.kind in ("early", "finish", "usage") for step in steps[:at]):
                at -= 1
            del steps[max(at, 1) :]
            error: dict[str, Any] = {"message": f"words {self.number}"}
            if (code := CUT[fault]) is not None:
                error["code"] = code
            steps.append(Step(0.1, "failed", {"error": error}, "", fault))
            script.status = "failed"
        elif fault.startswith("drop"):
            del steps[at if fault == "drop" else 0 :]
            steps.append(Step(0.1, "drop", excuse="drop"))
        elif fault == "long stall":
            steps.insert(at, Step(0.01, "stall", excuse="stall"))
            steps[at + 1].delay += choose.between(35.0, 50.0)
