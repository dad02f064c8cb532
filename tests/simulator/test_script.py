from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

import rtllm.simulator
from rtllm.simulator import (
    Call,
    Reasoning,
    Reply,
    Request,
    Simulator,
    Text,
    calls_on_demand,
    echo,
    fixed,
)
from rtllm.simulator.generation import words
from simulator.wire import connected


def request(*items: dict[str, Any]) -> Request:
    return Request({}, list(items), None, [], 0, None, 0)


def user(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": text}


def test_the_simulator_imports_nothing_of_the_client() -> None:
    root = Path(rtllm.simulator.__file__).parent
    for path in root.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                name = node.module or ""
                assert node.level == 0, path
                assert not name.startswith("rtllm") or name.startswith("rtllm.simulator"), path
            elif isinstance(node, ast.Import):
                assert not any(alias.name.startswith("rtllm") for alias in node.names), path


@pytest.mark.parametrize("text", ["", " ", "one", "one two", " one\n two  ", "ünï cödé 你好"])
def test_deltas_add_up_to_the_text(text: str) -> None:
    assert "".join(words(text)) == text


def test_echo_quotes_the_newest_user_message() -> None:
    assert echo()(request(user("one"), user("two"))) == "You said: two"


def test_fixed_answers_come_one_after_another_and_the_last_repeats() -> None:
    script = fixed("a", "b")
    assert [script(request()) for _ in range(3)] == ["a", "b", "b"]
    with pytest.raises(ValueError, match="at least one"):
        fixed()


@pytest.mark.parametrize("make", [fixed, Simulator])
def test_an_answer_in_parts_is_a_reply(make: Any) -> None:
    parts = (Text("One moment."), Call("get_weather"))
    with pytest.raises(TypeError, match=r"is \(Text\(.* expected a string or a Reply") as error:
        make(parts)
    assert 'Reply.of("One moment.", Call("get_weather"))' in str(error.value)


def test_a_part_of_another_type_is_named() -> None:
    wrong: Any = {"name": "get_weather"}
    with pytest.raises(TypeError, match=r"is \{'name': 'get_weather'\}; .* Text, Call, Reasoning"):
        Reply.of("One moment.", wrong)


async def test_a_function_that_answers_in_parts_fails_the_response() -> None:
    script: Any = lambda _: (Text("One moment."), Call("get_weather"))  # noqa: E731
    with pytest.raises(TypeError, match="expected a string or a Reply"):  # when it closes
        async with Simulator(script) as service, connected(service) as wire:
            assert (await wire.ask())["type"] == "response.failed"


def test_calls_on_demand_makes_each_line_a_call() -> None:
    asked = request(user('call look {"at":"it"}\ncall hear\nand so on'))
    assert calls_on_demand()(asked) == Reply.of(Call("look", '{"at":"it"}'), Call("hear", "{}"))


def test_calls_on_demand_quotes_every_output_in_parts_too() -> None:
    part = {"type": "input_text", "text": "noise"}
    outputs: list[dict[str, Any]] = [
        {"type": "function_call_output", "call_id": "a", "output": "a wall"},
        {"type": "function_call_output", "call_id": "b", "output": [part]},
    ]
    answer = calls_on_demand()(request(user("call look"), *outputs))
    assert answer == "The tools said: a wall; noise"


def test_arguments_may_be_given_as_an_object() -> None:
    assert Call("look", {"at": "ü"}).arguments_json == '{"at":"ü"}'


async def test_reasoning_comes_whole_only_with_its_last_event_and_can_be_sent_back() -> None:
    script = fixed(Reply.of(Reasoning("Hm.", tokens=64), Text("Yes.")), "Indeed.")
    async with Simulator(script) as service, connected(service) as wire:
        await wire.create("Is it?", model="gpt-5-mini")
        added = (await wire.until("response.output_item.added"))["item"]
        last = (await wire.rest())[-1]["response"]
        reasoning, message = last["output"]
        assert added["id"] == reasoning["id"]
        assert added["encrypted_content"] != reasoning["encrypted_content"]
        assert last["usage"]["output_tokens_details"]["reasoning_tokens"] == 64
        again = [user("Is it?"), reasoning, message, user("Really?")]
        await wire.ask_id(again, model="gpt-5-mini")
        again[1] = added
        refused = await wire.refusal(again, model="gpt-5-mini")
        assert refused["code"] == "invalid_encrypted_content"
