"""HTTP instead of the socket: by choice, and when the socket doesn't do."""

import openai
import pytest
from livekit.agents import Agent, function_tool

from livekit_adapter.sessions import session_of
from livekit_adapter.stage import Stage, stage
from rtllm.simulator import Call, RefuseHandshake, Reply, Request, Simulator
from rtllm_livekit import LLM


@function_tool
async def look(what: str) -> str:
    """Look something up.

    Args:
        what: What to look up.
    """
    return f"found {what}"


def model(request: Request) -> Reply | str:
    if request.trailing_outputs:
        return f"It is so, says {request.index}."
    if "look" in request.last_user_text:
        return Reply.of(Call("look", {"what": "it"}))
    return f"Answer {request.index}."


def checked(on: Stage) -> None:
    for entry in on.entries:
        assert entry.transport == "http"
        on.check_context(entry)


@pytest.mark.parametrize("store", [True, False])
async def test_a_session_over_http(*, store: bool) -> None:
    async with stage(model, store=store, use_websocket=False) as on:
        async with session_of(on.llm, Agent(instructions="Be kind.", tools=[look])) as session:
            for words in ("Hello", "Please look", "Thanks"):
                await session.run(user_input=words)
        checked(on)
        assert [e.outcome for e in on.entries] == ["completed"] * 4
        chained = [bool(e.previous_response_id) for e in on.entries]
        assert chained == [False, store, store, store]


async def test_a_host_without_a_socket_serves_a_session_all_the_same() -> None:
    refuse = {"on_connect": lambda _: RefuseHandshake(status=404)}
    async with stage(model, simulator=refuse, fallback="http") as on:
        on.llm.prewarm()
        async with session_of(on.llm, Agent(instructions="Be kind.")) as session:
            for words in ("Hello", "Thanks"):
                await session.run(user_input=words)
        checked(on)
        assert [e.outcome for e in on.entries] == ["completed"] * 2


async def test_the_users_client_carries_the_requests() -> None:
    async with Simulator(model, api_key="theirs") as service:
        client = openai.AsyncClient(
            api_key="theirs", base_url=service.base_url, default_headers={"x-tenant": "7"}
        )
        model_ = LLM(client=client, use_websocket=False)
        async with session_of(model_, Agent(instructions="Be kind.")) as session:
            await session.run(user_input="Hello")
        await model_.aclose()
        assert service.journal.entries[0].headers["x-tenant"] == "7"
        assert not client.is_closed()
        await client.close()
