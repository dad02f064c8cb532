"""Lanes and connections: which one a turn takes, and what each still remembers."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtllm.context.outline import KnownPrefix, LaneAddress, Origin, Outline, ResponseAnchor
from rtllm.scheduling.connection_pool import (
    IDLE_BEFORE_CLOSED,
    NEXT_TRY,
    ROTATE_AT,
    ConnectionPool,
    Upkeep,
)
from rtllm.scheduling.lanes import LaneChoice

NOTHING = KnownPrefix((), 0, b"", frozenset())
NOBODY = Origin.of(Outline.of(()))


class Rig:
    """A pool with open connections and a short way to run attempts on it."""

    def __init__(self, *, lanes: bool = True, connections: int = 1, limit: int = 8) -> None:
        self.pool = ConnectionPool(lanes=lanes, max_connections=limit)
        self.numbers = itertools.count(1)
        self.now = 0.0
        for _ in range(connections):
            self.open()

    def open(self) -> int:
        number = self.pool.add("m")
        self.pool.mark_open(number, self.now)
        return number

    def lane_choice(
        self, conversation: int = 1, anchor: ResponseAnchor | None = None
    ) -> LaneChoice:
        lane_choice = self.pool.choose(conversation, anchor, "m", self.now)
        assert lane_choice is not None, "a new connection is wanted"
        return lane_choice

    def send(
        self, conversation: int = 1, anchor: ResponseAnchor | None = None
    ) -> tuple[int, LaneChoice]:
        lane_choice, attempt = self.lane_choice(conversation, anchor), next(self.numbers)
        self.pool.commit(attempt, lane_choice, conversation, anchor, self.now)
        return attempt, lane_choice

    def end(self, attempt: int, *, stored: bool = False) -> ResponseAnchor:
        lane_address = self.pool.end(attempt, f"r{attempt}", self.now)
        return ResponseAnchor(
            f"r{attempt}",
            f"m{attempt}",
            "m",
            NOTHING,
            NOBODY,
            False,
            lane_address or LaneAddress(0, None),
            stored,
        )

    def answer(self, conversation: int = 1, anchor: ResponseAnchor | None = None) -> ResponseAnchor:
        attempt, _ = self.send(conversation, anchor)
        self.pool.mark_in_progress(attempt)
        return self.end(attempt)

    def reaches(self, anchor: ResponseAnchor, conversation: int = 1) -> bool:
        return self.pool.can_continue(anchor, conversation)


# -- lanes --------------------------------------------------------------------------------


def test_a_continuation_never_runs_on_its_parents_lane() -> None:
    rig = Rig()
    parent = rig.answer()
    for _ in range(12):
        _, lane_choice = rig.send(anchor=parent) if rig.reaches(parent) else (0, None)
        assert lane_choice is None or (
            lane_choice.connection == 1 and lane_choice.lane != parent.lane_address.lane
        )


def test_a_barge_in_forks_next_to_the_cut_answer() -> None:
    rig = Rig()
    parent = rig.answer()
    cut, lane_choice = rig.send(anchor=parent)
    rig.pool.abandon(cut)
    _, sibling = rig.send(anchor=parent)
    assert (sibling.connection, lane_choice.connection) == (1, 1)
    assert len({parent.lane_address.lane, lane_choice.lane, sibling.lane}) == 3


def test_six_running_drafts_their_parent_and_the_new_one_fit() -> None:
    rig = Rig()
    parent = rig.answer()
    for _ in range(7):
        assert rig.reaches(parent)
        rig.send(anchor=parent)
    assert not rig.reaches(parent)


def test_a_parent_survives_seven_completed_cuts_and_any_number_after_them() -> None:
    rig = Rig()
    parent = rig.answer()
    for _ in range(20):
        rig.answer(anchor=parent)
        assert rig.reaches(parent)


def test_the_last_states_stay_alive_and_the_oldest_goes_first() -> None:
    rig = Rig()
    states = [rig.answer()]
    for _ in range(9):
        states.append(rig.answer(anchor=states[-1]))
    assert [rig.reaches(state) for state in states] == [False] * 2 + [True] * 8


def test_abandoned_answers_are_evicted_before_others() -> None:
    rig = Rig()
    state = rig.answer()
    abandoned: list[ResponseAnchor] = []
    for _ in range(3):
        attempt, _ = rig.send(anchor=state)
        rig.pool.abandon(attempt)
        abandoned.append(rig.end(attempt))
    later = [rig.answer(anchor=state)]
    for _ in range(5):
        later.append(rig.answer(anchor=later[-1]))
    assert all(rig.reaches(anchor) for anchor in (state, *later))
    assert not all(rig.reaches(anchor) for anchor in abandoned)


def test_a_lane_that_remembers_nothing_is_used_again_first() -> None:
    rig = Rig()
    parent = rig.answer()
    failed, lane_choice = rig.send(anchor=parent)
    rig.pool.end(failed, None, 0.0)
    assert rig.lane_choice(anchor=parent).lane == lane_choice.lane


def test_the_parents_lane_rests_until_the_fork_is_in_progress() -> None:
    rig = Rig()
    parent = rig.answer()
    fork, _ = rig.send(anchor=parent)
    for _ in range(6):
        rig.send()
    assert rig.pool.choose(1, None, "m", 0.0) is None
    rig.pool.mark_in_progress(fork)
    assert rig.pool.choose(1, None, "m", 0.0) == LaneChoice(
        1, parent.lane_address.lane, is_open=True
    )


def test_a_failed_fork_leaves_its_parent_to_be_continued() -> None:
    rig = Rig()
    parent = rig.answer()
    fork, _ = rig.send(anchor=parent)
    rig.pool.end(fork, None, 0.0)
    assert rig.reaches(parent)


def test_no_more_than_eight_run_on_a_connection() -> None:
    rig = Rig()
    for conversation in (1, 1, 1, 1, 2, 2, 3, 4):
        assert rig.send(conversation)[1].connection == 1
    assert rig.pool.choose(1, None, "m", 0.0) is None


def test_four_conversations_share_a_connection_and_the_fifth_gets_its_own() -> None:
    rig = Rig()
    states = [rig.answer(conversation) for conversation in range(1, 5)]
    assert {state.lane_address.connection for state in states} == {1}
    assert rig.pool.choose(5, None, "m", 0.0) is None
    assert rig.open() == 2
    assert rig.lane_choice(5).connection == 2


def test_names_are_never_more_than_thirty_two() -> None:
    rig = Rig()
    last: dict[int, ResponseAnchor] = {}
    names: set[str | None] = set()
    for _ in range(12):
        for conversation in range(1, 5):
            last[conversation] = rig.answer(conversation, last.get(conversation))
            names.add(last[conversation].lane_address.lane)
    assert len(names) == 32
    rig.pool.release(2)
    for _ in range(10):
        last[9] = rig.answer(9, last.get(9))
        names.add(last[9].lane_address.lane)
    assert len(names) == 32


def test_a_conversation_keeps_its_lanes_from_its_neighbours() -> None:
    rig = Rig()
    mine = rig.answer(1)
    for _ in range(30):
        for other in (2, 3, 4):
            rig.answer(other)
    assert rig.reaches(mine, 1)


# -- connections --------------------------------------------------------------------------


def test_a_known_conversation_keeps_its_connection() -> None:
    rig = Rig(connections=2)
    first = rig.answer(1)
    assert rig.lane_choice(1).connection == first.lane_address.connection


def test_a_connection_to_avoid_is_avoided() -> None:
    rig = Rig(connections=2)
    parent = rig.answer()
    assert not rig.pool.can_continue(parent, 1, {1})
    lane_choice = rig.pool.choose(1, parent, "m", 0.0, {1})
    assert lane_choice is not None
    assert lane_choice.connection == 2


def test_a_lost_connection_takes_its_memory_along_and_tells_what_ran() -> None:
    rig = Rig()
    parent = rig.answer()
    running, _ = rig.send(anchor=parent)
    assert rig.pool.remove(1) == [running]
    assert not rig.reaches(parent)
    assert rig.pool.end(running, "r9", 0.0) is None
    assert rig.pool.remove(1) == []


def test_a_stored_answer_is_continued_over_any_connection() -> None:
    rig = Rig()
    attempt, _ = rig.send()
    stored = rig.end(attempt, stored=True)
    rig.pool.remove(1)
    assert rig.reaches(stored)
    assert rig.pool.choose(1, stored, "m", 0.0) is None
    assert rig.open() == 2
    assert rig.lane_choice(1, stored).connection == 2


def test_an_evicted_answer_is_unavailable() -> None:
    rig = Rig()
    parent = rig.answer()
    rig.pool.evict(parent)
    assert not rig.reaches(parent)


def test_turns_wait_for_a_connection_that_is_being_made() -> None:
    rig = Rig(connections=0)
    assert rig.pool.choose(1, None, "m", 0.0) is None
    number = rig.pool.add("m")
    lane_choice = rig.lane_choice()
    assert (lane_choice.connection, lane_choice.is_open) == (number, False)
    rig.pool.mark_open(number, 0.0)
    assert rig.lane_choice().is_open


def test_without_lanes_one_turn_waits_for_a_connection() -> None:
    rig = Rig(lanes=False, connections=0)
    number = rig.pool.add("m")
    rig.pool.wait_for(number, +1)
    assert rig.pool.choose(2, None, "m", 0.0) is None
    rig.pool.wait_for(number, -1)
    assert rig.lane_choice(2).connection == number


def test_surplus_connections_are_the_idle_ones_longest_unused() -> None:
    rig = Rig(connections=4, limit=2)
    rig.answer(1)
    attempt, lane_choice = rig.send(1)
    assert lane_choice.connection == 1
    del attempt
    assert rig.pool.surplus() == [2, 3]
    assert Rig(connections=2, limit=2).pool.surplus() == []


def test_an_idle_side_call_is_displaced_only_after_a_while() -> None:
    rig = Rig()
    for conversation in range(1, 5):
        rig.answer(conversation)
        rig.answer(conversation)
    assert rig.pool.choose(5, None, "m", 1000.0) is None


# -- without lanes ------------------------------------------------------------------------


def test_without_lanes_the_idle_home_is_continued() -> None:
    rig = Rig(lanes=False, connections=2)
    parent = rig.answer()
    assert rig.lane_choice(1, parent) == LaneChoice(
        parent.lane_address.connection, None, is_open=True
    )


def test_without_lanes_a_running_answer_blocks_its_connection() -> None:
    rig = Rig(lanes=False, connections=2)
    parent = rig.answer()
    _, lane_choice = rig.send(anchor=parent)
    assert not rig.reaches(parent)
    assert rig.lane_choice(1).connection != lane_choice.connection


def test_without_lanes_an_abandoned_answer_is_not_an_anchor() -> None:
    rig = Rig(lanes=False)
    attempt, _ = rig.send()
    rig.pool.abandon(attempt)
    assert not rig.reaches(rig.end(attempt))


def test_without_lanes_another_callers_connection_is_not_warm() -> None:
    rig = Rig(lanes=False)
    mine = rig.answer(1)
    assert rig.pool.choose(2, None, "m", 0.0) is None
    assert rig.reaches(mine, 1)


@pytest.mark.parametrize("lanes", [True, False])
def test_spares_are_wanted_where_a_barge_in_would_wait_for_one(*, lanes: bool) -> None:
    rig = Rig(lanes=lanes, connections=0)
    assert rig.pool.count_missing_warm(1) == 1
    rig.open()
    assert rig.pool.count_missing_warm(1) == 0
    rig.send()
    assert rig.pool.count_missing_warm(1) == (0 if lanes else 1)


def test_a_host_that_proves_to_have_no_lanes_keeps_the_newest_state_alone() -> None:
    rig = Rig()
    old = rig.answer()
    new = rig.answer(anchor=old)
    rig.pool.stop_using_lanes()
    assert [rig.reaches(old), rig.reaches(new)] == [False, True]
    assert rig.lane_choice(1, new).lane is None


def test_what_runs_moves_to_the_default_lane_and_still_ends() -> None:
    rig = Rig()
    attempt, _ = rig.send()
    rig.pool.stop_using_lanes()
    assert rig.pool.choose(1, None, "m", 0.0) is None
    ended = rig.end(attempt)
    assert ended.lane_address == LaneAddress(1, None)
    assert rig.reaches(ended)


def test_drains_are_distinguished_from_turns() -> None:
    rig = Rig()
    attempt, _ = rig.send()
    assert not rig.pool.runs_only_drains(1)
    rig.pool.abandon(attempt)
    assert rig.pool.runs_only_drains(1)
    assert not rig.pool.runs_only_drains(7)


# -- upkeep ------------------------------------------------------------------------------------


def upkeep_rig(*, lifetime: float = 3600.0, count: int = 1) -> ConnectionPool:
    pool = ConnectionPool(lanes=True, lifetime=lifetime)
    for _ in range(count):
        pool.mark_open(pool.add("m"), 0.0)
    return pool


def use(pool: ConnectionPool, now: float, attempt: int = 1) -> None:
    lane_choice = pool.choose(1, None, "m", now)
    assert lane_choice is not None
    pool.commit(attempt, lane_choice, 1, None, now)
    pool.end(attempt, f"r{attempt}", now)


def test_a_connection_is_exchanged_before_its_lifetime_is_over() -> None:
    pool = upkeep_rig()
    for minute in range(0, 55, 5):
        use(pool, minute * 60.0, minute + 1)
        assert pool.upkeep(minute * 60.0).rotate == ()
    use(pool, 54.9 * 60, 99)
    due = pool.upkeep(54.9 * 60)
    assert due.next_at == pytest.approx(55 * 60)
    assert pool.upkeep(55 * 60.0).rotate == (1,)


def test_an_exchange_that_failed_is_tried_again() -> None:
    pool = upkeep_rig(lifetime=1200.0)
    use(pool, 1000.0)
    assert pool.upkeep(1100.0) == Upkeep((1,), (), 1100.0 + NEXT_TRY)
    assert pool.upkeep(1101.0).rotate == ()
    assert pool.upkeep(1100.0 + NEXT_TRY).rotate == (1,)


def test_a_connection_that_is_unused_is_closed() -> None:
    pool = upkeep_rig(count=2)
    use(pool, 500.0)
    assert pool.upkeep(IDLE_BEFORE_CLOSED).close == (2,)
    assert pool.upkeep(500.0 + IDLE_BEFORE_CLOSED).close == (1, 2)


def test_an_unused_connection_is_not_replaced_forever() -> None:
    pool = upkeep_rig(lifetime=600.0)
    use(pool, 100.0)
    assert pool.upkeep(550.0).rotate == (1,)
    new = pool.add("m")
    pool.mark_open(new, 550.0)
    pool.replace_connection(1, new)
    assert pool.upkeep(100.0 + IDLE_BEFORE_CLOSED).close == (new,)


def test_a_connection_on_which_an_answer_runs_is_not_idle() -> None:
    pool = upkeep_rig()
    lane_choice = pool.choose(1, None, "m", 0.0)
    assert lane_choice is not None
    pool.commit(1, lane_choice, 1, None, 0.0)
    due = pool.upkeep(IDLE_BEFORE_CLOSED)
    assert due.close == ()
    assert due.next_at == 2 * IDLE_BEFORE_CLOSED


def test_nothing_is_due_when_nothing_is_open() -> None:
    pool = ConnectionPool(lanes=True)
    pool.add("m")
    assert pool.upkeep(1e9) == Upkeep((), (), None)


@given(st.floats(40.0, 1e5), st.lists(st.floats(0.0, 1e5), max_size=20))
def test_a_check_at_the_announced_time_finds_an_old_connection_in_time(
    lifetime: float, uses: list[float]
) -> None:
    pool = upkeep_rig(lifetime=lifetime)
    due = pool.upkeep(0.0)
    for attempt, at in enumerate(sorted(uses), 1):
        while due.next_at is not None and due.next_at <= at:
            looked = due.next_at
            due = pool.upkeep(looked)
            if due.close:
                return
            if due.rotate:
                assert looked == pytest.approx(lifetime * ROTATE_AT)
                return
        assert at < lifetime * ROTATE_AT
        use(pool, at, attempt)


def test_a_connection_for_one_model_takes_no_other() -> None:
    pool = ConnectionPool(lanes=False, one_model=True)
    pool.mark_open(pool.add("m"), 0.0)
    assert pool.choose(1, None, "other", 0.0) is None
    assert pool.choose(1, None, "m", 0.0) == LaneChoice(1, None, is_open=True)


# -- questions ---------------------------------------------------------------------------------


def test_a_choice_changes_nothing_and_is_repeated_exactly() -> None:
    """Also where another conversation would have to lose its lanes: only taking evicts it."""
    pool = ConnectionPool(lanes=True, max_connections=1)
    number = pool.add("m")
    pool.mark_open(number, 0.0)
    for conversation in range(1, 5):
        lane_choice = pool.choose(conversation, None, "m", 0.0)
        assert lane_choice is not None
        pool.commit(conversation, lane_choice, conversation, None, float(conversation))
        pool.end(conversation, None, float(conversation))
    before = repr(pool)
    lane_choice = pool.choose(9, None, "m", 100.0)
    assert lane_choice is not None
    assert lane_choice.evicts == 1
    assert pool.choose(9, None, "m", 100.0) == lane_choice
    assert repr(pool) == before
    pool.commit(9, lane_choice, 9, None, 100.0)
    assert repr(pool) != before
