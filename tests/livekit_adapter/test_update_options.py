"""Settings that change on a live LLM: the next request has them."""

from __future__ import annotations

from typing import Any

import pytest
from livekit.agents.types import NOT_GIVEN

from livekit_adapter.requests import answer, context, hello
from livekit_adapter.stage import stage
from rtllm import ConfigError
from rtllm.simulator import fixed
from support.changes import INVALID_CHANGES
from support.oracle import KEY, is_chained


async def test_the_next_request_has_the_new_settings() -> None:
    async with stage("Hello.", temperature=0.2, model="gpt-4.1") as st:
        await answer(st, hello())
        st.llm.update_options(temperature=0.9, verbosity="low", parameters={"top_p": 0.5})
        await answer(st, hello())
        st.llm.update_options(temperature=NOT_GIVEN, parameters=None)
        await answer(st, hello())
        first, second, third = (entry.body for entry in st.entries)
        assert (first["temperature"], "top_p" in first) == (0.2, False)
        assert (second["temperature"], second["top_p"]) == (0.9, 0.5)
        assert ("temperature" in third, "top_p" in third) == (False, False)


async def test_another_model_and_its_family() -> None:
    async with stage("Hello.", model="gpt-4.1") as st:
        st.llm.update_options(model="gpt-5.1")
        await answer(st, hello())
        assert st.llm.model == st.entries[0].body["model"] == "gpt-5.1"
        assert st.entries[0].body["reasoning"] == {"effort": "none"}


async def test_settings_that_do_not_change_the_context_keep_the_chain() -> None:
    ctx = context(("user", "Hello"))
    async with stage(fixed("Hello."), temperature=0.2) as st:
        said = (await answer(st, ctx)).text
        ctx.add_message(role="assistant", content=said)
        ctx.add_message(role="user", content="Again")
        st.llm.update_options(temperature=0.9)
        await answer(st, ctx)
        assert is_chained(st.entries[-1])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        *INVALID_CHANGES,
        ({"api_key": KEY}, "api_key can't be changed"),
        ({"model": NOT_GIVEN}, "model is None"),
    ],
)
async def test_what_is_not_valid_changes_nothing(options: dict[str, Any], words: str) -> None:
    async with stage("Hello.", temperature=0.2) as st:
        with pytest.raises(ConfigError, match=words):
            st.llm.update_options(temperature=0.9, **options)
        await answer(st, hello())
        assert st.entries[0].body["temperature"] == 0.2


async def test_the_named_conversation_of_all_requests() -> None:
    """Its items get fresh ids with each request, and another caller said the same before."""
    async with stage(fixed("Hello."), conversation="call-7") as st:
        for words in (["Hello"], ["Hello", "Hello.", "Again"]):
            roles = ("user", "assistant", "user")
            await answer(st, context(*zip(roles, words, strict=False)))
        assert is_chained(st.entries[-1])
        st.llm.update_options(conversation="call-8")
        await answer(st, context(("user", "Hello"), ("assistant", "Hello."), ("user", "Hm")))
        assert not is_chained(st.entries[-1])
