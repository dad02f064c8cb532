from __future__ import annotations

import pytest

from rtllm.simulator.memory import ConnectionMemory, DropOn, Remembered, Store
from rtllm.simulator.refusal import RequestError


def response(name: str) -> Remembered:
    return Remembered(name, ())


def remembering(drop_on: DropOn = "start", **lanes: str) -> ConnectionMemory:
    memory = ConnectionMemory(Store(), drop_on=drop_on)
    for lane, name in lanes.items():
        memory.complete(lane, response(name))
    return memory


def test_every_lane_keeps_only_its_newest_response() -> None:
    memory = remembering(a="a1", b="b1")
    memory.complete("a", response("a2"))
    assert memory.held() == {"a": "a2", "b": "b1"}
    with pytest.raises(RequestError) as caught:
        memory.begin("c", "a1")
    assert caught.value.code == "previous_response_not_found"
    assert caught.value.status == 400


def test_the_default_lane_is_a_lane_like_the_others() -> None:
    memory = remembering(a="a1")
    memory.complete(None, response("d1"))
    assert memory.begin("b", "d1") == response("d1")
    assert memory.held() == {"a": "a1", None: "d1"}


def test_a_lane_forgets_at_the_start_of_its_next_request_which_still_reads_it() -> None:
    memory = remembering(a="a1")
    assert memory.begin("a", "a1") == response("a1")
    assert memory.held() == {}


def test_a_fork_misses_a_parent_whose_lane_has_advanced() -> None:
    memory = remembering(a="a1")
    memory.begin("a", "a1")
    with pytest.raises(RequestError):
        memory.begin("b", "a1")


def test_dropping_at_the_end_keeps_the_old_response_until_the_new_one_is_complete() -> None:
    memory = remembering("end", a="a1")
    memory.begin("a", "a1")
    assert memory.begin("b", "a1") == response("a1")
    memory.complete("a", response("a2"))
    with pytest.raises(RequestError):
        memory.begin("c", "a1")


def test_a_miss_drops_nothing() -> None:
    memory = remembering(a="a1")
    with pytest.raises(RequestError):
        memory.begin("a", "unknown")
    memory.fail("a", "unknown")
    assert memory.held() == {"a": "a1"}


@pytest.mark.parametrize("drop_on", ["start", "end"])
def test_an_error_on_the_same_lane_evicts_the_parent(drop_on: DropOn) -> None:
    memory = remembering(drop_on, a="a1")
    memory.begin("a", "a1")
    memory.fail("a", "a1")
    assert memory.held() == {}


@pytest.mark.parametrize("drop_on", ["start", "end"])
def test_an_error_of_a_fork_leaves_the_parent(drop_on: DropOn) -> None:
    memory = remembering(drop_on, a="a1")
    memory.begin("b", "a1")
    memory.fail("b", "a1")
    assert memory.held() == {"a": "a1"}


def test_a_stored_response_is_found_from_any_connection_and_survives_eviction() -> None:
    store = Store()
    store.keep(response("s1"), [{"id": "msg_1", "type": "message"}], {"id": "s1"})
    first, second = ConnectionMemory(store), ConnectionMemory(store)
    first.complete("a", response("s1"))
    first.begin("a", "s1")
    first.fail("a", "s1")
    assert first.begin("a", "s1") == second.begin(None, "s1") == response("s1")


def test_what_was_not_stored_stays_with_its_connection() -> None:
    store = Store()
    first, second = ConnectionMemory(store), ConnectionMemory(store)
    first.complete("a", response("a1"))
    with pytest.raises(RequestError):
        second.begin("a", "a1")
