"""The estimate of tokens: near a tokenizer's count, which the benchmark measures."""

import pytest

from rtllm import Image, Item, Message, ToolCall, ToolOutput
from rtllm.content.items import Opaque
from rtllm.content.token_estimate import PER_IMAGE, PER_ITEM, estimate_input, estimate_tokens

# Counted with the vocabulary o200k_base.
COUNTED = {
    "You are a friendly receptionist. Answer in one or two short sentences, and ask back if a name "
    "was not clear. Never promise a table before the tool has confirmed it.": 35,
    '{"name": "book_table", "parameters": {"type": "object", "properties": {"guests": {"type": '
    '"integer"}, "day": {"type": "string", "description": "ISO date"}}}}': 46,
    "Guten Tag, ich m\u00f6chte gerne einen Tisch f\u00fcr vier Personen am Freitag um acht Uhr "
    "bestellen.": 19,
}


@pytest.mark.parametrize(("text", "counted"), COUNTED.items())
def test_an_estimate_is_near_the_count(text: str, counted: int) -> None:
    assert abs(estimate_tokens(text) - counted) <= 0.3 * counted


def test_no_text_has_no_tokens_and_any_text_has_some() -> None:
    assert estimate_tokens("") == 0
    assert all(estimate_tokens(text) >= 1 for text in ("a", " ", "\n", "\x00", "\U0001f600"))


def test_items_have_an_overhead_and_pictures_a_flat_count() -> None:
    picture = Message("user", (Image("data:image/png;base64," + 1000 * "A"),))
    assert estimate_input([picture]) == PER_ITEM + PER_IMAGE
    items: list[Item] = [
        Message.of("user", "Hi"),
        ToolCall("c", "f", "{}"),
        ToolOutput("c", "rain"),
        Opaque("x", b"{}"),
    ]
    assert estimate_input(items) >= 4 * PER_ITEM + 4
    assert estimate_input([], [b'{"name":"f"}'], "Be brief.") > PER_ITEM
