"""Fingerprints are by value: equal exactly where the model would see the same."""

import pytest

from rtllm.codec.fingerprint import fingerprint
from rtllm.content.items import (
    Image,
    Item,
    Message,
    Opaque,
    Reasoning,
    Text,
    ToolCall,
    ToolOutput,
    is_system,
)

CALL = ToolCall("c1", "look_up", '{"a":1,"b":{"x":[1,2],"y":null}}')
PICTURE = Image("https://example.com/a.png")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (CALL, ToolCall("c1", "look_up", '{ "b": {"y": null, "x": [1, 2]},\n "a": 1 }')),
        (
            Message("user", (Text("Hello, "), Text("you"))),
            Message("user", (Text("Hello, you"),)),
        ),
        (
            Message("system", (Text("Be brief.", cache_breakpoint=True),)),
            Message.of("system", "Be brief."),
        ),
        (
            Message("user", (PICTURE, Text("a", cache_breakpoint=True), Text("b"))),
            Message("user", (PICTURE, Text("ab"))),
        ),
        (ToolCall("c1", "f", "{broken"), ToolCall("c1", "f", "{broken")),
        (ToolCall("c1", "f", " "), ToolCall("c1", "f", "{}")),
    ],
    ids=[
        "arguments respaced",
        "texts split",
        "breakpoint",
        "breakpoint by a picture",
        "broken",
        "blank",
    ],
)
def test_equal_to_the_model_are_equal(one: Item, other: Item) -> None:
    assert fingerprint(one) == fingerprint(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (CALL, ToolCall("c2", CALL.name, CALL.arguments)),
        (CALL, ToolCall(CALL.call_id, "search", CALL.arguments)),
        (CALL, ToolCall(CALL.call_id, CALL.name, '{"a":1,"b":{"x":[2,1],"y":null}}')),
        (CALL, ToolCall(CALL.call_id, CALL.name, '{"a":"1","b":{"x":[1,2],"y":null}}')),
        (ToolCall("c1", "f", "{broken"), ToolCall("c1", "f", "{broken ")),
        (ToolCall("c1", "f", "{}"), ToolCall("c1", "f", "null")),
        (ToolCall("c1", "f", '"{broken"'), ToolCall("c1", "f", "{broken")),
        (ToolOutput("c1", "a"), ToolOutput("c1", "b")),
        (ToolOutput("c1", "a"), ToolOutput("c2", "a")),
        (Message.of("user", "a"), Message.of("assistant", "a")),
        (Message.of("system", "a"), Message.of("developer", "a")),
        (Message.of("assistant", "a", "commentary"), Message.of("assistant", "a")),
        (Message.of("assistant", "a", "commentary"), Message.of("assistant", "a", "final_answer")),
        (Message("user", (PICTURE, Text("a"))), Message.of("user", "a")),
        (Message("user", (PICTURE, Text("a"))), Message("user", (Text("a"), PICTURE))),
        (Message("user", (Text("a"), PICTURE, Text("b"))), Message("user", (Text("ab"), PICTURE))),
        (
            Message("user", (PICTURE,)),
            Message("user", (Image(PICTURE.url, "low"),)),
        ),
        (Message("user", (PICTURE,)), Message("user", (Image("https://example.com/b.png"),))),
        (Reasoning(b'{"a":1}'), Reasoning(b'{"a":2}')),
        (Opaque("a", b"{}"), Opaque("b", b"{}")),
        (Opaque("reasoning", b"{}"), Reasoning(b"{}")),
        (ToolOutput("output", "c1"), ToolOutput("c1", "output")),
    ],
)
def test_different_to_the_model_are_different(one: Item, other: Item) -> None:
    assert fingerprint(one) != fingerprint(other)


def test_a_fingerprint_has_16_bytes() -> None:
    assert len(fingerprint(CALL)) == 16


@pytest.mark.parametrize("role", ["system", "developer"])
def test_developer_texts_are_system_texts(role: str) -> None:
    assert is_system(Message.of(role, "a"))  # type: ignore[arg-type]


@pytest.mark.parametrize("item", [Message.of("user", "a"), Message.of("assistant", "a"), CALL])
def test_nothing_else_is_a_system_text(item: Item) -> None:
    assert not is_system(item)


def test_the_text_of_a_message_is_all_its_texts() -> None:
    message = Message("user", (Text("a"), PICTURE, Text("b")))
    assert (message.text, message.has_images) == ("ab", True)
    assert not Message.of("user", "ab").has_images
