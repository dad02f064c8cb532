"""Answers in the form of a Python type, over every way."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel
from videosdk.agents import ChatContext, ChatRole

from rtllm import parse_answer
from videosdk_adapter.requests import chunks_of
from videosdk_adapter.stage import Host, stage


class Weather(BaseModel):
    """What the weather is like."""

    city: str
    degrees: int


@pytest.mark.parametrize("place", ["call", "parameters"])
async def test_a_pydantic_model_is_the_form_of_the_answer(host: Host, place: str) -> None:
    context = ChatContext.empty()
    context.add_message(role=ChatRole.USER, content="How is the weather?")
    form: dict[str, Any] = {"response_format": Weather}
    options = {**host, "parameters": form} if place == "parameters" else host
    async with stage('{"city":"Ulm","degrees":20}', **options) as st:
        asked = form if place == "call" else {}
        chunks, _ = await chunks_of(st.llm, context, **asked)
        said = "".join(chunk.content for chunk in chunks)
        assert parse_answer(Weather, said) == Weather(city="Ulm", degrees=20)
        body = st.entries[0].body
        sent = (
            body["text"]["format"] if host["streaming"] else body["response_format"]["json_schema"]
        )
        assert sent["strict"] is True
        assert sent["name"] == "Weather"
