"""Rarer parts of the framework: graphs that lead a session, changed pipelines, warm transfer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from videosdk.agents.metrics import metrics_collector
from videosdk.agents.warm_transfer import SIPDestination, WarmTransferConfig
from videosdk.agents.warm_transfer._runner import WarmTransferRunner

from rtllm.simulator import Call, Reply, Request, Simulator
from rtllm_videosdk import OpenAILLM
from support.oracle import KEY
from support.stock import both
from videosdk_adapter.phone import Voice
from videosdk_adapter.requests import chunks_of, hello, text_of
from videosdk_adapter.scenes import both_ways
from videosdk_adapter.stage import Host, stage
from videosdk_adapter.talks import Plain, talk, tool

# -- a graph leads the conversation ---------------------------------------------------------------


class Graph:
    """A conversational graph, with what the framework's own adapter asks of one."""

    def __init__(self, words: str | None = None) -> None:
        self.decisions: list[Any] = []
        self._words = words

    def set_callbacks(self, **_: Any) -> None: ...

    def get_system_instructions(self) -> str:
        return "Answer in JSON."

    async def handle_input(self, text: str) -> str:
        return text

    async def handle_decision(self, decision: Any) -> str:
        self.decisions.append(decision)
        return self._words or str(decision["response_to_user"])

    def stream_conversational_graph_response(
        self, text: str, state: dict[str, Any]
    ) -> Iterator[str]:
        begin = text.find('"response_to_user":"')
        if begin >= 0:
            told = text[begin + len('"response_to_user":"') :].partition('"')[0]
            new = told[state["yielded_content_length"] :]
            state["yielded_content_length"] = len(told)
            if new:
                yield new


def decided(words: str) -> str:
    return json.dumps({"response_to_user": words, "extracted_values": []}, separators=(",", ":"))


def in_json(request: Request) -> Reply | str:
    """``weather`` calls the tool; every answer is a decision in JSON."""
    if request.last_user_text == "weather" and not request.trailing_outputs:
        return Reply.of(Call("weather", {"city": "Paris"}))
    return decided(f"To {request.last_user_text}.")


@tool
async def weather(city: str) -> str:
    """Tell the weather.

    Args:
        city: Where.
    """
    return f"21 degrees in {city}"


async def test_a_graph_leads_a_session(host: Host) -> None:
    graph = Graph()
    async with (
        stage(in_json, **host) as st,
        talk(st.llm, Plain(tools=[weather]), conversational_graph=graph) as c,
    ):
        for text in ("one", "two", "three"):
            await c.turn(text)
            assert c.last == ("assistant", f"To {text}.")
        assert [d["response_to_user"] for d in graph.decisions] == [
            "To one.",
            "To two.",
            "To three.",
        ]
        assert {"user", "assistant", "system"} == {role for role, _ in st.entries[-1].texts()}
        assert "response_to_user" not in str(st.entries[-1].context)
        assert st.errors == []
        assert st.service.journal.refused == []
        for entry in st.entries:
            st.check_context(entry)


async def test_a_graphs_words_reach_the_voice_as_they_come(host: Host) -> None:
    voice = Voice()
    async with (
        stage(in_json, **host) as st,
        talk(st.llm, tts=voice, conversational_graph=Graph()) as c,
    ):
        await c.turn("one")
        await c.turn("two")
        assert voice.said == ["To one.", "To two."]
        assert st.errors == []


async def test_a_graph_that_says_something_else_is_what_the_model_sees(host: Host) -> None:
    async with (
        stage(in_json, **host) as st,
        talk(st.llm, conversational_graph=Graph("By the book.")) as c,
    ):
        await c.turn("one")
        await c.turn("two")
        assert ("assistant", "By the book.") in st.entries[1].texts()
        st.check_context(st.entries[1])


async def test_a_tool_in_a_graphs_session(host: Host) -> None:
    async with (
        stage(in_json, **host) as st,
        talk(st.llm, Plain(tools=[weather]), conversational_graph=Graph()) as c,
    ):
        await c.turn("weather")
        assert len([e for e in st.entries if e.outcome == "completed"]) == 2
        await c.turn("two")
        assert c.last == ("assistant", "To two.")
        assert st.service.journal.refused == []


# -- pipelines that change ------------------------------------------------------------------------


@contextmanager
def traces() -> Iterator[None]:
    """The framework writes a trace of the change, and has a writer in a room only."""

    def written(*_: Any) -> None: ...

    metrics_collector.traces_flow_manager = SimpleNamespace(
        create_pipeline_change_trace=written, create_components_change_trace=written
    )
    try:
        yield
    finally:
        metrics_collector.traces_flow_manager = None


@both
@both_ways
async def test_the_same_object_goes_on_in_a_changed_pipeline(streaming: bool, stock: bool) -> None:
    def script(request: Request) -> str:
        return f"You said {request.last_user_text}."

    async with (
        stage(script, streaming=streaming, store=streaming, stock=stock) as st,
        talk(st.llm) as c,
    ):
        await c.turn("hello")
        with traces():
            await c.pipeline.change_pipeline(llm=st.llm)
        await c.turn("again")
        gone = stock and not streaming  # its client is closed for good
        assert (c.last == ("assistant", "You said again.")) is not gone
        if not stock:
            await st.check(connections=None)


async def test_another_object_takes_over_with_the_full_context(host: Host) -> None:
    async with stage("From one.", **host) as one, stage("From two.", **host) as two:
        async with talk(one.llm) as c:
            await c.turn("hello")
            with traces():
                await c.pipeline.change_component(llm=two.llm)
            await c.turn("again")
            assert c.last == ("assistant", "From two.")
        assert ("assistant", "From one.") in two.entries[0].texts()
        await two.check()
        assert one.service.journal.open_connections == []


# -- warm transfer --------------------------------------------------------------------------------


async def test_a_warm_transfers_summary_is_a_conversation_of_its_own(host: Host) -> None:
    """What the framework offers without a phone line: the summary on the pipeline's own LLM."""

    def script(request: Request) -> str:
        if "transcript" in request.last_user_text:
            return "They want a table."
        return f"You said {request.last_user_text}."

    async with stage(script, **host) as st, talk(st.llm) as c:
        await c.turn("a table please")
        config = WarmTransferConfig(
            destination=SIPDestination(routing_rule_id="r", sip_call_to="+1", sip_call_from="+2")
        )
        runner = WarmTransferRunner(c.session, config)
        summary, _ = await asyncio.gather(runner._generate_summary(), c.turn("and a cake"))
        assert summary == "They want a table."
        await c.turn("bye")
        assert c.last == ("assistant", "You said bye.")
        await st.check(connections=None)


async def test_a_briefings_object_is_made_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The framework makes the briefing's LLM by its class, without arguments."""
    async with Simulator("Hi.") as service:
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_BASE_URL", service.base_url)
        llm = type(OpenAILLM(api_key="another"))()
        chunks, error = await chunks_of(llm, hello())
        assert (text_of(chunks), error) == ("Hi.", None)
        await llm.aclose()
