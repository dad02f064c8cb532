"""Attempts of an engine: started, and recorded once when they end."""

import logging

from rtllm.content.items import Item, ToolCall
from rtllm.context.outline import Outline
from rtllm.engine.attempt import Attempt, Decoder, ExchangeDecoder
from rtllm.engine.connection import Connection
from rtllm.engine.prompt_reports import note_prompt, note_prompt_tokens
from rtllm.engine.request_planner import Placement
from rtllm.engine.state import EngineState
from rtllm.engine.turn import ActiveTurn
from rtllm.engine.usage_records import record_usage, usage_of

logger = logging.getLogger(__name__)

END_SILENCE = 0.5
"""Seconds of silence that end a chat completion after its ``finish_reason``."""


class Attempts:
    """The attempts of an engine.

    Args:
        state: The engine's shared state.
    """

    def __init__(self, state: EngineState) -> None:
        self._state = state

    def begin(
        self,
        turn: ActiveTurn,
        connection: Connection,
        placement: Placement,
        size: int,
        decoder: Decoder,
        now: float,
    ) -> Attempt:
        """Start an attempt of a turn on a connection."""
        number = self._state.planner.next_attempt()
        chains = self._state.options.api == "responses"
        attempt = Attempt(
            number,
            turn.number,
            connection.number,
            placement,
            size,
            decoder,
            turn.prepared.request.record if turn.rebuild is None else _record_nothing,
            self._state.planner.mark_of(number) if chains else None,
            unseen=(turn.prepared.request.tools, turn.prepared.request.guide),
            on_late_usage=turn.prepared.request.on_late_usage,
            call=turn.prepared.request.call,
        )
        self._state.planner.commit(number, placement, now)
        self._state.attempts[number] = attempt
        connection.add(attempt)
        if self._state.options.cache_report and turn.rebuild is None:
            self._state.latest_prompt = note_prompt(turn, attempt, self._state.latest_prompt, now)
        turn.become("running")
        turn.attempt = turn.last = attempt
        self._state.trace.sent(turn, attempt, now)
        return attempt

    def end(self, attempt: Attempt, now: float) -> None:
        """Record an attempt that has ended, once, and remember what can be continued."""
        attempt.finished = True
        note_prompt_tokens(attempt)
        self._state.attempts.pop(attempt.number, None)
        self._state.timers.clear(("drain", attempt.number))
        self._state.timers.clear(("end silence", attempt.number))
        connection = self._state.connections.find(attempt.connection)
        if connection is not None:
            connection.remove(attempt)
        decoder = attempt.decoder
        output = decoder.output()
        response_id, recorded = None, None
        if attempt.is_complete:
            response_id = decoder.response_id
            if self._state.options.api == "chat":
                response_id = response_id or ""  # never continued; only identifies the conversation
            recorded = self._recorded(attempt, output)
            self._note_calls(attempt, output)
        tokens = attempt.usage.input if attempt.usage is not None else None
        self._state.planner.complete(attempt.number, response_id, recorded, now, output, tokens)
        self._check_memory(attempt, response_id, tokens)
        spent = usage_of(self._state, attempt) if attempt.begun else None
        self._state.trace.ended(attempt, spent, now)
        if spent is not None:
            record_usage(self._state, attempt, spent)
        if connection is not None and connection.is_exchange:
            if decoder.created:
                self._state.http_trust.record_response()
            if attempt.fault is None:
                self._state.connections.let_end(connection, now)
            else:
                self._state.connections.remove(connection, now)
        elif connection is not None:
            if attempt.fault is None:
                self._state.fallback.record_response()
            if connection.state == "closing" and connection.is_idle:
                self._state.connections.remove(connection, now)

    def _check_memory(
        self, attempt: Attempt, response_id: str | None, input_tokens: int | None
    ) -> None:
        """Stop chaining if a response shows that the host would continue another one, or none."""
        if self._state.options.api == "chat":
            return  # which continues nothing
        planner, parent = self._state.planner, attempt.placement.plan.anchor
        if response_id and planner.shares_id(response_id, attempt.number):
            self._state.stop_chaining("gives different responses the same id")
        if parent is not None and planner.track_input_tokens(parent, input_tokens):
            self._state.stop_chaining(
                f"counts {input_tokens} input tokens for a response that continues one of "
                f"{parent.input_tokens}, so it forgets contexts"
            )

    def _note_calls(self, attempt: Attempt, output: tuple[Item, ...]) -> None:
        """Remember the calls of a complete response, and the fields that the host wants back."""
        self._state.knowledge.dialects.took(attempt.placement.model)
        self._state.knowledge.note_model(attempt.placement.model, attempt.decoder.model)
        for item in output:
            if isinstance(item, ToolCall):
                self._state.knowledge.issued(item.call_id)
                self._state.carried.note(attempt.placement.conversation.number, item)

    def _recorded(self, attempt: Attempt, output: tuple[Item, ...]) -> tuple[Item, ...] | None:
        try:
            recorded = attempt.record(output)
            if recorded is not None:
                Outline.of(recorded)  # raises here what the engine would raise later
        except Exception:
            logger.exception("attempt %d: could not map its output to items", attempt.number)
            return None
        return recorded

    def expect_end(self, attempt: Attempt, decoder: ExchangeDecoder, now: float) -> None:
        """Set a short limit for what may follow a ``finish_reason``, if one came."""
        if not decoder.may_end_after_silence:
            return
        finishes_early, model = self._state.knowledge.finishes_early, attempt.placement.model
        if decoder.continued_after_finish:
            finishes_early.add(model)
        if model not in finishes_early:
            self._state.timers.set(("end silence", attempt.number), now + END_SILENCE)


def _record_nothing(_: tuple[Item, ...]) -> tuple[Item, ...]:
    return ()
