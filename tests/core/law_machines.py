"""The laws as state machines: any conversations over `RequestPlanner`, against the model service.

`Anything` lets frameworks do what they like; `OrdinaryVoice` is one caller who interrupts a
lot, and there every eligible request must be chained.
"""

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from core.framework_model import (
    GUIDE,
    PHRASES,
    PROMPTS,
    TEMPLATE,
    WORDS,
    Edit,
    Heard,
    Ids,
    Layout,
    Outputs,
    Recording,
    Shape,
    Talk,
    half,
    recorded_form,
    secret,
    seen,
)
from core.service_model import Refusal, Response, Service, Ticket, Wanted
from rtllm.codec.responses_encoder import request_frame
from rtllm.content.items import Item, Message
from rtllm.context.conversations import Membership
from rtllm.context.normalize import normalize_context
from rtllm.context.outline import Outline
from rtllm.engine.request_planner import Placement, RequestPlanner
from support.contexts import canonical, split_lead

LANES = 8  # a conversation
ACTIVE = 8  # a connection
LEDGER = 24  # anchors a conversation


class Broken(AssertionError):
    """A law does not hold."""


@dataclass(eq=False)
class Turn:
    """A request of a framework, until its answer ended."""

    talk: Talk
    outline: Outline
    member: Membership
    model: str
    guide: str
    full_context: bool = False
    wanted: Wanted = field(init=False)
    avoid: set[int] = field(default_factory=set)
    waits_for: int | None = None
    abandoned: bool = False
    over: bool = False

    def __post_init__(self) -> None:
        self.wanted = Wanted.of([seen(item) for item in self.outline.items])


@dataclass(eq=False)
class Attempt:
    """A request on its way."""

    number: int
    turn: Turn
    placement: Placement
    ticket: Ticket


