"""The laws hold whatever the frameworks do."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from core.framework_model import Recording, Shape, Talk
from core.law_machines import Anything, Driver, OrdinaryVoice, Twins
from rtllm.content.items import Message


class StoredOnLanes(Anything):
    store = True


class WithoutLanes(Anything):
    lanes = False


class StoredWithoutLanes(Anything):
    lanes = False
    store = True


class StoredTwins(Twins):
    store = True


class TwinsWithoutLanes(Twins):
    lanes = False


@pytest.mark.parametrize(
    "machine",
    [
        Anything,
        StoredOnLanes,
        WithoutLanes,
        StoredWithoutLanes,
        OrdinaryVoice,
        Twins,
        StoredTwins,
        TwinsWithoutLanes,
    ],
)
def test_laws_hold_for(machine: type[RuleBasedStateMachine]) -> None:
    short = issubclass(machine, Twins)
    run_state_machine_as_test(
        machine, settings=settings(stateful_step_count=12) if short else settings()
    )


@pytest.mark.parametrize("seconds", [0.5, 10.0], ids=["at a rush", "at leisure"])
@pytest.mark.parametrize("opening", ["different", "same words", "same greeting and words"])
@settings(max_examples=4)
@given(rounds=st.lists(st.permutations(range(10)), min_size=3, max_size=3))
def test_ten_conversations_in_alternation_are_each_chained_from_the_second_turn_on(
    opening: str, seconds: float, rounds: list[list[int]]
) -> None:
    driver = Driver()
    talks = [Talk(number, [Message.of("system", "You are Ada.")]) for number in range(10)]
    for talk in talks:
        if opening == "same greeting and words":
            talk.items.append(Message.of("assistant", "Hello, how can I help?"))
    for turn, order in enumerate([list(range(10)), *rounds]):
        for number in order:
            driver.now += seconds
            alike = turn == 0 and opening != "different"
            talks[number].user_says("hello" if alike else f"{number} says {turn}")
            driver.ask(talks[number])
            driver.connect_all()
            assert driver.chained is (turn > 0), f"turn {turn} of talk {number}"
            words = f"answer to {number}" if turn else "Hello."
            driver.complete(driver.attempts[0], Shape((words,)), Recording(), map_it=True)
