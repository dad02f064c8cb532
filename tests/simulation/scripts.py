"""The frames that the service sends for one request, with or without a fault."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from simulation.callers import secret
from simulation.decisions import Decisions
from simulation.records import AttemptRecord
from simulation.worlds import World
from support.contexts import Unit, by_value, message

PHRASES = ("Hello, how can I help?", "Yes.", "It is nine in the morning.", "I have booked it.")
PHASES = (None, None, None, "final_answer")
REFUSALS = (
    (400, "invalid_prompt"),
    (429, "insufficient_quota"),
    (401, "invalid_api_key"),
    (400, "context_length_exceeded"),
    (403, "permission"),
)
LATE = ("progress", "delta", "done", "call", "completed")
"""The frames that may come once more after the end."""
GAP = 0.25
"""Seconds between two frames of an answer, at most."""
LANELESS_WAIT = 0.2
"""Seconds that a rate limit asks to wait which comes without a lane."""
DEEP = "deep"
"""Begins the ids of calls whose arguments are nested deeply."""
LEVELS = 2000
"""How deeply those are nested."""

SMILE = "\N{GRINNING FACE}"
HIGH, LOW = "\ue000", "\ue001"
"""Stand for the halves of the smile, which are written as escapes."""
LOST = "\N{REPLACEMENT CHARACTER}"
"""What a half without its other half is spoken as."""
NOT_A_NUMBER = "not a number"
"""Replaced by ``NaN``, which isn't JSON, in the encoded frame."""
NUMBERS = {NOT_A_NUMBER: b"NaN", "endless": b"Infinity", "endless below": b"-Infinity"}
"""Words for numbers that JSON doesn't have."""
_WRITTEN = (
    (HIGH.encode(), b"\\ud83d"),
    (LOW.encode(), b"\\ude00"),
    *((f'"{word}"'.encode(), number) for word, number in NUMBERS.items()),
)

_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class Step:
    """One thing that happens in the course of an answer.

    Attributes:
        delay: Seconds after what came before it.
        kind: What it is: a kind of frame, or what happens to the connection.
        data: The frame, without its lane.
        payload: The text or call that it brings, or words of an error.
        excuse: Why the attempt may be lost from here on.
        calls: The ids of the calls that the last frame brings.
        raw: What is written instead of the frame, over Chat Completions.
        wait: Seconds after which the service wants to be asked again.
    """

    delay: float
    kind: str
    data: dict[str, Any] | None = None
    payload: str = ""
    excuse: str | None = None
    calls: tuple[str, ...] = ()
    raw: str = ""
    wait: float = 0.0


@dataclass(slots=True)
class Script:
    """An answer.

    Attributes:
        response_id: Its id.
        steps: What happens.
        status: How it ends for the service.
        raw: The items of its output as the service keeps them.
        recorded: The visible ones as a framework records them.
        texts: Its texts.
        phase: The phase of its message.
        tokens: The tokens of its hidden items.
        usage: Tokens that the service counts.
        late: Frames after its end.
        stays_open: Whether the host does not end the stream.
    """

    response_id: str
    steps: list[Step] = field(default_factory=list)
    status: str = "completed"
    raw: tuple[Unit, ...] = ()
    recorded: tuple[Unit, ...] = ()
    texts: tuple[str, ...] = ()
    phase: str | None = None
    tokens: tuple[str, ...] = ()
    usage: tuple[int, int] | None = None
    late: list[Step] = field(default_factory=list)
    stays_open: bool = False


