"""Simulated model for a gateway of another project.

Its answers are those of ``aimock.json``. Unlike aimock it answers only a conversation that arrived
in full: a gateway that lost its beginning gets `FORGOTTEN`, and the check fails.
"""

from over_http import FORECAST, GOODBYE, HELLO

from rtllm.simulator import (
    Call,
    ErrorFrame,
    Pause,
    Reply,
    Request,
    Simulator,
    Text,
    rate_limited,
)
from rtllm.simulator.script import text_of

FIRST = ("hello", "broken")
FORGOTTEN = "The conversation did not arrive in full."
STORY = (
    "Once upon a time there was a long road and a small dog who walked it from one end to the "
    "other, every single day."
)
SLOWLY = tuple(part for word in STORY.split(" ") for part in (f"{word} ", Pause(0.03)))


def answer(request: Request) -> Reply:
    """Answer a request by its last user message, if the beginning of the conversation is there."""
    users = [text_of(item) for item in request.context if item.get("role") == "user"]
    if not users or not users[0].startswith(FIRST):
        return Reply.of(FORGOTTEN)
    if len(request.trailing_outputs) == 2:
        return Reply.of(FORECAST)
    if "weather" in users[-1]:
        return Reply.of(*(Call("get_weather", {"city": city}) for city in ("Paris", "Rome")))
    if "story" in users[-1]:
        return Reply.of(Text(pieces=SLOWLY))
    return Reply.of(GOODBYE if "goodbye" in users[-1] else HELLO)


def fault(request: Request) -> ErrorFrame | None:
    """Reject a message with the word ``broken``, as a rate limit does."""
    if request.last_user_text == "broken":
        return rate_limited(message="Rate limited by the mock.")
    return None


def simulated_model(*models: str) -> Simulator:
    """Create the server; it does not check the form of a gateway's own requests.

    Args:
        models: Names of models in addition to OpenAI's.
    """
    return Simulator(answer, fault=fault, models=models, strict=False)
