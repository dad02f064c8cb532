# /// script
# requires-python = ">=3.11,<3.14"
# dependencies = ["openai-agents==0.24.0", "websockets", "rtllm"]
# [tool.uv.sources]
# rtllm = { path = "../packages/core", editable = true }
# ///
"""The simulator with a client of another project: openai-agents' WebSocket model.

    uv run outside/openai_agents.py

uv creates an environment of its own for it. The result is in ``docs/outside.md``.
"""

import asyncio

from agents import Agent, Runner, function_tool, set_tracing_disabled
from agents.models.openai_provider import OpenAIProvider
from agents.run import RunConfig

from rtllm.simulator import Simulator, calls_on_demand


@function_tool
async def get_weather(city: str) -> str:
    """Look up the weather.

    Args:
        city: The city.
    """
    return f"sunny in {city}"


async def main() -> None:
    """Hold a chained conversation with two parallel tools."""
    set_tracing_disabled(disabled=True)
    async with Simulator(calls_on_demand()) as simulator:
        provider = OpenAIProvider(
            api_key="any", base_url=simulator.base_url, use_responses_websocket=True
        )
        config = RunConfig(model_provider=provider)
        agent = Agent(name="Forecaster", model="gpt-4.1", tools=[get_weather])
        previous: str | None = None
        for words in (
            "hello",
            'call get_weather {"city":"Paris"}\ncall get_weather {"city":"Rome"}',
            "thanks",
        ):
            result = await Runner.run(
                agent, words, run_config=config, previous_response_id=previous
            )
            previous = result.last_response_id
            print(f"{words!r} -> {result.final_output!r}")
        journal = simulator.journal
        assert not journal.refused, [entry.error_message for entry in journal.refused]
        assert [entry.outcome for entry in journal.entries] == ["completed"] * 4
        assert result.final_output == "You said: thanks"
        assert len(journal.entries[-1].context) >= 8
        chained = sum(entry.previous_response_id is not None for entry in journal.entries)
        print(f"4 requests, {chained} chained, {len(journal.connections)} connection, 0 rejected")
        await provider.aclose()


if __name__ == "__main__":
    asyncio.run(main())