class Writer:
    """Writes one answer.

    Args:
        number: The number of the answer.
        attempt: What it answers.
        fault: What befalls it.
        choose: Decides.
        world: The host's habits.
    """

    def __init__(
        self,
        number: int,
        attempt: AttemptRecord,
        fault: str,
        choose: Decisions,
        world: World,
    ) -> None:
        self.number = number
        self.attempt = attempt
        self.fault = fault
        self.choose = choose
        self.world = world
        self.script = Script("resp" if world.has_one_id else f"resp_{number}")
        self.items: list[dict[str, Any]] = []
        self.raw: list[Unit] = []
        self.texts: list[str] = []
        self.calls: list[Unit] = []
        self.tokens: list[str] = []
        self.call_at: int | None = None
        self.text_at_the_end = ""
        self.calls_at_the_end: list[str] = []
        self.needs_output = False
        self.announces = "nothing announced" not in world.habits

    def write(self) -> Script:
        """Write the answer."""
        script, fault = self.script, self.fault
        if (error := self._error()) is not None:
            script.steps.append(error)
            script.status = "error"
            return script
        begun = self._response("in_progress")
        if self._does("other id at the end"):
            begun["id"] += "_begun"
        self._add(self.world.start, "created", "response.created", response=begun)
        if self.choose.below(4) < 3:
            self._add(0.05, "progress", "response.in_progress", response=begun)
        if self.attempt.generates and fault != "empty":
            self._output()
        script.raw, script.texts = tuple(self.raw), tuple(self.texts)
        said = " ".join(self.texts)
        script.recorded = ((message("assistant", said),) if said else ()) + tuple(self.calls)
        script.tokens = tuple(self.tokens)
        script.usage = (7 + 10 * len(self.attempt.view), 3 * len(self.texts) + 5 * len(self.calls))
        self._end()
        self._befall()
        return script

    # -- errors instead of an answer -----------------------------------------------------------

    def _error(self) -> Step | None:
        """Write the error frame that comes instead of an answer."""
        words = f"words {self.number}"
        if not self.attempt.generates and "refuses preparations" in self.world.habits:
            code = "unknown_parameter"
            return error_step(400, code, words, "unprepared", param="generate")
        if self.attempt.parent is not None and self.world.parents == "refused":
            code, name = "unknown_parameter", "previous_response_id"
            sentence = f"Unknown parameter: '{name}'. {words}"
            return error_step(400, code, sentence, "parent refused", param=name)
        match self.fault:
            case "refused":
                status, code = self.choose.pick(REFUSALS)
                return error_step(status, code, words, "refused")
            case "busy":
                wait = self.choose.pick((0.5, 2.0))
                headers = asks_to_wait(wait, self.choose)
                code = "rate_limit_exceeded"
                return error_step(429, code, words, "busy", headers=headers, wait=wait)
            case "long busy":
                headers = asks_to_wait(30.0, self.choose)
                return error_step(429, "rate_limit_exceeded", words, "refused", headers=headers)
            case "server error":
                return error_step(500, "server_error", words, "server error")
            case "parameter" if "temperature" in self.attempt.body:
                code = "unsupported_parameter"
                return error_step(400, code, words, "parameter", param="temperature")
            case "items" if any(seen[0] == "hidden" for seen in self.attempt.view):
                sentence = f"The encrypted content could not be verified. {words}"
                return error_step(400, "invalid_encrypted_content", sentence, "items")
            case "miss" if self.attempt.parent is not None:
                return error_step(400, "previous_response_not_found", words, "miss")
            case "lane limit" if self.attempt.lane is not None:
                return error_step(400, "websocket_stream_limit_reached", words, "lane limit")
            case _:
                return None

    # -- the answer ----------------------------------------------------------------------------

    def _output(self) -> None:
        choose, call = self.choose, self.attempt.call
        shape = choose.below(100)
        if shape >= 70:
            self._hidden("reasoning", slow=shape >= 98 and self.announces)
        if 60 <= shape < 66:
            self._hidden("mcp_call", slow=False)
        wants_calls = bool(self.attempt.body.get("tools")) and call is not None and call.rounds < 3
        calls = choose.pick((1, 1, 2, 3)) if wants_calls and choose.chance(self.world.tools) else 0
        if self.fault == "drop before the call" and wants_calls:
            calls = max(1, calls)
        texts = choose.pick((0, 1)) if calls else choose.pick((1, 1, 1, 1, 1, 2))
        if self.fault == "drop before the call":
            texts = max(1, texts)
        phase = choose.pick(PHASES) if texts == 1 else None
        self.script.phase = phase
        for index in range(texts):
            self._message(index, phase, is_last=index == texts - 1)
        self.call_at = len(self.script.steps) if calls else None
        is_cut = self.fault == "incomplete" and choose.below(2) == 1
        for index in range(calls):
            self._call(index, is_cut=is_cut and index == calls - 1)

    def _does(self, habit: str) -> bool:
        """Whether the host has a habit, which it follows now."""
        return habit in self.world.habits and self.choose.below(4) < 3

    def _hidden(self, kind: str, *, slow: bool) -> None:
        call = self.attempt.call
        owner = call.owner if call is not None else 0
        token = f"{kind} {secret(owner)} {self.number}.{len(self.items)}"
        item: dict[str, Any] = {"type": kind, "id": self._name("h")}
        item["encrypted_content" if kind == "reasoning" else "output"] = token
        place = len(self.items)
        opened = {"type": kind, "id": item["id"]}
        if self.announces:
            self._add(0.1, "open", "response.output_item.added", output_index=place, item=opened)
        gap = self.choose.between(12.0, 25.0) if slow else 0.3
        if kind == "reasoning" and self.announces and self.choose.below(2):
            self._add(
                gap,
                "slow",
                "response.reasoning_summary_text.delta",
                item_id=item["id"],
                output_index=place,
                delta="thinking",
            )
        self._add(gap, "shut", "response.output_item.done", output_index=place, item=item)
        self.items.append(item)
        self.raw.append(("hidden", kind, token))
        self.tokens.append(token)

    def _name(self, kind: str) -> str:
        """Name an item of the answer."""
        place = len(self.items)
        is_reused = "restarting ids" in self.world.habits
        return f"{kind}_{place}" if is_reused else f"{kind}_{self.number}_{place}"

    def _words(self, index: int) -> str:
        """Choose the text of a message."""
        choose, call = self.choose, self.attempt.call
        if call is None or not call.says_secrets:
            return choose.pick(PHRASES[:2] if self.world.twins else PHRASES)
        phrase = choose.pick(PHRASES)
        return f"Answer {self.number}.{index} for {secret(call.owner)} is {phrase}"

    def _message(self, index: int, phase: str | None, *, is_last: bool) -> None:
        choose, place, text = self.choose, len(self.items), self._words(index)
        item_id = self._name("msg")
        opened = {"type": "message", "id": item_id, "role": "assistant", "content": []}
        if self.announces:
            self._add(0.1, "item", "response.output_item.added", output_index=place, item=opened)
        style = choose.below(8)
        middle = len(text) // 2
        pieces = [text[:middle], text[middle:]]
        deltas = list(pieces)
        if self._does("halves of characters"):
            text = f"{text[:middle]}{SMILE}{text[middle:]}"
            deltas = [f"{pieces[0]}{HIGH}", f"{LOW}{pieces[1]}"]
            pieces[1] = f"{SMILE}{pieces[1]}"
        ends_in_half = self._does("half a character at the end")
        if ends_in_half:
            text, deltas[1] = f"{text}{LOST}", f"{deltas[1]}{HIGH}"
        if style == 6:
            del pieces[1]
        elif style == 7:
            pieces.clear()
        blank, named = " " if self.texts else "", item_id
        for number, piece in enumerate(pieces):
            named = self._drifted(item_id, "d", number)
            self._add(
                GAP,
                "delta",
                "response.output_text.delta",
                blank + piece if number == 0 else piece,
                item_id=named,
                output_index=place,
                content_index=0,
                delta=deltas[number],
            )
        rest = text[len("".join(pieces)) :]
        item: dict[str, Any] = {
            "type": "message",
            "id": self._drifted(item_id, "e", 0),
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": text, "annotations": []}],
        }
        if ends_in_half:
            item["content"][0]["text"] = f"{text[:-1]}{HIGH}"
        if phase is not None:
            item["phase"] = phase
        payload = rest if pieces or not rest else blank + rest
        times = 2 if self.fault == "twice done" else 1
        if is_last and self._does("text at the end"):
            self.text_at_the_end, times = payload, 0
            self.needs_output = bool(payload)
        for _ in range(times):
            self._add(
                0.05, "done", "response.output_item.done", payload, output_index=place, item=item
            )
            payload = ""
        if pieces and times and self._does("text behind its item"):
            number = len(pieces) - 1
            # A new id alone could as well be that of another message that was not announced.
            renames = self.announces or self.world.ids != "id"
            self._add(
                0.05,
                "again",
                "response.output_text.delta",
                item_id=self._drifted(item_id, "d", number) if renames else named,
                output_index=place,
                content_index=0,
                delta=deltas[number],
            )
        self.items.append(item)
        self.texts.append(text)
        self.raw.append(message("assistant", text))

    def _drifted(self, item_id: str, event: str, number: int) -> str:
        """Name an item as a host does whose ids differ between events."""
        if not self.world.drifting:
            return item_id
        return f"{item_id}_{event}{number}" if self.choose.below(2) else item_id

    def _call(self, index: int, *, is_cut: bool) -> None:
        call, place = self.attempt.call, len(self.items)
        kind = DEEP if self._does("deep arguments") else "call"
        if call is not None and not call.says_secrets:
            call_id = f"{kind}_{call.turns}_{self.attempt.number % 7}_{index}"
        else:
            call_id = f"{kind}_{self.number}_{index}"
        arguments = arguments_of(call_id)
        item: dict[str, Any] = {
            "type": "function_call",
            "id": self._name("fc"),
            "call_id": call_id,
            "name": "look_up",
            "arguments": arguments,
            "status": "completed",
        }
        opened = {**item, "arguments": "", "status": "in_progress"}
        at_the_end = is_cut or self._does("calls at the end")
        if self.announces:
            self._add(0.1, "open", "response.output_item.added", output_index=place, item=opened)
        is_halved = self._does("halves of characters")
        in_pieces = is_halved or self.choose.below(2)
        deltas = [arguments] if in_pieces else []
        if is_halved:
            before, _, after = arguments.partition(SMILE)
            deltas = [f"{before}{HIGH}", f"{LOW}{after}"]
        for delta in deltas:
            self._add(
                0.1,
                "slow",
                "response.function_call_arguments.delta",
                item_id=item["id"],
                output_index=place,
                delta=delta,
            )
        if is_cut:
            item["status"] = "incomplete"
            if self.choose.below(2):
                del item["status"]
            self.items.append(item)
            return
        times = 2 if self.fault == "twice done" else 1
        if at_the_end:
            self.calls_at_the_end.append(call_id)
            times = 0
            if not in_pieces and self.choose.below(2):
                event = "response.function_call_arguments.done"
                about = {"item_id": item["id"], "output_index": place}
                self._add(0.05, "slow", event, arguments=arguments, **about)
                in_pieces = 1
            self.needs_output = self.needs_output or not (in_pieces and self.announces)
        for repeat in range(times):
            kind, payload = ("call", call_id) if repeat == 0 else ("again", "")
            event = "response.output_item.done"
            self._add(0.05, kind, event, payload, output_index=place, item=item)
        self.items.append(item)
        seen = ("call", call_id, "look_up", by_value(arguments))
        self.raw.append(seen)
        self.calls.append(seen)

    def _end(self) -> None:
        script, fault = self.script, self.fault
        status, error = "completed", None
        if fault == "incomplete":
            status = "incomplete"
        elif fault in ("given up", "server error late"):
            status = "failed"
            error = {"message": f"words {self.number}"}
            if fault == "server error late":
                error["code"] = "server_error"
        response = self._response(status)
        is_full = self.needs_output or self.choose.below(3)
        response["output"] = self.items if is_full else []
        response["error"] = error
        if status == "incomplete":
            response["incomplete_details"] = {"reason": "max_output_tokens"}
        if fault == "no usage":
            script.usage = None
        elif script.usage is not None:
            response["usage"] = self._usage(*script.usage)
        script.status = status
        is_empty = status == "completed" and not self.texts and not self.calls
        if is_empty and not any(item["type"] != "reasoning" for item in self.items):
            script.status = "empty"
        self._add(0.1, script.status, f"response.{status}", response=response)
        if status != "failed":
            script.steps[-1].payload = self.text_at_the_end
        if status == "completed":
            script.steps[-1].calls = tuple(self.calls_at_the_end)
        if status == "failed":
            script.steps[-1].excuse = fault
        elif script.status == "empty" and self.attempt.generates:
            script.steps[-1].excuse = "empty"

    def _usage(self, sent: int, made: int) -> dict[str, Any]:
        """Count tokens, or miscount them."""
        counts: dict[str, Any] = {"input_tokens": sent, "output_tokens": made}
        if self._does("odd usage"):
            name = self.choose.pick(("input_tokens", "output_tokens"))
            odd = (-counts[name] - 1, counts[name] + 0.4, float(counts[name]), "many", 10**15)
            counts[name] = self.choose.pick(odd)
        return counts

    def _befall(self) -> None:
        """Let the fault happen to the answer."""
        script, choose, fault = self.script, self.choose, self.fault
        steps = script.steps
        if fault in ("server error late", "given up"):
            self._shorten()
        elif fault == "drop":
            del steps[1 + choose.below(len(steps) - 1) :]
            steps.append(Step(0.1, "drop", excuse="drop"))
        elif fault == "drop at once":
            steps[:] = [Step(0.1, "drop", excuse="drop")]
        elif fault == "drop before the last event":
            steps[-1] = Step(0.1, "drop", excuse="drop")
        elif fault == "drop before the call" and self.call_at is not None:
            del steps[self.call_at :]
            steps.append(Step(0.1, "drop", excuse="drop"))
        elif fault == "stall":
            stalled = steps[choose.below(len(steps))]
            stalled.delay = max(stalled.delay, 6.0)
        elif fault == "long stall":
            at = choose.below(len(steps))
            steps.insert(at, Step(0.01, "stall", excuse="stall"))
            steps[at + 1].delay += choose.between(35.0, 50.0)
        elif fault == "poison":
            at = 1 + choose.below(len(steps) - 1)
            steps.insert(at, Step(0.02, "poison", {"type": "response.poison"}))
        if fault == "late frames" or choose.chance(self.world.late):
            shown = [s for s in steps if s.data is not None and s.kind in LATE]
            script.late = [Step(choose.between(0.0, 2.5), "late", step.data) for step in shown[-3:]]

    def _shorten(self) -> None:
        """Fail somewhere on the way."""
        steps = self.script.steps
        at = 1 + self.choose.below(len(steps) - 1)
        del steps[at:-1]

    def _response(self, status: str) -> dict[str, Any]:
        response: dict[str, Any] = {"id": self.script.response_id, "status": status}
        parent = self.attempt.body.get("previous_response_id")
        if parent is None or self.world.parents == "kept":
            response["previous_response_id"] = parent
        elif self.world.parents == "renamed":
            response["previous_response_id"] = f"{parent}_renamed"
        elif self.attempt.is_stored and self.number % 3 == 0:
            response |= {"previous_response_id": parent, "store": False}
        elif self.number % 2:
            response["previous_response_id"] = None
        return response

    def _add(
        self, delay: float, kind: str, event: str, payload: str = "", **fields: object
    ) -> None:
        data: dict[str, Any] = {"type": event, **fields}
        if self.world.ids == "id":
            data.pop("output_index", None)
        elif self.world.ids == "place":
            data.pop("item_id", None)
            if isinstance(item := data.get("item"), dict):
                data["item"] = {name: value for name, value in item.items() if name != "id"}
        steps = self.script.steps
        if "repeated frames" in self.world.habits:
            data["sequence_number"] = len(steps)
        if self._does("odd numbers"):
            data["obfuscation"] = self.choose.pick(tuple(NUMBERS))
        wait = delay if delay > 10.0 else self.choose.between(0.0, delay)
        steps.append(Step(wait, kind, data, payload))
        if kind == "delta" and self._does("repeated frames"):
            steps.append(Step(0.01, "again", data))


