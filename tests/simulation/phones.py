"""The people: each phone makes one call after another, and speaks, waits, cuts in and hangs up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rtllm.content.request import Network as Route
from rtllm.engine.actions import Finish
from rtllm.engine.connection import Opening
from rtllm.engine.prepared import prepare
from simulation.callers import (
    LIMITS,
    MODELS,
    PROMPTS,
    TURNS,
    Call,
    begin_call,
    request_of,
    warm_up_of,
    words_of,
)
from simulation.records import TurnRecord, Wanted

if TYPE_CHECKING:
    from simulation.play import Simulation

SIDE_CALL = 55.0
"""Seconds without a request after which a conversation may lose its lanes to others."""


class Phone:
    """One caller at a time.

    Args:
        simulation: What it is part of.
        number: Its number.
    """

    def __init__(self, simulation: Simulation, number: int) -> None:
        self.sim = simulation
        self.number = number
        self.choose = simulation.choose
        self.world = simulation.world
        self.call: Call
        self.turn: TurnRecord | None = None
        self.hangs_up = False

    def begin(self) -> None:
        """Begin a call."""
        choose, sim = self.choose, self.sim
        self.hangs_up = False
        engine = self.number % len(sim.engines)
        self.call = begin_call(sim.next_owner(), self.number, engine, self.world, choose, sim.now)
        if choose.chance(0.1):
            opening = Opening(self.call.model, Route(), LIMITS.connect)
            sim.fact(engine, "warm", opening)
        if choose.chance(self.world.warm_ups) and self.world.websocket:
            self._warm_up(engine)
        sim.after(choose.between(0.0, 2.0), self.speak)

    def _warm_up(self, engine: int) -> None:
        prompt = self.choose.pick(PROMPTS)
        serial = self.sim.next_serial()
        request = warm_up_of(prompt, MODELS[0], serial)
        wanted = Wanted((prompt,), "", (), ())
        turn = TurnRecord(
            serial, 0, engine, None, wanted, request, self.sim.now, useful_at=self.sim.now
        )
        self.sim.ask(turn, prepare(request))

    def speak(self) -> None:
        """Say something, or hang up."""
        sim, choose, call = self.sim, self.choose, self.call
        if not sim.goes_on():
            sim.hung_up += 1
            return
        if call.turns >= TURNS or self.hangs_up or choose.chance(0.02):
            self.begin()
            return
        if choose.chance(self.world.edits) and call.lead and not call.is_anonymous:
            call.lead = [f"{call.lead[0]} Version {call.turns}."]
            call.lead_keys = [call.key()]
        self._change()
        call.rounds = 0
        words = words_of(call, choose, self.world)
        if choose.chance(self.world.pictures):
            call.show(words, f"data:image/png;base64,{call.label}{call.turns}")
        else:
            call.say(words)
        call.window()
        self.ask()

    def _change(self) -> None:
        """Let the application change what it handed over before: an item, or a tool."""
        call, choose = self.call, self.choose
        if choose.chance(self.world.edits) and not call.is_anonymous:
            call.change(choose)
        if choose.chance(self.world.edits):
            call.describe(f"Look up for {call.label}. Version {call.turns}.")

    def ask(self) -> None:
        """Ask for an answer to all that was said."""
        sim, choose, call = self.sim, self.choose, self.call
        if sim.now - call.last_ask > SIDE_CALL:
            for response in call.responses:
                response.is_forgotten = True
        call.last_ask = sim.now
        call.turns += 1
        serial = sim.next_serial()
        is_odd = choose.chance(self.world.odd)
        trailing = choose.chance(self.world.edits) and not call.is_anonymous
        if trailing:  # instructions for this reply alone
            call.instruct("Be brief.")
        silence = self.world.silence
        request = request_of(call, serial, choose, silence=silence, is_odd=is_odd)
        wanted = call.wanted()
        if trailing:
            call.items.pop()
        call.asks[wanted.keys] = call.asks.get(wanted.keys, 0) + 1
        turn = TurnRecord(serial, 0, call.engine, call, wanted, request, sim.now, useful_at=sim.now)
        self.turn = turn
        prepared = prepare(request)
        if choose.chance(self.world.drafts):
            sim.after(choose.between(0.0, 0.3), lambda: self._redraft(turn))
        elif choose.chance(self.world.barge_ins):
            sim.after(choose.between(0.05, 2.0), lambda: self._cut_in(turn))
        sim.ask(turn, prepared)

    def forgotten(self) -> None:
        """Note that the engine was closed: it knows nothing of the call any more.

        Its caller goes on with it, or begins another one.
        """
        self.hangs_up = self.choose.below(2) == 1
        for response in self.call.responses:
            response.is_forgotten = True

    # -- cuts ----------------------------------------------------------------------------------

    def _redraft(self, turn: TurnRecord) -> None:
        """Take a question back, and ask another one."""
        if self.turn is not turn or turn.is_over or turn.text or turn.calls:
            return
        self._cancel(turn)
        call = self.call
        if call.rounds == 0:
            call.unsay()
            call.say(words_of(call, self.choose, self.world))
        else:
            call.say(words_of(call, self.choose, self.world))
            call.rounds = 0
        self.ask()

    def _cancel(self, turn: TurnRecord) -> None:
        turn.is_cancelled = True
        self.turn = None
        self.call.cuts += 1
        self.sim.fact(turn.engine, "cancel", turn.number)

    def _cut_in(self, turn: TurnRecord) -> None:
        """Cut an answer: only what was heard is recorded."""
        if self.turn is not turn or turn.is_over:
            return
        self._cancel(turn)
        self._record_cut(turn)
        self.sim.after(self.choose.between(0.1, 1.5), self.speak)

    def _record_cut(self, turn: TurnRecord) -> None:
        call, choose = self.call, self.choose
        if turn.text:
            heard = turn.text[: choose.below(len(turn.text) + 1)].strip()
            if heard:
                call.hear(heard, turn.mark)
        if turn.called and choose.below(2):
            outputs = [f"done {c.call_id}" if choose.below(3) else None for c in turn.called]
            call.run(turn.called, outputs, turn.mark)

    # -- ends ----------------------------------------------------------------------------------

    def finished(self, turn: TurnRecord, action: Finish) -> None:
        """React to the end of a turn."""
        if self.turn is not turn:
            return
        self.turn = None
        call, choose, sim = self.call, self.choose, self.sim
        if action.error is not None or action.report.outcome != "completed":
            self._record_cut(turn)
            sim.after(choose.between(0.2, 2.0), self.speak)
            return
        if turn.called:
            if turn.text:
                call.hear(turn.text, turn.mark)
            outputs = [f"done {c.call_id}" for c in turn.called]
            call.run(turn.called, outputs, turn.mark)
            call.rounds += 1
            sim.after(choose.between(0.05, 1.0), self._go_on)
            return
        if choose.chance(self.world.barge_ins / 2):
            call.cuts += 1
            heard = turn.text[: choose.below(len(turn.text))].strip()
            if heard:
                call.hear(heard, turn.mark)
        else:
            call.cuts = 0
            is_stripped = choose.chance(self.world.edits)
            call.hear(turn.text.rstrip(".?") if is_stripped else turn.text, turn.mark)
        pause = choose.between(0.1, self.world.pauses)
        if choose.chance(self.world.long_pauses):
            pause = choose.between(300.0, 1200.0)
        sim.after(pause, self.speak)

    def _go_on(self) -> None:
        """Ask again, with the outputs of the tools."""
        if self.choose.chance(self.world.barge_ins / 4):
            self.speak()
        elif self.sim.goes_on():
            self.ask()
        else:
            self.sim.hung_up += 1
