"""The same conversation with this library and with a framework's stock plugin.

The adapters have the conversation (their module ``comparison``), since the core knows no framework.
"""

import asyncio
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from rtllm.content.usage import Usage
from rtllm.doctor.judgements.comparison import (
    Heard,
    Talk,
    judge_comparison,
    not_compared,
)
from rtllm.doctor.judgements.findings import Finding
from rtllm.doctor.judgements.report import Report, scrub
from rtllm.doctor.judgements.steps import COUNT, Estimate, Step, cost_of
from rtllm.doctor.probes.conversation import AGAIN, GREET, LEAVE, RULES
from rtllm.doctor.probes.lab import new_word
from rtllm.doctor.target import Target
from rtllm.doctor.verify import versions
from rtllm.providers.credentials import ask_for_key

TITLE = "rtllm doctor --compare"
FRAMEWORKS = ("livekit", "videosdk")
"""The frameworks whose stock plugin can be compared with."""
LIMIT = 120.0
"""Seconds for one conversation."""
_SAID = ((GREET, "first"), (LEAVE, "next"), (COUNT, ""), (AGAIN, "barge-in"))
_LONGEST = 1000
"""Output tokens of a turn that neither side limits, roughly."""


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
    talks: list[Talk] = []
    for framework in FRAMEWORKS:
        found, held = await _compare(target, framework, progress)
        findings += found
        talks += held
    turns = [heard for talk in talks for heard in talk.values()]
    known = [heard for heard in turns if heard.input is not None]
    report = Report(
        target.profile.name,
        target.endpoint.host,
        target.shown_model,
        on,
        versions(),
        tuple(findings),
        len(turns) + len(talks),  # the interrupted turns
        Usage(
            sum(heard.input or 0 for heard in known),
            0,
            sum(heard.cached or 0 for heard in known),
        ),
        len(turns) + len(talks) - len(known),
        title=TITLE,
        well="Nothing is slower or needs more tokens than with the stock plugins.",
        left_out=("output tokens, and those of the interrupted turns (the frameworks hide them)",),
    )
    return report.scrubbed(target.secrets)


async def _compare(
    target: Target, framework: str, progress: Callable[[str], None]
) -> tuple[list[Finding], list[Talk]]:
    """Compare on one framework; return the conversations too."""
    if framework not in installed():
        return not_compared(framework, f"pip install rtllm-{framework}"), []
    module: Any = import_module(f"rtllm_{framework}.comparison")
    endpoint, key = target.endpoint, target.config.key
    text = await ask_for_key(key) if callable(key) else key or ""
    try:
        stock = module.Speaker.stock(
            text, target.model, endpoint.http_base, endpoint.for_model(target.model)
        )
    except ImportError:
        return not_compared(framework, f"pip install {module.STOCK}"), []
    progress(f"{framework} with the stock plugin")
    theirs = await _talk(stock, target)
    progress(f"{framework} with rtllm")
    ours = await _talk(module.Speaker.ours(target.config, target.model, target.profile), target)
    return judge_comparison(framework, ours, theirs), [ours, theirs]


async def _talk(speaker: Any, target: Target) -> Talk:
    """Hold the conversation; a failure ends it."""
    heard: dict[str, Heard] = {}
    async with asyncio.timeout(LIMIT), speaker:
        await speaker.say("system", f"Your name is {new_word()}.\n{RULES}")
        for text, name in _SAID:
            try:
                seconds, tokens, cached = await speaker.say("user", text, is_cut=not name)
            except Exception as error:  # noqa: BLE001 - a plugin may raise anything
                heard[name or "barge-in"] = Heard(error=scrub(str(error), target.secrets))
                break
            if name:
                heard[name] = Heard(seconds, tokens, cached)
    return heard
