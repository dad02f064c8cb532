# /// script
# requires-python = ">=3.11"
# dependencies = ["llm-mock-api==0.1.2"]
# ///
"""llm-mock-api with aimock's answers: `uv run outside/mock_api_server.py PORT`."""

import asyncio
import re
import sys

from llm_mock_api import MockServer, MockServerOptions
from llm_mock_api.types.reply import ErrorReply, ReplyObject, ReplyOptions, ToolCall
from llm_mock_api.types.request import MockRequest

STORY = (
    "Once upon a time there was a long road and a small dog who walked it from one end to the "
    "other, every single day."
)
TEXTS = {"hello": "Hello! How can I help you today?", "story": STORY, "goodbye": "Goodbye!"}


def reply(request: MockRequest) -> ReplyObject:
    """Answer the last message."""
    if request.messages[-1].role == "tool":
        return ReplyObject(text="Sunny in Paris, rain in Rome.")
    if "broken" in request.last_message:
        limited = ErrorReply(429, "Rate limited by the mock.", "rate_limit_error")
        return ReplyObject(error=limited)
    if "weather" in request.last_message:
        calls = [
            ToolCall(id=f"call_{city.lower()}", name="get_weather", args={"city": city})
            for city in ("Paris", "Rome")
        ]
        return ReplyObject(tools=calls)
    return ReplyObject(text=next(TEXTS[word] for word in TEXTS if word in request.last_message))


async def main(port: int) -> None:
    """Serve until standard input ends."""
    server = MockServer(MockServerOptions(port=port))
    rule = server.when(re.compile("", re.DOTALL))
    rule.reply(reply, ReplyOptions(latency=30, chunk_size=6))
    await server.start()
    await asyncio.to_thread(sys.stdin.read)
    await server.stop()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
