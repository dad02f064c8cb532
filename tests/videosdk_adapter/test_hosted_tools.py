"""Hosted tools on VideoSDK, which has no place for them but the request's body."""

from __future__ import annotations

from rtllm.simulator import Hosted, Reply, Request
from videosdk_adapter.stage import Host, stage
from videosdk_adapter.talks import Plain, talk, tool

SEARCHED = Hosted("web_search_call", {"action": {"type": "search", "query": "weather"}})


class Forecaster(Plain):
    @tool
    async def look(self, what: str) -> str:
        """Look something up.

        Args:
            what: What to look up.
        """
        return f"found {what}"


async def test_they_are_offered_next_to_the_agents_own(host: Host) -> None:
    chat = not host["streaming"]

    def model(request: Request) -> Reply | str:
        return "Sunny." if chat else Reply.of(SEARCHED, "Sunny.")

    search = {"type": "custom", "custom": {"name": "search"}} if chat else {"type": "web_search"}
    async with stage(model, extra_body={"tools": [search]}, **host) as st:
        async with talk(st.llm, Forecaster()) as on:
            await on.turn("How is the weather?")
        assert [t["type"] for t in st.entries[0].body["tools"]] == ["function", search["type"]]
        told = [item["type"] for item in st.reports[0].hosted_tool_items]
        assert told == ([] if chat else ["web_search_call"])
        await st.check(connections=None)
