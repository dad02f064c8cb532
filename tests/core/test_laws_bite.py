"""Broken clients break the laws: what the state machines find, they can find."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

import rtllm.dispatch
import rtllm.fleet
from core.law_machines import Anything, Broken, Driver, OrdinaryVoice, Turn
from rtllm.chain import Anchor, Home, Outline, State
from rtllm.dispatch import Dispatch, Placement
from rtllm.fleet import Fleet
from rtllm.items import Item
from rtllm.lanes import Connection, Lane

BOUNDED = settings(phases=[Phase.generate], report_multiple_bugs=False)
"""Fixed seed (the profile's), nothing shrunk: finding is enough here."""

Breaking = Callable[[pytest.MonkeyPatch], None]


def only_two_lanes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rtllm.fleet, "LANES_PER_CONVERSATION", 2)


def lanes_in_turn(patch: pytest.MonkeyPatch) -> None:
    """Two lanes that alternate."""

    def free_lane(
        self: Fleet, connection: Connection, conversation: int, parent: Home | None
    ) -> Lane | None:
        del self
        names = [f"{conversation}-{count}" for count in range(2)]
        lanes = [connection.lane_of(name) for name in names]
        for lane in sorted(lanes, key=lambda lane: lane.used):
            is_parent = parent is not None and lane.name == parent.lane
            if not is_parent and not connection.busy(lane):
                return lane
        return None

    patch.setattr(Fleet, "_free_lane", free_lane)


def items_counted(patch: pytest.MonkeyPatch) -> None:
    """The stock plugins' way: what is behind the first n items is new."""

    def rest_of(self: State, context: Outline) -> tuple[Item, ...] | None:
        known = len(self.closed) + len(self.run)
        return context.items[len(context.lead) + known :] if len(context.units) >= known else None

    patch.setattr(State, "rest_of", rest_of)


def output_forgotten(patch: pytest.MonkeyPatch) -> None:
    """Anchors of the request's context alone."""
    ended = Dispatch.ended

    def forgetful(
        self: Dispatch, attempt: int, response_id: str | None, recorded: object, now: float
    ) -> None:
        ended(self, attempt, response_id, None if recorded is None else (), now)

    patch.setattr(Dispatch, "ended", forgetful)


def parents_lane_reused(patch: pytest.MonkeyPatch) -> None:
    """A continuation runs on the lane of what it continues."""
    free_lane = Fleet._free_lane

    def reused(
        self: Fleet, connection: Connection, conversation: int, parent: Home | None
    ) -> Lane | None:
        if parent is not None and not connection.busy(lane := connection.lane_of(parent.lane)):
            return lane
        return free_lane(self, connection, conversation, parent)

    patch.setattr(Fleet, "_free_lane", reused)


def few_lanes(patch: pytest.MonkeyPatch) -> None:
    """Not broken, only costly; makes what follows likely."""
    patch.setattr(rtllm.fleet, "LANES_PER_CONVERSATION", 3)


def parents_lane_taken_early(patch: pytest.MonkeyPatch) -> None:
    """The parent's lane doesn't rest until its fork is in progress."""
    few_lanes(patch)
    take = Fleet.take

    def restless(self: Fleet, attempt: int, *args: object) -> None:
        take(self, attempt, *args)  # type: ignore[arg-type]
        self.in_progress(attempt)

    patch.setattr(Fleet, "take", restless)


def lost_connections_trusted(patch: pytest.MonkeyPatch) -> None:
    """An anchor is continued over whatever connection is open."""
    patch.setattr(Fleet, "can_continue", lambda *_: True)


def field_carried_over(patch: pytest.MonkeyPatch) -> None:
    """All anchors count as such whose system texts went into ``instructions``."""
    patch.setattr(
        rtllm.dispatch,
        "Anchor",
        lambda id_, model, state, _in_field, *rest: Anchor(id_, model, state, True, *rest),
    )


def field_never_sent_again(patch: pytest.MonkeyPatch) -> None:
    """The service is believed to carry ``instructions`` over."""
    frame = Driver.frame

    def without(self: Driver, turn: Turn, placement: Placement) -> bytes:
        plan = placement.plan
        if plan.anchor is not None:
            placement = replace(placement, plan=replace(plan, lead_in_field=False))
        return frame(self, turn, placement)

    patch.setattr(Driver, "frame", without)


def run(machine: type[RuleBasedStateMachine], *laws: int, examples: int = 200) -> None:
    name = f"{machine.__name__}Under{''.join(map(str, laws))}"
    under: type[RuleBasedStateMachine] = type(name, (machine,), {"laws": frozenset(laws)})
    run_state_machine_as_test(under, settings=settings(BOUNDED, max_examples=examples))


@pytest.mark.parametrize(
    ("breaking", "machine", "number"),
    [
        (only_two_lanes, OrdinaryVoice, 3),
        (only_two_lanes, Anything, 3),
        (lanes_in_turn, OrdinaryVoice, 3),
        (items_counted, Anything, 1),
        (items_counted, OrdinaryVoice, 1),
        (output_forgotten, Anything, 1),
        (output_forgotten, OrdinaryVoice, 3),
        (parents_lane_reused, OrdinaryVoice, 3),
        (parents_lane_taken_early, Anything, 2),
        (lost_connections_trusted, Anything, 2),
        (field_carried_over, Anything, 1),
        (field_never_sent_again, Anything, 1),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_broken_client_is_caught(
    breaking: Breaking,
    machine: type[RuleBasedStateMachine],
    number: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    breaking(monkeypatch)
    with pytest.raises(Broken, match=rf"^law {number}:"):
        run(machine, number)


def test_fewer_lanes_alone_break_nothing_but_thrift(monkeypatch: pytest.MonkeyPatch) -> None:
    few_lanes(monkeypatch)
    run(Anything, 1, 2, 4, examples=40)
