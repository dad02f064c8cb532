"""One request, from the lookup of its parent to its last event, over either protocol."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable
from typing import Any, Protocol

from rtllm.simulator.error_frame import ErrorFrame, Stage
from rtllm.simulator.faults import (
    Abort,
    Close,
    CutResponse,
    FailedResponse,
    Fault,
    Garbage,
    HangUp,
    Mangle,
    MangleAll,
    RefuseRequest,
    Silence,
    spoil_reply,
)
from rtllm.simulator.generation import Event, Generation
from rtllm.simulator.journal import Entry, Outcome
from rtllm.simulator.mangling import Mangler, mangle
from rtllm.simulator.memory import ConnectionMemory
from rtllm.simulator.refusal import RequestError
from rtllm.simulator.script import Completed, Ending, Failed, Incomplete, Reply
from rtllm.simulator.service import Prepared, Service

_log = logging.getLogger(__name__)

_COUNTED: dict[str, Stage] = {
    "response.output_item.added": "opened",
    "response.output_text.delta": "output",
    "response.refusal.delta": "output",
    "response.function_call_arguments.delta": "output",
    "response.output_item.done": "item",
}


class Line(Protocol):
    """The connection of an exchange: a WebSocket, or the response to one POST."""

    memory: ConnectionMemory

    async def begin(self) -> None:
        """Begin to respond, if that is visible before the first event."""

    async def send(self, event: Event) -> None:
        """Send an event."""

    async def send_raw(self, frame: str | bytes) -> None:
        """Send a frame unchanged."""

    async def keep_alive(self, tag: str | None) -> None:
        """Send a message without meaning."""

    async def refuse(self, error: RequestError, tag: str | None) -> None:
        """Reject the request."""

    async def answer(self, fault: RefuseRequest, tag: str | None) -> None:
        """Reject the request with a scripted response."""

    async def fail(self, fault: ErrorFrame, tag: str | None, sequence_number: int) -> None:
        """Send a scripted error, and end what the fault says."""

    async def close(self, code: int, reason: str = "") -> None:
        """Close the connection with a closing handshake."""

    def hang_up(self) -> None:
        """End the connection without a closing handshake."""

    def abort(self) -> None:
        """Reset the connection."""

    def mute(self, *, pongs: bool) -> None:
        """Stop sending; pings are still answered, or nothing is."""


class _EndedError(Exception):
    """The exchange has ended early; the journal has the outcome."""


class _EndNowError(Exception):
    """A fault ends the response in one of its normal ways."""

    def __init__(self, ending: Ending) -> None:
        super().__init__()
        self.ending = ending


class Exchange:
    """Runs one request.

    Args:
        service: The service.
        line: The connection.
        entry: The request's journal entry.
        lane: The lane that it runs on, and that remembers its response.
        tag: The ``stream_id`` of its events, None for none.
    """

    def __init__(
        self, service: Service, line: Line, entry: Entry, lane: str | None, tag: str | None
    ) -> None:
        self._service = service
        self._line = line
        self._entry = entry
        self._lane = lane
        self._tag = tag
        self._faults: list[Fault] = []
        self._mangler: Mangler | None = None
        self._last_response: dict[str, Any] = {}
        self._next_number = 0

    async def run(self) -> None:
        """Answer the request, including faults and rejections."""
        self._entry.outcome = "running"
        self._service.journal.changed(self._entry)
        try:
            prepared = self._service.prepare(self._entry, self._line.memory, self._lane)
        except RequestError as error:
            self._end("refused", error.code, error.message)
            await self._line.refuse(error, self._tag)
            return
        try:
            self._faults = self._service.faults(prepared.request)
            for fault in self._faults:
                if isinstance(fault, MangleAll):
                    self._mangler = Mangler(fault.seed, fault.habits)
            await self._respond(prepared)
        except _EndedError:
            pass
        except ConnectionError:
            self._end("dropped")

    async def _respond(self, prepared: Prepared) -> None:
        generation = self._service.generation(prepared)
        try:
            ending = await self._output(prepared, generation)
        except _EndNowError as end:
            ending = end.ending
        events = generation.end(ending)
        self._settle(prepared, generation, ending, events[-1]["response"])
        await self._emit(events)

    async def _output(self, prepared: Prepared, generation: Generation) -> Ending:
        await self._reach("sent")
        await self._line.begin()
        await self._reach("headers")
        self._entry.response_id = generation.id
        await self._emit(generation.opening())
        self._service.journal.changed()
        await self._reach("created")
        if not prepared.generates:
            await self._reach("complete")
            return Completed()
        reply = await self._reply(prepared)
        counts: Counter[Stage] = Counter()
        async for event in generation.items(reply):
            await self._emit([event])
            if (phase := _COUNTED.get(event["type"])) is not None:
                counts[phase] += 1
                if phase == "output":
                    self._note_delta(event)
                await self._reach(phase, counts[phase])
        await self._reach("complete")
        return generation.ending

    def _note_delta(self, event: Event) -> None:
        self._entry.deltas += 1
        if event["type"] != "response.function_call_arguments.delta":
            self._entry.reply_text += event["delta"]
        self._service.journal.changed()

    async def _reply(self, prepared: Prepared) -> Reply:
        try:
            reply = await self._service.reply(prepared.request)
        except Exception as error:
            _log.warning("The script raised %r; the response fails.", error)
            self._service.crashes.append(error)
            raise _EndNowError(Failed()) from error
        return spoil_reply(reply, self._faults)

    def _settle(
        self, prepared: Prepared, generation: Generation, ending: Ending, response: dict[str, Any]
    ) -> None:
        """Remember and record the end before the client can react to it."""
        self._entry.response_id = generation.id
        self._entry.usage = response["usage"]
        if isinstance(ending, Failed):
            self._end("failed", ending.code, ending.message)
            return
        completed = isinstance(ending, Completed)
        self._service.remember(
            prepared,
            generation,
            self._line.memory,
            self._lane,
            completed=completed,
            whole=response,
        )
        self._end("completed" if completed else "incomplete")

    def _end(self, outcome: Outcome, code: str | None = None, message: str | None = None) -> None:
        if outcome in {"refused", "failed"}:
            parent, began = self._entry.previous_response_id, outcome == "failed"
            self._line.memory.fail(self._lane, parent, began=began)
        self._service.journal.end(self._entry, outcome, code, message)

    async def _emit(self, events: Iterable[Event]) -> None:
        for event in events:
            tagged = event if self._tag is None else {**event, "stream_id": self._tag}
            self._last_response = event.get("response", self._last_response)
            self._next_number = event["sequence_number"] + 1
            flawed = self._flawed(tagged)
            if flawed is None:
                continue
            if self._mangler is None:
                await self._line.send(flawed)
                continue
            for frame in self._mangler.frames(flawed):
                await self._line.send_raw(frame.data)

    def _flawed(self, event: Event) -> Event | None:
        spoiled: Event | None = event
        for fault in self._faults:
            if isinstance(fault, Mangle) and spoiled is not None:
                spoiled = mangle(spoiled, fault.flaw)
        return spoiled

    async def _reach(self, phase: Stage, count: int = 0) -> None:
        """Apply the faults that are due at this moment."""
        for fault in self._faults:
            match fault:
                case RefuseRequest() if phase == "sent":
                    self._end("refused", str(fault.status))
                    await self._line.answer(fault, self._tag)
                    raise _EndedError
                case Garbage() if fault.is_due(phase, count):
                    await self._line.send_raw(fault.frame)
                case FailedResponse() if fault.is_due(phase, count):
                    raise _EndNowError(Failed(fault.code, fault.message))
                case CutResponse() if fault.is_due(phase, count):
                    raise _EndNowError(Incomplete(fault.reason))
                case ErrorFrame() if fault.is_due(phase, count):
                    await self._fail(fault, phase)
                case Close() | HangUp() | Abort() if fault.is_due(phase, count):
                    await self._drop(fault)
                case Silence() if fault.is_due(phase, count):
                    await self._fall_silent(fault)

    async def _fail(self, fault: ErrorFrame, phase: Stage) -> None:
        self._end(
            "refused" if phase in {"sent", "headers"} else "failed", fault.code, fault.message
        )
        await self._line.fail(fault, self._tag, self._next_number)
        raise _EndedError

    async def _drop(self, fault: Close | HangUp | Abort) -> None:
        self._end("dropped")
        match fault:
            case Close(code, reason):
                await self._line.close(code, reason)
            case HangUp():
                self._line.hang_up()
            case Abort():
                self._line.abort()
        raise _EndedError

    async def _fall_silent(self, fault: Silence) -> None:
        """Wait for the end of the connection, which cancels this."""
        if fault.scope == "connection":
            self._line.mute(pongs=fault.pongs)
        while fault.noise is not None:
            await asyncio.sleep(fault.every)
            if fault.noise == "keepalive":
                await self._line.keep_alive(self._tag)
            else:
                await self._line.send(self._in_progress())
        await asyncio.Event().wait()

    def _in_progress(self) -> Event:
        tag = {} if self._tag is None else {"stream_id": self._tag}
        return {
            "type": "response.in_progress",
            "sequence_number": 2,
            "response": self._last_response,
            **tag,
        }
