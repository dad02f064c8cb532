"""A simulated host for the checks: a model that remembers the word that it was given."""

import re
from collections.abc import Callable
from typing import Any

from rtllm.doctor.judgements.steps import ASK, COUNT
from rtllm.doctor.probes.conversation import TOOL
from rtllm.simulator import HOSTS, Call, Reply, Request, Simulator
from rtllm.simulator.script import text_of

PER_DELTA = 0.01
"""Seconds between deltas, so that a long response takes a while."""
_GIVEN = re.compile(r"Remember this word: (\S+)\.")
_CALLED = re.compile(r"Call the function \w+ with the word (\S+)\.")
_NUMBERS = "one two three four five six seven eight nine ten " * 4


def remembers_words() -> Callable[[Request], Reply | str]:
    """Create the script of a model that does what the checks ask for."""

    def script(request: Request) -> Reply | str:
        asked = request.last_user_text
        if request.tools and (wanted := _CALLED.search(asked)) is not None:
            return Reply.of(Call(TOOL.name, {"word": wanted[1]}))
        if COUNT in asked:
            return _NUMBERS.strip()
        if asked != ASK:
            return "OK"
        texts = [text_of(item) for item in request.context if item.get("role") == "user"]
        words = [found[1] for text in texts if (found := _GIVEN.search(text)) is not None]
        return words[-1] if words else "UNKNOWN"

    return script


def simulated_host(profile: str = "openai", **options: Any) -> Simulator:
    """Create a simulated host.

    Args:
        profile: The name of a known host; of those that the simulator does not know, OpenAI's
            behavior is used.
        options: Options of the simulator.
    """
    given = {"script": remembers_words(), "per_delta": PER_DELTA}
    return Simulator(**{**given, **HOSTS.get(profile, {}), **options})
