"""Broken clients break the laws: what the state machines find, they can find."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

import rtllm.context.planner
import rtllm.engine.request_planner
import rtllm.scheduling.connection_pool
from core.law_machines import Anything, Broken, Driver, OrdinaryVoice, Turn, Twins
from rtllm.content.items import Item
from rtllm.context.belonging import KnownResponse, Proof
from rtllm.context.conversations import Conversations, Membership
from rtllm.context.outline import LaneAddress, Plan, ResponseAnchor
from rtllm.engine.request_planner import Placement, RequestPlanner
from rtllm.scheduling.connection_pool import ConnectionPool
from rtllm.scheduling.lanes import Lane, PooledConnection
from support.saboteurs import by_any_shared_key, by_object, by_words, items_counted

BOUNDED = settings(phases=[Phase.generate], report_multiple_bugs=False)
"""Fixed seed (the profile's), nothing shrunk: finding is enough here."""

Breaking = Callable[[pytest.MonkeyPatch], None]


def only_two_lanes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rtllm.scheduling.connection_pool, "LANES_PER_CONVERSATION", 2)


def lanes_in_turn(patch: pytest.MonkeyPatch) -> None:
    """Two lanes that alternate."""

    def free_lane(
        self: ConnectionPool,
        connection: PooledConnection,
        conversation: int,
        parent: LaneAddress | None,
    ) -> Lane | None:
        del self
        names = [f"{conversation}-{count}" for count in range(2)]
        lanes = [connection.use_lane(name) for name in names]
        for lane in sorted(lanes, key=lambda lane: lane.used):
            is_parent = parent is not None and lane.name == parent.lane
            if not is_parent and not connection.busy(lane):
                return lane
        return None

    patch.setattr(ConnectionPool, "_find_free_lane", free_lane)


def output_forgotten(patch: pytest.MonkeyPatch) -> None:
    """Anchors of the request's context alone."""
    ended = RequestPlanner.complete

    def forgetful(
        self: RequestPlanner,
        attempt: int,
        response_id: str | None,
        recorded: object,
        now: float,
        output: tuple[Item, ...] = (),
    ) -> None:
        ended(self, attempt, response_id, None if recorded is None else (), now)

    patch.setattr(RequestPlanner, "complete", forgetful)


def parents_lane_reused(patch: pytest.MonkeyPatch) -> None:
    """A continuation runs on the lane of what it continues."""
    free_lane = ConnectionPool._find_free_lane

    def reused(
        self: ConnectionPool,
        connection: PooledConnection,
        conversation: int,
        parent: LaneAddress | None,
    ) -> Lane | None:
        if parent is not None and not connection.busy(lane := connection.use_lane(parent.lane)):
            return lane
        return free_lane(self, connection, conversation, parent)

    patch.setattr(ConnectionPool, "_find_free_lane", reused)


def few_lanes(patch: pytest.MonkeyPatch) -> None:
    """Not broken, only costly; makes what follows likely."""
    patch.setattr(rtllm.scheduling.connection_pool, "LANES_PER_CONVERSATION", 3)


def parents_lane_taken_early(patch: pytest.MonkeyPatch) -> None:
    """The parent's lane doesn't rest until its fork is in progress."""
    few_lanes(patch)
    take = ConnectionPool.commit

    def restless(self: ConnectionPool, attempt: int, *args: Any, stored: bool) -> None:
        take(self, attempt, *args, stored=stored)
        self.mark_in_progress(attempt)

    patch.setattr(ConnectionPool, "commit", restless)


def lost_connections_trusted(patch: pytest.MonkeyPatch) -> None:
    """An anchor is continued over whatever connection is open."""
    patch.setattr(ConnectionPool, "can_continue", lambda *_: True)


def field_carried_over(patch: pytest.MonkeyPatch) -> None:
    """All anchors count as such whose system texts went into ``instructions``."""
    patch.setattr(
        rtllm.engine.request_planner,
        "ResponseAnchor",
        lambda *fields: replace(ResponseAnchor(*fields), lead_in_field=True),
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


def by_the_first_match(patch: pytest.MonkeyPatch) -> None:
    """Content is proof also where several callers were answered with it."""

    def by_content(self: Conversations, asked: Membership) -> KnownResponse | None:
        return next(self._responses.matching(asked.context), None)

    patch.setattr(Conversations, "_match_by_content", by_content)


def hidden_on_content(patch: pytest.MonkeyPatch) -> None:
    """Hidden items are put back into every context with the same words."""
    with_hidden = rtllm.context.planner._with_hidden
    matching: list[tuple[KnownResponse, Proof]] = []
    plan = RequestPlanner.plan

    def noting(self: RequestPlanner, asked: Membership, *args: object, **options: object) -> Plan:
        index = self._conversations._responses
        matching[:] = [(known, Proof.KEYS) for known in index.matching(asked.context)]
        return plan(self, asked, *args, **options)  # type: ignore[arg-type]

    patch.setattr(RequestPlanner, "plan", noting)
    patch.setattr(
        rtllm.context.planner,
        "_with_hidden",
        lambda context, items, model, _: with_hidden(context, items, model, matching),
    )


def run(machine: type[RuleBasedStateMachine], *laws: int, examples: int = 200) -> None:
    name = f"{machine.__name__}Under{''.join(map(str, laws))}"
    under: type[RuleBasedStateMachine] = type(name, (machine,), {"laws": frozenset(laws)})
    steps = 12 if issubclass(machine, Twins) else 40
    bounded = settings(BOUNDED, max_examples=examples, stateful_step_count=steps)
    run_state_machine_as_test(under, settings=bounded)


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
        (by_words, Twins, 7),
        (by_any_shared_key, Twins, 7),
        (by_object, Twins, 7),
        (by_the_first_match, Twins, 7),
        (hidden_on_content, Twins, 7),
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
        run(machine, number, examples=1000)  # it stops at the first


def test_fewer_lanes_alone_break_nothing_but_thrift(monkeypatch: pytest.MonkeyPatch) -> None:
    few_lanes(monkeypatch)
    run(Anything, 1, 2, 4, examples=40)