class Driver:
    """Sends the turns of talks as the transport does, and checks each request."""

    lanes: ClassVar[bool] = True
    store: ClassVar[bool] = False
    laws: ClassVar[frozenset[int]] = frozenset({1, 2, 3, 4, 7})

    def __init__(self) -> None:
        super().__init__()
        self.planner = RequestPlanner(lanes=self.lanes, marks="m")
        self.pool = self.planner.pool
        self.service = Service(lanes=self.lanes)
        self.talks: list[Talk] = []
        self.outputs = Outputs()
        self.attempts: list[Attempt] = []
        self.waiting: list[Turn] = []
        self.opening: list[int] = []
        self.leaving: set[int] = set()
        self.made: dict[str, Talk] = {}
        self.latest: dict[Talk, Turn] = {}
        self.asked_with: Counter[tuple[str, ...]] = Counter()
        self.origins: dict[str, tuple[str, Outline, int]] = {}
        self.numbers = itertools.count(1)
        self.now = 0.0
        self.chained: bool | None = None

    def law(self, number: int, holds: bool, why: Callable[[], str]) -> None:
        """Insist on a law, if it is one of those in force."""
        if number in self.laws and not holds:
            raise Broken(f"law {number}: {why()}")

    # -- sending, as Answer and Pool do ----------------------------------------------------

    def ask(self, talk: Talk, trailing: str | None = None) -> None:
        legal = normalize_context(talk.context(trailing))
        if not legal.items:
            return
        outline = Outline.of(legal.items, talk.unsent)
        self.asked_with[outline.keys] += 1
        member = self.planner.join(outline, self.now)
        turn = Turn(talk, outline, member, talk.model, talk.guide)
        self.latest[talk] = turn
        self.launch(turn)

    def launch(self, turn: Turn) -> None:
        plan, lane_choice = self.planner.choose(
            turn.member,
            turn.model,
            self.now,
            full_context=turn.full_context,
            avoid=turn.avoid,
        )
        if lane_choice is None or not lane_choice.is_open:
            number = self.pool.add("m") if lane_choice is None else lane_choice.connection
            if lane_choice is None:
                self.opening.append(number)
            turn.waits_for = number
            self.pool.wait_for(number, +1)
            self.waiting.append(turn)
            return
        placement = Placement(
            turn.member.conversation, turn.outline, turn.model, self.store, plan, lane_choice
        )
        self.check_belonging(turn, placement)
        self.check_chained(turn, placement)
        number = next(self.numbers)
        self.planner.commit(number, placement, self.now)
        for surplus in self.pool.surplus():
            self.retire(surplus)
        for _ in range(self.pool.count_missing_warm(1)):
            self.opening.append(self.pool.add("m"))
        ticket = self.service.send(lane_choice.connection, self.frame(turn, placement), turn.guide)
        self.attempts.append(Attempt(number, turn, placement, ticket))
        running = self.service.running(lane_choice.connection)
        self.law(2, len(running) <= (ACTIVE if self.lanes else 1), lambda: "too many at once")

    def frame(self, turn: Turn, placement: Placement) -> bytes:
        plan = placement.plan
        lead = turn.outline.items[: len(turn.outline.lead)] if plan.lead_in_field else ()
        texts = [item.text for item in lead if isinstance(item, Message)]
        return request_frame(
            {"model": turn.model} if self.store else {"model": turn.model, "store": False},
            (),
            plan.items,
            instructions="\n".join([*texts, turn.guide] if turn.guide else texts),
            previous_response_id=plan.anchor.response_id if plan.anchor else None,
            lane=placement.lane_choice.lane,
        )

    def retire(self, number: int) -> None:
        """Use a connection for nothing new; it goes when what runs on it has ended."""
        self.pool.remove(number)
        self.leaving.add(number)
        self.close_idle()

    def close_idle(self) -> None:
        for number in [n for n in self.leaving if not self.service.running(n)]:
            self.leaving.remove(number)
            self.service.disconnect(number)

    def connect(self, index: int) -> None:
        if not self.opening:
            return
        number = self.opening.pop(index % len(self.opening))
        self.service.connect(number)
        self.pool.mark_open(number, self.now)
        self.wake(number)

    def dial_fails(self, index: int) -> None:
        number = self.opening.pop(index % len(self.opening))
        self.pool.remove(number)
        self.wake(number)

    def wake(self, number: int) -> None:
        for turn in [t for t in self.waiting if t.waits_for == number]:
            self.stop_waiting(turn)
            self.launch(turn)

    def stop_waiting(self, turn: Turn) -> None:
        if turn in self.waiting and turn.waits_for is not None:
            self.waiting.remove(turn)
            self.pool.wait_for(turn.waits_for, -1)
            turn.waits_for = None

    def connect_all(self) -> None:
        while self.opening:
            self.connect(0)

    # -- what the service does ---------------------------------------------------------------

    def start(self, attempt: Attempt) -> bool:
        """The service takes a request in hand; returns whether it accepts it."""
        try:
            self.service.start(attempt.ticket)
        except Refusal as refusal:
            why = str(refusal)
            # Documented: what was cut before it was taken in hand may find its parent gone.
            self.law(2, holds=attempt.turn.abandoned, why=lambda: why)
            self.ended(attempt, None, None)
            attempt.turn.over = True
            return False
        self.check_view(attempt)
        self.check_secrets(attempt)
        self.pool.mark_in_progress(attempt.number)
        return True

    def complete(self, attempt: Attempt, shape: Shape, how: Recording, *, map_it: bool) -> bool:
        """An answer completes; returns whether tools ran, so that the turn goes on."""
        if not attempt.ticket.started and not self.start(attempt):
            return False
        output = self.outputs.make(shape, attempt.turn.talk.number)
        form = recorded_form(output) if map_it else None
        response = self.service.complete(
            attempt.ticket,
            [seen(item) for item in output],
            None if form is None else [seen(item) for item in form],
        )
        self.made[response.id] = attempt.turn.talk
        mark = self.planner.mark_of(attempt.number)
        self.origins[response.id] = (mark, attempt.turn.outline, len(form or ()))
        self.ended(attempt, response.id, form, output)
        if attempt.turn.abandoned:
            return False
        attempt.turn.over = True
        return attempt.turn.talk.records(output, how, mark)

    def give_up(self, attempt: Attempt) -> None:
        """The service ends a request without a completed response."""
        self.service.fail(attempt.ticket)
        self.ended(attempt, None, None)

    def ended(
        self,
        attempt: Attempt,
        response_id: str | None,
        form: tuple[Item, ...] | None,
        output: tuple[Item, ...] = (),
    ) -> None:
        self.attempts.remove(attempt)
        self.planner.complete(attempt.number, response_id, form, self.now, output)
        self.close_idle()

    def lose(self, number: int) -> list[Turn]:
        """A connection dies; returns the turns that may be sent again."""
        self.pool.remove(number)
        self.leaving.discard(number)
        self.service.disconnect(number)
        lost = [a for a in self.attempts if a.placement.lane_choice.connection == number]
        for attempt in lost:
            attempt.ticket.over = True
            self.ended(attempt, None, None)
            attempt.turn.avoid.add(number)
        return [a.turn for a in lost if not a.turn.abandoned]

    def abandon(self, turn: Turn) -> None:
        """Stop reading a turn's answer; wait for nothing."""
        if turn.abandoned or turn.over:
            return
        turn.abandoned = True
        self.stop_waiting(turn)
        for attempt in self.attempts:
            if attempt.turn is turn:
                self.planner.abandon(attempt.number)

    # -- the laws ----------------------------------------------------------------------------

    def check_belonging(self, turn: Turn, placement: Placement) -> None:
        """Law 7: nothing is continued that another talk's request made."""
        anchor = placement.plan.anchor
        if anchor is not None:
            whose = self.made[anchor.response_id]
            self.law(7, whose is turn.talk, lambda: f"{turn.talk.number} continues {whose.number}")

    def check_secrets(self, attempt: Attempt) -> None:
        """Law 7: the model sees nothing hidden of another talk."""
        talk = attempt.turn.talk
        strange = [i for i in attempt.ticket.hidden if secret(talk.number) not in str(i)]
        self.law(7, not strange, lambda: f"{talk.number} is shown {strange}")

    def check_view(self, attempt: Attempt) -> None:
        """Law 1: the model sees exactly the normalized context."""
        wanted = attempt.turn.wanted
        texts, body = split_lead(attempt.ticket.view)
        # What was sent in a field must not be repeated at the head of the chained items.
        lead = attempt.ticket.lead + "\n".join(texts)
        self.law(1, lead == wanted.lead, lambda: f"it sees {lead!r}, not {wanted.lead!r}")
        self.law(1, canonical(body) == wanted.body, lambda: f"it sees {body}\nnot {wanted.body}")

    def known(self, turn: Turn, response: Response) -> int | None:
        """How many items of a turn's context a response of the same model knows."""
        return turn.wanted.covered_by(response) if response.model == turn.model else None

    def check_chained(self, turn: Turn, placement: Placement) -> None:
        """Law 3: nothing is sent again that the service knows and a lane can continue."""
        anchor = placement.plan.anchor
        self.chained = anchor is not None
        if turn.full_context or not self.lanes:
            return
        mine = [r for r in self.service.responses.values() if self.made[r.id] is turn.talk]
        best: tuple[int, str] | None = None
        for response in mine[-LEDGER:]:
            count = self.known(turn, response)
            if count is None or not self.service.can_be_forked(response):
                continue
            if not self.is_provable(turn, response):
                continue
            if not response.stored and self.out_of_lanes(turn, response):
                continue
            if best is None or count >= best[0]:
                best = (count, response.id)
        if best is None:
            return
        used = (
            None if anchor is None else self.known(turn, self.service.responses[anchor.response_id])
        )
        self.law(
            3,
            used is not None and used >= best[0],
            lambda: (
                f"{best} is known, but {anchor and anchor.response_id} ({used}) is continued: "
                f"{placement.plan.full_context_reason}"
            ),
        )

    def is_provable(self, turn: Turn, response: Response) -> bool:
        """Whether a context shows that it is the one that a response belongs to."""
        mark, answered, length = self.origins[response.id]
        keys, begin = answered.keys, len(answered.items)
        recorded = turn.outline.items[begin : begin + length]
        if turn.talk.marks:
            return {getattr(item, "mark", None) for item in recorded} == {mark}
        shown = turn.talk.ids == "kept" and set(keys).issubset(turn.outline.keys)
        return shown and self.asked_with[keys] == 1

    def out_of_lanes(self, turn: Turn, parent: Response) -> bool:
        """Whether no lane can continue a response: then a whole request is allowed."""
        number = parent.connection
        if number in turn.avoid or len(self.service.running(number)) >= ACTIVE:
            return True
        taken = {parent.lane}
        for attempt in self.attempts:
            if attempt.placement.conversation is not turn.member.conversation:
                continue
            if attempt.placement.lane_choice.connection == number:
                taken.add(attempt.placement.lane_choice.lane)
                before = attempt.placement.plan.anchor
                if before is not None and not attempt.ticket.started:
                    taken.add(before.lane_address.lane)  # rests until the fork is in progress
        return len(taken) >= LANES

    def known_of_others(self, talk: Talk) -> dict[Talk, int]:
        """How much the other talks would not have to send, were they to ask again now."""
        known: dict[Talk, int] = {}
        for other, turn in self.latest.items():
            if other is talk:
                continue
            anchor = self.planner.plan(turn.member, turn.model).anchor
            response = self.service.responses[anchor.response_id] if anchor else None
            known[other] = (self.known(turn, response) or 0) if response else 0
        return known

    def untouched(self, talk: Talk, before: dict[Talk, int]) -> None:
        """Law 4: a turn's end touches no other conversation."""
        after = self.known_of_others(talk)
        self.law(
            4,
            all(after[other] >= count for other, count in before.items()),
            lambda: f"others knew {list(before.values())} items, now {list(after.values())}",
        )


