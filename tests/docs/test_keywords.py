"""The keywords of the constructors: explained once, listed in a page, and the same on both SDKs."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from livekit.plugins import openai as livekit_stock
from videosdk.plugins import openai as videosdk_stock

from rtllm import ChatClient, Client
from rtllm.adapters import KEYWORDS, OF_AZURE, with_keyword_docs
from rtllm_livekit import LLM, ChatLLM
from rtllm_videosdk import OpenAILLM

PAGE = Path(__file__).parents[2] / "docs" / "parameters.md"
CLASSES: Mapping[str, Callable[..., Any]] = {
    "LLM": LLM,
    "ChatLLM": ChatLLM,
    "OpenAILLM": OpenAILLM,
}
FACTORIES: tuple[Callable[..., Any], ...] = (LLM.with_azure, OpenAILLM.azure)
_NONE = "–"  # noqa: RUF001 - as in the other pages


def keywords_of(target: Callable[..., Any]) -> list[str]:
    return [name for name in inspect.signature(target).parameters if name != "self"]


def texts_of(target: Callable[..., Any]) -> dict[str, str]:
    """Read the keywords and their texts in a docstring."""
    _, _, section = (target.__doc__ or "").partition("Args:\n")
    found: dict[str, str] = {}
    for row in re.split(r"\n(?= {4}\w)", section.partition("\n\nRaises:")[0]):
        name, _, text = " ".join(row.split()).partition(": ")
        found[name] = text
    return found


@pytest.mark.parametrize("target", [*CLASSES.values(), *FACTORIES], ids=lambda t: t.__qualname__)
def test_a_docstring_explains_each_keyword(target: Callable[..., Any]) -> None:
    assert list(texts_of(target)) == keywords_of(target)
    assert all(texts_of(target).values())


def test_no_text_is_left_over() -> None:
    used = {name for target in (*CLASSES.values(), *FACTORIES) for name in keywords_of(target)}
    assert KEYWORDS.keys() == used
    assert OF_AZURE.keys() < used


def test_a_keyword_without_a_text_is_an_error() -> None:
    with pytest.raises(KeyError, match="temprature"):

        @with_keyword_docs()
        def make(temprature: float) -> None:
            """Create a model."""


def test_without_docstrings_nothing_is_added() -> None:
    @with_keyword_docs()
    def make(temprature: float) -> None: ...

    assert make.__doc__ is None


def row_of(keyword: str) -> str:
    found = {name: texts_of(target).get(keyword) for name, target in CLASSES.items()}
    several = dict.fromkeys(text for text in found.values() if text)
    texts = [
        text
        if len(several) == 1
        else f"{', '.join(f'`{name}`' for name in found if found[name] == text)}: {text}"
        for text in several
    ]
    cells = (f"`{keyword}`", *("yes" if text else _NONE for text in found.values()))
    return f"| {' | '.join(cells)} | {' '.join(texts).replace('``', '`')} |"


def test_the_page_lists_each_keyword() -> None:
    used = {name for target in CLASSES.values() for name in keywords_of(target)}
    rows = [row_of(name) for name in KEYWORDS if name in used]
    section = PAGE.read_text().partition("## The keywords of the constructors")[2]
    assert [line for line in section.splitlines() if line.startswith("| `")][: len(rows)] == rows


def test_each_new_keyword_is_on_both_sdks() -> None:
    """The original's own keywords differ; parameters of the other one go into `parameters`."""
    classes = (livekit_stock.responses.LLM, livekit_stock.LLM, videosdk_stock.OpenAILLM)
    stock = {name for one in classes for name in keywords_of(one)}
    livekit, videosdk = {*keywords_of(LLM)} - stock, {*keywords_of(OpenAILLM)} - stock
    # Calls that can't run are always answered on VideoSDK, whose pipeline would run them.
    assert livekit - videosdk == {"answer_invalid_calls"}
    assert videosdk - livekit == set()
    chat = {*keywords_of(ChatLLM)} - stock
    of_the_socket = {
        "chaining",
        "fallback",
        "lanes",
        "max_connections",
        "rebuild",
        "warm_connections",
    }
    assert livekit - chat == of_the_socket
    assert chat - livekit == set()


def test_prewarm_has_one_signature() -> None:
    """LiveKit's own `loop` comes first there; `Client` and `ChatClient` name the model."""
    livekit, videosdk = (keywords_of(kind.prewarm) for kind in (LLM, OpenAILLM))
    assert livekit == keywords_of(ChatLLM.prewarm) == ["loop", *videosdk]
    assert videosdk == ["instructions", "tools"]
    assert inspect.signature(Client.prewarm) == inspect.signature(ChatClient.prewarm)
