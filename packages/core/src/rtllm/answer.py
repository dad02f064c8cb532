"""The answer to one request: does what its turn says, and tells what happened."""

import asyncio
import copy
import logging
import random
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Self

import msgspec

from rtllm.chain import Outline, Plan
from rtllm.context import Note, legalise, legalise_repaired
from rtllm.errors import ConfigError, EmptyContext, TurnError
from rtllm.events import Called, Delta, Ended, Event
from rtllm.faults import Fault, Kind
from rtllm.items import Item, Message, Opaque
from rtllm.recovery import Action, Finish, Resend
from rtllm.refused import RefusedParameters
from rtllm.report import Outcome, Recovery, TurnReport
from rtllm.request import Network, Request
from rtllm.transport.attempt import Attempt
from rtllm.transport.dial import FaultError
from rtllm.transport.route import Route
from rtllm.turn import Turn
from rtllm.wire import chat
from rtllm.wire.responses import request_frame

logger = logging.getLogger(__name__)

_EMPTY = "the context holds nothing that a model could answer"


class Answer:
    """The answer to one request.

    Read it once: ``with client.ask(request) as answer: async for event in answer``. The last
    event is an `Ended`. Leaving early is a cut: the answer runs out in the background, and
    leaving waits for nothing.

    Until it is over it holds its client, so that a client without any other reference still
    completes the turn and reports it.

    Attributes:
        report: What happened, once it is over.
    """

    def __init__(
        self,
        request: Request,
        pool: Callable[[], Route],
        refused: RefusedParameters,
        tell: Callable[[TurnReport], None],
    ) -> None:
        _check_settings(request)
        self.report: TurnReport | None = None
        self.outline, self._notes = _outlined(request)
        if not self.outline.items:
            raise EmptyContext(_EMPTY)
        self._pool = pool
        self._refused = refused
        self._tell = tell
        self._request = request
        self._run: _Run | None = None
        self._response_id: str | None = None
        self._over = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        """The next event.

        Raises:
            TurnError: If the turn ends without its answer.
        """
        if self._over:
            raise StopAsyncIteration
        if self._run is None:
            self._run = _Run(self, self._pool(), self._refused)
        try:
            event = await self._run.next()
        except TurnError as error:
            self._finish("failed", error)
            raise
        if isinstance(event, Ended):
            self._finish(event.outcome, None)
        return event

    @property
    def response_id(self) -> str | None:
        """The service's id of the response that is being read, once it is known."""
        return self._run.response_id if self._run is not None else self._response_id

    @property
    def mark(self) -> str | None:
        """Our own name for the response that is being read, which no other response has.

        A framework that keeps it with what it records of the response, and hands it back in
        later contexts (`Message.mark`, `ToolCall.mark`), proves by it that these may continue
        the response. None where nothing can be continued.
        """
        return self._run.mark if self._run is not None else None

    def close(self) -> None:
        """Stop reading; if the answer isn't over, it is cut. Waits for nothing."""
        self._finish("cut", None)

    def _finish(self, outcome: Outcome, error: TurnError | None) -> None:
        if self._over:
            return
        self._over = True
        run, tell = self._run, self._tell
        self._let_go()
        if run is not None:
            self._response_id = run.response_id
            self.report = run.finish(outcome, error, self._notes)
            tell(self.report)

    def _let_go(self) -> None:
        """Hold the client no more; attempts that run out in the background hold this answer."""
        self._run, self._pool, self._tell = None, _no_route, _ignore_report

    # -- what the transport must know ----------------------------------------------------------

    @property
    def request(self) -> Request:
        """The request as it was asked."""
        return self._request

    @property
    def conversation(self) -> str | None:
        """The name of its conversation, if it gives one."""
        return self._request.conversation

    @property
    def model(self) -> str:
        """The model that shall answer."""
        return self._request.model

    @property
    def stored(self) -> bool:
        """Whether the service shall store the answer; documented: left out means yes."""
        return self._request.settings.get("store") is not False

    @property
    def warm_up(self) -> bool:
        """Whether the service shall only prepare the context."""
        return self._request.warm_up

    @property
    def headers(self) -> Mapping[str, str]:
        """More headers, where the request goes over HTTP."""
        return self._request.headers

    @property
    def query(self) -> Mapping[str, str]:
        """More query parameters, likewise."""
        return self._request.query

    @property
    def network(self) -> Network:
        """What to open connections with."""
        return self._request.network

    def detached(self) -> "Answer":
        """The same request, to be kept beyond this answer: it leads to no client."""
        twin = copy.copy(self)
        twin._let_go()
        return twin

    def frame(self, plan: Plan, lane: str | None, *, generate: bool = True) -> bytes:
        """Encode the request as planned; without `generate` no answer is asked for."""
        request = self._request
        lead = self.outline.items[: len(self.outline.lead)] if plan.lead_in_field else ()
        texts = [item.text for item in lead if isinstance(item, Message)]
        settings = {"model": request.model, **self._refused.applied_to(request)}
        if request.warm_up or not generate:
            settings["generate"] = False
        return request_frame(
            settings,
            request.tools,
            plan.items,
            instructions="\n".join([*texts, request.guide] if request.guide else texts),
            previous_response_id=plan.anchor.response_id if plan.anchor else None,
            lane=lane,
        )

    def completion(self) -> dict[str, Any]:
        """Encode the request for Chat Completions, which always get all of it."""
        request = self._request
        body = chat.parameters(
            {"stream_options": {"include_usage": True}, **self._refused.applied_to(request)},
            request.tools,
        )
        if "stream_options" in self._refused.of(request.model):
            body.pop("stream_options", None)
        more = body.get("extra_body", {})
        if isinstance(more, Mapping) and isinstance(
            more.get("tools"), list
        ):  # the user's own, beside the agent's
            body["tools"] = [*body.get("tools", ()), *more["tools"]]
            body["extra_body"] = {k: v for k, v in more.items() if k != "tools"}
        messages = chat.messages(self.outline.items, request.guide)
        extra = {"extra_headers": dict(request.headers), "extra_query": dict(request.query)}
        extra = {name: value for name, value in extra.items() if value}
        return {"model": request.model, "messages": messages, **body, **extra}

    def record(self, output: tuple[Item, ...]) -> tuple[Item, ...] | None:
        """The items that the framework will record for an output, None if it can't."""
        return self._request.record(output)


