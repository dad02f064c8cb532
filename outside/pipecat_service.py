# /// script
# requires-python = ">=3.11,<3.14"
# dependencies = ["pipecat-ai[openai]==1.14.0", "rtllm"]
# [tool.uv.sources]
# rtllm = { path = "../packages/core", editable = true }
# ///
"""The simulator with a client of another project: pipecat's OpenAIResponsesLLMService.

    uv run outside/pipecat_service.py

uv creates an environment of its own for it. The result is in ``docs/outside.md``.
"""

import asyncio

from pipecat.frames.frames import LLMContextFrame, LLMFullResponseEndFrame, LLMTextFrame
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.services.openai.responses.llm import OpenAIResponsesLLMService
from pipecat.tests.utils import run_test

from rtllm.simulator import Simulator


async def main() -> None:
    """Hold a conversation of three turns in one pipeline."""
    async with Simulator() as simulator:
        service = OpenAIResponsesLLMService(
            api_key="any",
            ws_url=simulator.websocket_url,
            settings=OpenAIResponsesLLMService.Settings(
                model="gpt-4.1", system_instruction="Be brief."
            ),
        )
        messages: list[dict[str, str]] = []
        frames = []
        for turn in range(3):
            messages.append({"role": "user", "content": f"turn {turn}"})
            frames.append(LLMContextFrame(LLMContext(list(messages))))
            messages.append({"role": "assistant", "content": f"You said: turn {turn}"})
        down, _ = await run_test(service, frames_to_send=frames)
        said = "".join(frame.text for frame in down if isinstance(frame, LLMTextFrame))
        ends = sum(isinstance(frame, LLMFullResponseEndFrame) for frame in down)
        journal = simulator.journal
        assert said == "You said: turn 0You said: turn 1You said: turn 2", said
        assert ends == 3
        assert not journal.refused, [entry.error_message for entry in journal.refused]
        chained = sum(entry.previous_response_id is not None for entry in journal.entries)
        print(f"3 requests, {chained} chained, {len(journal.connections)} connection, 0 rejected")


if __name__ == "__main__":
    asyncio.run(main())