shapes = st.builds(
    Shape,
    texts=st.lists(st.sampled_from(PHRASES), min_size=1, max_size=2).map(tuple),
    calls=st.sampled_from([0, 0, 1, 2, 3]),
    reasoning=st.booleans(),
    phase=st.booleans(),
    hosted=st.booleans(),
) | st.builds(Shape, texts=st.just(()), calls=st.integers(1, 3), reasoning=st.booleans())
_heard: list[Heard] = ["whole", "whole", "half", "nothing", "stripped", "merged"]
_layouts: list[Layout] = [
    "pairs",
    "calls first",
    "outputs reversed",
    "none",
    "said between",
    "one missing",
]
recordings = st.builds(
    Recording,
    heard=st.sampled_from(_heard),
    order=st.integers(0, 5),
    layout=st.sampled_from(_layouts),
    dropped=st.none() | st.none() | st.integers(0, 2),
    respaced=st.booleans(),
)
_edits: list[Edit] = [
    "edit system",
    "add system",
    "drop system",
    "breakpoint",
    "move system",
    "said",
    "window",
    "replace",
    "rewind",
    "strip",
    "merge",
    "drop call",
    "drop output",
    "orphan output",
    "running pair",
    "late output",
    "picture",
]
edits = st.sampled_from(_edits)
ids: st.SearchStrategy[Ids] = st.sampled_from(["kept", "kept", "fresh", "template", "none"])
indices = st.integers(0, 7)
words = st.sampled_from(WORDS)
often = st.sampled_from([True, True, True, False])
rarely = often.map(lambda it: not it)