def _no_route() -> Route:
    raise RuntimeError("an answer that is over needs no route; this is a bug of rtllm")


def _ignore_report(_: TurnReport) -> None:
    """Do nothing: the answer is over and was reported."""


def check(request: Request) -> None:
    """Refuse what `Answer` would, without taking the request."""
    _check_settings(request)
    try:
        items = legalise(request.items).items
    except UnicodeEncodeError:
        items = legalise_repaired(request.items).items
    if not items:
        raise EmptyContext(_EMPTY)


def _check_settings(request: Request) -> None:
    """Refuse now what couldn't be encoded later."""
    try:
        msgspec.json.encode(request.settings)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"a setting of the request can't be sent: {error}") from None


def _outlined(request: Request) -> tuple[Outline, tuple[Note, ...]]:
    """A context made legal and cut into units, with notes of what had to be changed."""
    try:
        legal = legalise(request.items)
        outline = Outline.of(legal.items, request.unsent)
    except UnicodeEncodeError:  # rare, so that only then each text is looked at
        legal = legalise_repaired(request.items)
        outline = Outline.of(legal.items, request.unsent)
    return outline, legal.notes


class _Run:
    """Carries a turn out: launches attempts, reads them, and does what the table says."""

    def __init__(self, answer: Answer, pool: Route, refused: RefusedParameters) -> None:
        self._answer = answer
        self._pool = pool
        self._refused = refused
        self._request = answer.request
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._turn = Turn(
            self._request.limits,
            self._request.retry,
            self._began,
            can_fall_back=pool.falls_back and not self._request.warm_up,
        )
        self._member = pool.join(answer)
        self._attempt: Attempt | None = None
        self._last: Attempt | None = None
        self._mark: str | None = None
        self._opened_before = pool.newest_connection
        self._whole = False
        self._bare = False
        self._over_http = False
        self._avoid: set[int] = set()
        self._bytes = 0
        self._first: float | None = None
        self._held: list[Called] = []
        self._ready: deque[Event] = deque()

    @property
    def response_id(self) -> str | None:
        return self._last.assembler.response_id if self._last is not None else None

    @property
    def mark(self) -> str | None:
        return self._mark

    async def next(self) -> Event:
        while not self._ready:
            try:
                if self._attempt is None:
                    await self._launch()
                else:
                    await self._read(self._attempt)
            except FaultError as error:
                await self._recover(error)
        event = self._ready.popleft()
        if self._first is None and isinstance(event, Delta | Called):
            self._first = self._loop.time() - self._began
        return event

    async def _launch(self) -> None:
        self._turn.connecting(self._loop.time())
        attempt = await self._pool.launch(
            self._answer,
            self._member,
            self._turn,
            whole=self._whole,
            bare=self._bare,
            over_http=self._over_http,
            avoid=self._avoid,
        )
        self._attempt = self._last = attempt
        self._mark = self._pool.mark_of(attempt)
        if attempt.placement.over_http:
            self._turn.over_http()
        self._bytes += attempt.size

    async def _read(self, attempt: Attempt) -> None:
        event = await attempt.next()
        match event:
            case Fault():
                raise FaultError(event)
            case Ended(outcome="empty") if not self._request.warm_up:
                raise FaultError(Fault(Kind.EMPTY, "the service completed an empty response"))
            case Ended():
                self._end(event)
            case Called() if self._request.hold_calls:
                self._held.append(event)
            case _:
                self._give(event)

    def _give(self, event: Event) -> None:
        if isinstance(event, Delta):
            self._turn.gave_out(text=len(event.text))
        elif isinstance(event, Called):
            self._turn.gave_out(calls=1)
        self._ready.append(event)

    def _end(self, ended: Ended) -> None:
        for call in self._held:
            self._give(call)
        self._ready.append(ended)

    async def _recover(self, error: FaultError) -> None:
        fault = self._judged(error.fault)
        attempt, jitter = self._attempt, random.random()  # noqa: S311 - spreads load, no secret
        whole = attempt is not None and attempt.assembler.whole
        action = self._turn.decide(fault, self._loop.time(), jitter, whole=whole)
        logger.debug("%s: %s", fault.kind.name, action)
        if fault.kind is Kind.NO_HTTP:
            self._pool.has_no_http()
        if isinstance(action, Resend):
            if error.connection is not None:
                self._avoid.add(error.connection)
            self._before_resend(fault, action)
            await asyncio.sleep(action.wait)
        elif isinstance(action, Finish):
            response_id = attempt.assembler.response_id if attempt is not None else None
            ended = attempt.ended if attempt is not None else None
            usage = ended.usage if ended is not None else None
            if action.outcome == "unfinished":
                logger.warning(
                    "response %s lacks its last event (%s); all that came before counts",
                    response_id,
                    fault.message,
                )
            self._end(Ended(action.outcome, fault.message, response_id, usage))
        else:
            raise self._turn.error(action.error, fault, whole=whole)

    def _judged(self, fault: Fault) -> Fault:
        """A fault, where the refusal of what the user insists on is a plain refusal."""
        if fault.kind is Kind.UNAUTHORISED and self._attempt is not None and self._pool.renewable:
            return replace(fault, kind=Kind.TOKEN_REFUSED)  # the socket's own has run out
        if fault.kind is Kind.SILENT and self._attempt and self._pool.is_mute(self._attempt):
            return replace(fault, kind=Kind.MUTE)
        untouched = self._request.untouched
        insists = self._request.strict_parameters and fault.param not in untouched
        if fault.kind is Kind.PARAMETER_REFUSED and insists and fault.param != "stream_options":
            return replace(fault, kind=Kind.REFUSED)
        if fault.kind is Kind.REFUSED and fault.param == "include" and fault.param in untouched:
            return replace(fault, kind=Kind.PARAMETER_REFUSED)  # ours: nobody asked for it
        return fault

    def _before_resend(self, fault: Fault, action: Resend) -> None:
        attempt = self._attempt
        if attempt is not None:
            self._pool.abandon(attempt, "superseded")
            if action.elsewhere:
                self._avoid.add(attempt.placement.seat.connection)
            if fault.kind in (Kind.CHAIN_MISS, Kind.ITEMS_REFUSED):
                self._pool.missed(attempt)
        if action.over_http:
            self._pool.fell_back(fault, attempt)
            self._over_http = True
        if fault.kind is Kind.LANES_REFUSED:
            self._pool.refused_lanes()
        if fault.kind is Kind.PARAMETER_REFUSED and fault.param is not None:
            self._refused.note(self._request, fault.param, fault.message)
        self._whole = self._whole or action.whole
        self._bare = self._bare or fault.kind is Kind.ITEMS_REFUSED
        self._held.clear()
        self._attempt = None

    def finish(
        self, outcome: Outcome, error: TurnError | None, notes: tuple[Note, ...]
    ) -> TurnReport:
        """Leave the last attempt to itself, and tell what happened."""
        if self._attempt is not None:
            self._pool.abandon(self._attempt, "failed" if error is not None else "cut")
        last = self._last
        plan = last.placement.plan if last is not None else None
        ended = last.ended if last is not None else None
        context = self._answer.outline.items
        sent = len(plan.items) if plan is not None else 0
        return TurnReport(
            conversation=self._member.conversation.number,
            outcome=outcome,
            model=self._request.model,
            response_id=self.response_id,
            continued=plan.anchor.response_id if plan is not None and plan.anchor else None,
            why_whole=plan.why_whole if plan is not None else None,
            items_sent=sent,
            items_known=len(context) - sent if plan is not None and plan.anchor else 0,
            bytes_sent=self._bytes,
            attempts=self._turn.attempts,
            way="http" if last is not None and last.placement.over_http else "websocket",
            connection=last.placement.seat.connection or None if last is not None else None,
            lane=last.lane if last is not None else None,
            reused=last is not None and 0 < last.placement.seat.connection <= self._opened_before,
            time_to_first=self._first,
            duration=self._loop.time() - self._began,
            usage=ended.usage if ended is not None else None,
            hosted=_hosted(last.assembler.output()) if last is not None else (),
            changes=notes,
            recoveries=tuple(_told(fault, action) for fault, action in self._turn.recoveries),
            error=str(error) if error is not None else None,
        )


def _hosted(output: tuple[Item, ...]) -> tuple[Mapping[str, Any], ...]:
    return tuple(msgspec.json.decode(item.json) for item in output if isinstance(item, Opaque))


def _told(fault: Fault, action: Action) -> Recovery:
    if isinstance(action, Resend) and action.over_http:
        done = "sent again over HTTP"
    elif isinstance(action, Resend):
        what = "sent whole again" if action.whole else "sent again"
        done = f"{what} over another connection" if action.elsewhere else what
    elif isinstance(action, Finish):
        done = f"ended as {action.outcome}"
    else:
        done = f"failed: {action.error.__name__}"
    return Recovery(fault.kind.name.lower().replace("_", " "), fault.code, done)