def arguments_of(call_id: str) -> str:
    """Return the arguments of a call, which its id tells."""
    nested = f',"x":{"[" * LEVELS}{"]" * LEVELS}' if call_id.startswith(DEEP) else ""
    return f'{{"mood":"{SMILE}","n":{call_id.rpartition("_")[2]}{nested}}}'


def asks_to_wait(seconds: float, choose: Decisions) -> dict[str, str]:
    """Write the headers that ask for a wait, in seconds or as a date."""
    if seconds.is_integer() and choose.below(2):
        then = f"Sun, 29 Nov 2026 08:49:{int(seconds):02} GMT"
        return {"date": "Sun, 29 Nov 2026 08:49:00 GMT", "retry-after": then}
    return {"retry-after": f"{seconds:g}"}


def error_step(
    status: int,
    code: str,
    words: str,
    excuse: str,
    *,
    param: str | None = None,
    headers: dict[str, str] | None = None,
    wait: float = 0.0,
) -> Step:
    """Write an error frame."""
    error = {"type": "error", "code": code, "message": words, "param": param}
    data: dict[str, Any] = {"type": "error", "status": status, "error": error}
    if headers is not None:
        data["headers"] = headers
    return Step(0.1, "error", data, words, excuse, wait=wait)


def encoded(data: dict[str, Any], lane: str | None) -> bytes:
    """Encode a frame."""
    if lane is not None:
        data = {**data, "stream_id": lane}
    written = _encode(data)
    for mark, text in _WRITTEN:
        written = written.replace(mark, text)
    return written
