"""Tools, scripts and questions that several modules play on both plugins."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rtllm.simulator import (
    Call,
    Reply,
    Request,
)
from videosdk_adapter.requests import chunks_of, hello, text_of
from videosdk_adapter.stage import Stage
from videosdk_adapter.talks import Plain, tool

both_ways = pytest.mark.parametrize("streaming", [False, True], ids=["http", "socket"])

HANGS = 5.0  # virtual seconds after which a plugin is taken to wait without a limit


class Weather:
    """A tool that notes where it ran; it also runs without arguments."""

    def __init__(self) -> None:
        self.ran: list[str] = []

        @tool
        async def weather(city: str = "nowhere") -> str:
            """Tell the weather.

            Args:
                city: Where.
            """
            self.ran.append(city)
            return f"21 degrees in {city}"

        @tool
        async def broken(city: str) -> str:
            """Raise.

            Args:
                city: Where.
            """
            raise RuntimeError("no line to the weather service")

        self.agent = Plain(tools=[weather, broken])


def on_demand(request: Request) -> Reply | str:
    """``NAME CITY …`` calls the tool for each city, then tells that it is done."""
    name, *cities = request.last_user_text.split()
    if name not in ("weather", "broken"):
        return f"You said {request.last_user_text}."
    after = str(request.context).rpartition("'role': 'user'")[2]
    if "function_call_output" in after:
        return "It is done."
    return Reply.of(*(Call(name, {"city": city}) for city in cities))


async def read(st: Stage, text: str = "Hello", *, limit: float = 20) -> tuple[str, Any]:
    """What an answer came to: its text, and the error or TimeoutError that ended it."""
    try:
        async with asyncio.timeout(limit):
            chunks, error = await chunks_of(st.llm, hello(text))
    except TimeoutError as hanging:
        return "", hanging
    return text_of(chunks), error


async def say(c: Any, text: str) -> Exception | None:
    """A turn in text mode, and what went wrong in it."""
    try:
        await c.say(text)
    except Exception as error:  # noqa: BLE001 - it is looked at
        return error
    return None
