"""The same conversation with this library and with a framework's stock plugin.

The adapters have the conversation (their module ``comparison``), since the core knows no framework.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal, Protocol

from rtllm.content.usage import Totals, Usage
from rtllm.doctor.judgements.comparison import (
    TimedTurn,
    Turns,
    judge_comparison,
    not_compared,
)
from rtllm.doctor.judgements.findings import Finding
from rtllm.doctor.judgements.report import Report, ReportKind
from rtllm.doctor.judgements.steps import COUNT, Estimate, Step, cost_of
from rtllm.doctor.probes.conversation import AGAIN, GREET, LEAVE, RULES
from rtllm.doctor.probes.lab import new_word
from rtllm.doctor.reporting import report_of
from rtllm.doctor.target import Target
from rtllm.providers.credentials import ask_for_key

KIND = ReportKind(
    "rtllm doctor --compare",
    well="Nothing is slower or needs more tokens than with the stock plugins.",
    left_out=("the tokens of the interrupted turns (the frameworks hide them)",),
)
FRAMEWORKS = ("livekit", "videosdk")
"""The frameworks whose stock plugin can be compared with."""
LIMIT = 120.0
"""Seconds for one conversation."""
KEY_LIMIT = 10.0
"""Seconds that a key function may take."""
CLOSE_LIMIT = 5.0
"""Seconds that closing an LLM may take."""
_TURNS = (("first", GREET), ("next", LEAVE), ("interrupted", COUNT), ("barge-in", AGAIN))
_LONGEST = 1000
"""Output tokens of a turn that neither side limits, roughly."""


class Conversation(Protocol):
    """A conversation on an LLM of a framework, as an adapter has it."""

    async def open(self) -> None:
        """Open what the LLM needs from the framework."""

    async def aclose(self) -> None:
        """Close the LLM, and what `open` opened."""

    def add(self, role: Literal["system", "user"], text: str) -> None:
        """Add a message to the context."""

    def stream(self) -> AsyncGenerator[tuple[str, Usage | None]]:
        """Ask for a response; yield the pieces of its text, and its usage once it is known."""

    async def keep(self, text: str, *, is_interrupted: bool) -> None:
        """Add a response to the context, as far as it was read."""


def installed() -> tuple[str, ...]:
    """List the frameworks whose adapter is installed."""
    return tuple(each for each in FRAMEWORKS if find_spec(f"rtllm_{each}") is not None)


def cost_of_comparison(target: Target) -> Estimate:
    """Estimate what `compare` costs."""
    steps = [Step(f"{RULES}\n{GREET}", 10, cap=_LONGEST)]
    for text, output in ((LEAVE, 10), (COUNT, 90), (AGAIN, 10)):
        steps.append(Step(text, output, after=steps[-1], cap=_LONGEST))
    return cost_of(steps * 2 * len(installed()), target.usual_cap)


async def compare(
    target: Target, *, on: str, progress: Callable[[str], None] = lambda _: None
) -> Report:
    """Hold the same conversation with this library and with each stock plugin.

    Everything is closed at the end, also if it is cancelled.

    Args:
        target: The host.
        on: The date, for the report.
        progress: Called with the name of each conversation before it begins.
    """
    findings: list[Finding] = []
    totals = Totals()
    for framework in FRAMEWORKS:
        found, spent = await _compare(target, framework, progress)
        findings += found
        totals += spent
    return report_of(target, KIND, on, findings, totals)


async def _compare(
    target: Target, framework: str, progress: Callable[[str], None]
) -> tuple[list[Finding], Totals]:
    """Compare on one framework."""
    if framework not in installed():
        return not_compared(framework, f"pip install rtllm-{framework}"), Totals()
    module: Any = import_module(f"rtllm_{framework}.comparison")
    endpoint = target.endpoint
    key = await _key_of(target)
    if key is None:
        return not_compared(framework, "the key function returned no key in time"), Totals()
    try:
        stock = module.Conversation.stock(
            key, target.model, endpoint.http_base, endpoint.for_model(target.model)
        )
    except ImportError:
        return not_compared(framework, f"pip install {module.STOCK}"), Totals()
    progress(f"{framework} with the stock plugin")
    theirs, spent = await _hold(stock)
    progress(f"{framework} with rtllm")
    ours, more = await _hold(module.Conversation.ours(target.config, target.model, target.profile))
    return judge_comparison(framework, ours, theirs), spent + more


async def _key_of(target: Target) -> str | None:
    """Return the key itself, since the stock plugins take no function; None without one."""
    key = target.config.key
    if not callable(key):
        return key
    with suppress(Exception):  # the user's own code
        async with asyncio.timeout(KEY_LIMIT):
            return await ask_for_key(key)
    return None


async def _hold(conversation: Conversation) -> tuple[Turns, Totals]:
    """Hold the conversation; a failure ends it, and is the error of the turns that are missing."""
    asked: dict[str, TimedTurn | None] = {}
    error, limit = "", asyncio.timeout(LIMIT)
    try:
        async with limit:
            await conversation.open()
            conversation.add("system", f"Your name is {new_word()}.\n{RULES}")
            for name, text in _TURNS:
                conversation.add("user", text)
                asked[name] = None
                asked[name] = await _time_turn(conversation, is_cut=name == "interrupted")
    except Exception as raised:  # noqa: BLE001 - a plugin may raise anything
        error = str(raised) or type(raised).__name__
        if limit.expired():
            error = f"the conversation took more than {LIMIT:.0f} s"
    finally:
        with suppress(Exception):  # a plugin may raise anything
            async with asyncio.timeout(CLOSE_LIMIT):
                await conversation.aclose()
    turns = {name: asked.get(name) or TimedTurn(error=error) for name, _ in _TURNS}
    spent = (Totals.of(turns[name].usage) for name in asked)
    return turns, sum(spent, Totals())


async def _time_turn(conversation: Conversation, *, is_cut: bool) -> TimedTurn:
    """Read a response, or only its first words.

    Args:
        conversation: The conversation.
        is_cut: Whether to interrupt it at the first words.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    seconds: float | None = None
    usage: Usage | None = None
    said = ""
    async with aclosing(conversation.stream()) as pieces:
        async for text, reported in pieces:
            said += text
            usage = reported or usage
            if said and seconds is None:
                seconds = loop.time() - began
            if said and is_cut:
                break
    await conversation.keep(said, is_interrupted=is_cut)
    return TimedTurn(seconds, usage)
