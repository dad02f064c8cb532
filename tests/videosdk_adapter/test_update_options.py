"""Settings that change on a live LLM: the next request has them."""

from __future__ import annotations

from typing import Any

import pytest

from rtllm import ConfigError
from rtllm.simulator import fixed
from support.changes import INVALID_CHANGES
from support.oracle import is_chained
from videosdk_adapter.requests import chunks_of, context, hello
from videosdk_adapter.scenes import both_ways
from videosdk_adapter.stage import stage


@both_ways
async def test_the_next_request_has_the_new_settings(streaming: bool) -> None:
    async with stage("Hello.", streaming=streaming, temperature=0.2, model="gpt-4.1") as st:
        await chunks_of(st.llm, hello())
        st.llm.update_options(temperature=0.9, model="gpt-4.1-mini", parameters={"user": "me"})
        await chunks_of(st.llm, hello())
        first, second = (entry.body for entry in st.entries)
        assert (first["temperature"], first["model"], "user" in first) == (0.2, "gpt-4.1", False)
        assert (second["temperature"], second["model"]) == (0.9, "gpt-4.1-mini")
        assert second["user"] == "me"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        *INVALID_CHANGES,
        ({"timeout": 0}, "timeout is 0"),
        ({"max_retries": -1}, "max_retries is -1"),
    ],
)
async def test_what_is_not_valid_changes_nothing(options: dict[str, Any], words: str) -> None:
    async with stage("Hello.", temperature=0.2, model="gpt-4.1") as st:
        with pytest.raises(ConfigError, match=words):
            st.llm.update_options(temperature=0.9, **options)
        await chunks_of(st.llm, hello())
        assert st.entries[0].body["temperature"] == st.llm.temperature == 0.2


async def test_the_named_conversation_of_all_requests() -> None:
    """Its items get fresh ids with each request."""
    async with stage(fixed("Hello."), conversation="call-7") as st:
        await chunks_of(st.llm, hello())
        again = [("system", "Be kind."), ("user", "Hello"), ("assistant", "Hello.")]
        await chunks_of(st.llm, context(*again, ("user", "Again")))
        assert is_chained(st.entries[-1])
        st.llm.update_options(conversation="call-8")
        await chunks_of(st.llm, context(*again, ("user", "Hm")))
        assert not is_chained(st.entries[-1])


@both_ways
async def test_an_attribute_and_an_object_changed_in_place(streaming: bool) -> None:
    body = {"user": "one"}
    async with stage("Hello.", streaming=streaming, model="gpt-4.1", extra_body=body) as st:
        await chunks_of(st.llm, hello())
        st.llm.temperature = 0.3
        st.llm.extra_body["user"] = "two"
        await chunks_of(st.llm, hello())
        st.llm.extra_body = None
        await chunks_of(st.llm, hello())
        sent = [(entry.body["temperature"], entry.body.get("user")) for entry in st.entries]
        assert sent == [(0.7, "one"), (0.3, "two"), (0.3, None)]