class Anything(Driver, RuleBasedStateMachine):
    """Several conversations at once, edited in every way that a framework knows."""

    @initialize(prompts=st.lists(st.sampled_from(PROMPTS), max_size=2), greeted=st.booleans())
    def begin(self, prompts: list[str], greeted: bool) -> None:
        self.open_talk(prompts, greeted=greeted, guided=False)

    @precondition(lambda self: len(self.talks) < 4)
    @rule(
        prompts=st.lists(st.sampled_from(PROMPTS), max_size=2),
        greeted=st.booleans(),
        guided=rarely,
        ids=ids,
        marks=st.booleans(),
    )
    def open_talk(
        self,
        prompts: list[str],
        *,
        greeted: bool,
        guided: bool,
        ids: Ids = "kept",
        marks: bool = False,
    ) -> None:
        system = [Message.of("system", text) for text in prompts]
        talk = Talk(len(self.talks), system, guide=GUIDE if guided else "", ids=ids, marks=marks)
        if ids == "template":  # the same objects in each of them
            talk.items += TEMPLATE[: 2 if greeted else 1]
        elif greeted:
            talk.items.append(Message.of("assistant", PHRASES[0]))
        self.talks.append(talk)

    def talk_at(self, index: int) -> Talk:
        return self.talks[index % len(self.talks)]

    def open_turn(self, talk: Talk) -> Turn | None:
        turn = self.latest.get(talk)
        return None if turn is None or turn.abandoned or turn.over else turn

    @rule(
        index=indices,
        said=words,
        trailing=st.none() | st.none() | st.sampled_from(PROMPTS),
        connected=often,
    )
    def user_speaks(self, index: int, said: str, trailing: str | None, *, connected: bool) -> None:
        self.talk_at(index).user_says(said)
        self.ask(self.talk_at(index), trailing)
        if connected:
            self.connect_all()

    @rule(
        index=indices,
        said=words,
        shape=shapes,
        how=recordings,
        updated=st.none() | st.none() | st.sampled_from(PROMPTS),
    )
    def ordinary_turn(
        self, index: int, said: str, shape: Shape, how: Recording, updated: str | None
    ) -> None:
        """An undisturbed turn, with its tool round, perhaps under other instructions."""
        talk = self.talk_at(index)
        if updated is not None:
            talk.system[-1:] = [Message.of("system", updated)]
        talk.user_says(said)
        self.ask(talk)
        for answer in (shape, Shape()):
            self.connect_all()
            mine = [a for a in self.finishable() if a.turn is self.latest.get(talk)]
            if mine and self.complete(mine[0], answer, how, map_it=True):
                self.ask(talk)
            else:
                break

    @rule(index=indices, trailing=st.none() | st.sampled_from(PROMPTS))
    def asked_again(self, index: int, trailing: str | None) -> None:
        self.ask(self.talk_at(index), trailing)

    @rule(index=indices, said=words)
    def draft_thrown_away(self, index: int, said: str) -> None:
        talk = self.talk_at(index)
        if (turn := self.open_turn(talk)) is not None:
            self.cut(turn)
        talk.user_says_instead(said)
        self.ask(talk)

    @rule(index=indices, said=words, heard=st.sampled_from(["", *PHRASES]))
    def barge_in(self, index: int, said: str, heard: str) -> None:
        talk = self.talk_at(index)
        if (turn := self.open_turn(talk)) is not None:
            self.cut(turn)
            if heard and any(a.turn is turn and a.ticket.started for a in self.attempts):
                talk.items.append(Message.of("assistant", half(heard)))
        talk.user_says(said)
        self.ask(talk)

    def cut(self, turn: Turn) -> None:
        before = self.known_of_others(turn.talk)
        self.abandon(turn)
        self.untouched(turn.talk, before)

    def startable(self) -> list[Attempt]:
        return [a for a in self.attempts if self.service.can_start(a.ticket)]

    @precondition(lambda self: self.startable())
    @rule(index=indices)
    def service_starts(self, index: int) -> None:
        ready = self.startable()
        self.start(ready[index % len(ready)])

    def finishable(self) -> list[Attempt]:
        return [a for a in self.attempts if a.ticket.started or self.service.can_start(a.ticket)]

    @precondition(lambda self: self.finishable())
    @rule(index=indices, shape=shapes, how=recordings, map_it=st.just(True) | often, goes_on=often)
    def service_completes(
        self, index: int, shape: Shape, how: Recording, *, map_it: bool, goes_on: bool
    ) -> None:
        ready = self.finishable()
        attempt = ready[index % len(ready)]
        if self.complete(attempt, shape, how, map_it=map_it) and goes_on:
            self.ask(attempt.turn.talk)

    @precondition(lambda self: self.finishable())
    @rule(index=indices, shape=shapes)
    def next_is_heard_whole(self, index: int, shape: Shape) -> None:
        self.service_completes(index, shape, Recording(), map_it=True, goes_on=True)

    @precondition(lambda self: self.attempts)
    @rule(index=indices, how=st.sampled_from(["busy", "server", "incomplete"]))
    def service_fails(self, index: int, how: str) -> None:
        attempt = self.attempts[index % len(self.attempts)]
        turn = attempt.turn
        before = self.known_of_others(turn.talk)
        self.give_up(attempt)
        self.untouched(turn.talk, before)
        if turn.abandoned:
            return
        if how == "busy":
            self.launch(turn)  # the same delta, if it is still known
        elif how == "server":
            turn.full_context = True
            turn.avoid.add(attempt.placement.lane_choice.connection)
            self.launch(turn)
        else:
            turn.over = True

    @precondition(lambda self: self.service.connections)
    @rule(index=indices, resent=often)
    def connection_dies(self, index: int, *, resent: bool) -> None:
        numbers = list(self.service.connections)
        for turn in self.lose(numbers[index % len(numbers)]):
            if resent:
                self.launch(turn)
            else:
                turn.over = True

    @precondition(lambda self: self.opening)
    @rule(index=indices)
    def connection_opens(self, index: int) -> None:
        self.connect(index)

    @precondition(lambda self: self.opening)
    @rule(index=indices)
    def connection_fails(self, index: int) -> None:
        self.dial_fails(index)

    @rule(index=indices, how=edits, at=st.integers(0, 30), word=words)
    def context_is_edited(self, index: int, how: Edit, at: int, word: str) -> None:
        self.talk_at(index).edits(how, at, word)

    @rule(index=indices)
    def model_changes(self, index: int) -> None:
        talk = self.talk_at(index)
        talk.model = "m" if talk.model == "n" else "n"

    @rule(seconds=st.sampled_from([0.5, 5.0, 20.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds


class Twins(Driver, RuleBasedStateMachine):
    """Callers who say the same and get the same answers, on frameworks of every habit."""

    @initialize(callers=st.integers(2, 4), ids=ids, marks=st.booleans(), opening=st.integers(0, 2))
    def begin(self, callers: int, ids: Ids, *, marks: bool, opening: int) -> None:
        for number in range(callers):
            system = [Message.of("system", PROMPTS[0])]
            talk = Talk(number, system, ids=ids, marks=marks)
            greeting = TEMPLATE[:opening]  # the same objects in each of them
            talk.items += (
                greeting if ids == "template" else [replace(i, key=None) for i in greeting]
            )
            self.talks.append(talk)

    @rule(
        said=st.none() | words,
        shape=shapes,
        heard=st.sampled_from(_heard),
        by=indices,
    )
    def all_say_the_same(self, said: str | None, shape: Shape, heard: Heard, by: int) -> None:
        """Each says the same and gets the same answer, of which one may hear less."""
        for talk in self.talks:
            self.turn(talk, said, shape, heard if talk.number == by else "whole")

    @rule(index=indices, said=words, shape=shapes)
    def one_goes_on(self, index: int, said: str, shape: Shape) -> None:
        self.turn(self.talks[index % len(self.talks)], said, shape, "whole")

    def turn(self, talk: Talk, said: str | None, shape: Shape, heard: Heard) -> None:
        if said is not None:
            talk.user_says(said)
        self.ask(talk)
        self.connect_all()
        for attempt in [a for a in self.attempts if a.turn is self.latest.get(talk)]:
            if heard != "whole":
                self.abandon(attempt.turn)
                if heard == "half":
                    self.give_up(attempt)
                    talk.records(self.outputs.make(shape), Recording())  # all but the last event
                    continue
            if self.complete(attempt, shape, Recording(heard=heard), map_it=True):
                self.turn(talk, None, Shape(), "whole")

    @precondition(lambda self: self.service.connections)
    @rule(index=indices)
    def connection_dies(self, index: int) -> None:
        numbers = list(self.service.connections)
        self.lose(numbers[index % len(numbers)])


class OrdinaryVoice(Driver, RuleBasedStateMachine):
    """One caller: barge-ins, drafts and tools, nothing stored. Each request must be chained."""

    MAX_CUTS: ClassVar[int] = 5
    MAX_RUNNING: ClassVar[int] = 6

    def __init__(self) -> None:
        super().__init__()
        self.talk = Talk(1, [Message.of("system", PROMPTS[0])])
        self.responses_of_turn = 0
        self.cuts = 0
        self.requests = 0

    @initialize(shape=shapes)
    def first_turn(self, shape: Shape) -> None:
        self.talk.user_says(WORDS[0])
        self.request()
        self.complete(self.attempts[0], Shape(shape.texts or ("Yes.",)), Recording(), map_it=True)

    def complete(self, attempt: Attempt, shape: Shape, how: Recording, *, map_it: bool) -> bool:
        """Complete an answer; by then the service has long taken in hand what came before."""
        for earlier in self.attempts[: self.attempts.index(attempt)]:
            if not earlier.ticket.started:
                self.start(earlier)
        return super().complete(attempt, shape, how, map_it=map_it)

    def request(self) -> None:
        """Ask, with no more running than ordinary voice has."""
        while len(self.attempts) > self.MAX_RUNNING:
            self.complete(self.attempts[0], Shape(), Recording(), map_it=True)
        self.ask(self.talk)
        self.connect_all()
        self.requests += 1
        if self.requests > 1:
            self.law(3, self.chained is True, lambda: "an eligible request went whole")

    def check_chained(self, turn: Turn, placement: Placement) -> None:
        """Law 3 with retention: the longest state that ever was is the one continued."""
        super().check_chained(turn, placement)
        best = max((self.known(turn, r) or 0 for r in self.service.responses.values()), default=0)
        anchor = placement.plan.anchor
        used = self.known(turn, self.service.responses[anchor.response_id]) if anchor else 0
        self.law(3, used == best, lambda: f"{best} items were known, of which {used} are continued")

    @property
    def turn(self) -> Turn | None:
        turn = self.latest.get(self.talk)
        return None if turn is None or turn.abandoned or turn.over else turn

    @precondition(lambda self: self.turn is None)
    @rule(said=words)
    def user_speaks(self, said: str) -> None:
        self.talk.user_says(said)
        self.responses_of_turn = 0
        self.request()

    @precondition(lambda self: self.turn is not None and self.cuts < self.MAX_CUTS)
    @rule(said=words, heard=st.sampled_from(["", *PHRASES]), draft=st.booleans())
    def cut_in_mid_answer(self, said: str, heard: str, *, draft: bool) -> None:
        turn = self.turn
        assert turn is not None
        self.cuts += 1
        self.abandon(turn)
        if draft and isinstance(self.talk.items[-1], Message):
            self.talk.user_says_instead(said)
        else:
            if heard and any(a.turn is turn and a.ticket.started for a in self.attempts):
                self.talk.items.append(Message.of("assistant", half(heard)))
            self.talk.user_says(said)
        self.responses_of_turn = 0
        self.request()

    @precondition(lambda self: self.attempts)
    @rule(index=indices)
    def service_starts(self, index: int) -> None:
        attempt = self.attempts[index % len(self.attempts)]
        if not attempt.ticket.started:
            self.start(attempt)

    @precondition(lambda self: any(a.turn.abandoned for a in self.attempts))
    @rule(index=indices, shape=shapes)
    def cut_answer_runs_out(self, index: int, shape: Shape) -> None:
        drains = [a for a in self.attempts if a.turn.abandoned]
        self.complete(drains[index % len(drains)], shape, Recording(), map_it=True)

    @precondition(lambda self: self.turn is not None)
    @rule(shape=shapes, order=indices, layout=st.sampled_from(_layouts[:3]))
    def answer_is_heard(self, shape: Shape, order: int, layout: Layout) -> None:
        self.answer(shape, Recording(order=order, layout=layout))
        if self.turn is None:
            self.cuts = 0

    @precondition(lambda self: self.turn is not None and self.cuts < self.MAX_CUTS)
    @rule(
        shape=shapes,
        heard=st.sampled_from(["half", "nothing"]),
        said=words,
        layout=st.sampled_from(_layouts),
    )
    def complete_but_cut(self, shape: Shape, heard: Heard, said: str, layout: Layout) -> None:
        """The ordinary barge-in: the answer is whole on the wire and half in the ear."""
        self.cuts += 1
        self.answer(replace_calls(shape, 0), Recording(heard=heard, layout=layout))
        self.user_speaks(said)

    def answer(self, shape: Shape, how: Recording) -> None:
        current = [a for a in self.attempts if a.turn is self.turn]
        self.responses_of_turn += 1
        if self.responses_of_turn >= 3:
            shape = replace_calls(shape, 0)
        if self.complete(current[0], shape, how, map_it=True):
            self.request()

    @invariant()
    def one_connection_is_enough(self) -> None:
        self.law(2, len(self.service.connections) <= 1, lambda: "a second connection was opened")


def replace_calls(shape: Shape, calls: int) -> Shape:
    """The same answer with another number of calls; never an empty one."""
    return Shape(shape.texts or ("Yes.",), calls, shape.reasoning, shape.phase)
