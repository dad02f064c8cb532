"""Provider tools on LiveKit: offered, reported, chained and put back after a loss."""

from __future__ import annotations

from livekit.agents import Agent
from livekit.plugins.openai import tools as provider

from livekit_adapter.sessions import session_of
from livekit_adapter.stage import stage
from rtllm.simulator import Abort, Hosted, Reply, Request

SEARCHED = Hosted("web_search_call", {"action": {"type": "search", "query": "weather"}})


def model(request: Request) -> Reply | str:
    if "weather" in request.last_user_text:
        return Reply.of(SEARCHED, "Sunny.")
    return "Yes."


async def test_a_web_search_is_offered_reported_and_kept() -> None:
    broken = {"fault": [None, None, Abort(phase="sent")]}
    async with stage(model, store=False, simulator=broken) as on:
        agent = Agent(instructions="Be kind.", tools=[provider.WebSearch()])
        async with session_of(on.llm, agent) as session:
            for words in ("How is the weather?", "Sure?", "Thanks"):
                await session.run(user_input=words)
        first, second, dropped, whole = on.entries
        assert [t["type"] for t in first.body["tools"]] == ["web_search"]
        assert [item["type"] for r in on.reports for item in r.hosted_tool_items] == [
            "web_search_call"
        ]
        assert second.previous_response_id == first.response_id
        assert dropped.outcome == "dropped"
        kinds = [item.get("type", "message") for item in whole.input]
        assert kinds == ["message", "message", "web_search_call", *["message"] * 4]
        assert not on.service.journal.refused
