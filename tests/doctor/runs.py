"""A run of the doctor against a simulated host, over real sockets in virtual time."""

from __future__ import annotations

from typing import Any

from rtllm.doctor import Report, Target, Transport, diagnose, target_of, verify_protocol
from rtllm.doctor.simulated import simulated_host
from rtllm.providers.config import resolve_provider
from rtllm.simulator import Simulator

KEY = "sk-the-key-of-this-test"
MODEL = "gpt-5.6-luna"
ON = "2026-11-29"


def target_at(
    service: Simulator, profile: str | None = "openai", *, model: str = MODEL, **config: Any
) -> Target:
    given = {"api_key": KEY, "base_url": service.base_url, **config}
    return target_of(resolve_provider(**given), model, profile)


async def examine(
    profile: str | None = "openai", transport: Transport = "both", **options: Any
) -> Report:
    """Check a simulated host; nothing may be left open at it."""
    async with simulated_host(**options) as service:
        report = await verify_protocol(target_at(service, profile), on=ON, transport=transport)
        await service.journal.wait(lambda journal: not journal.open_connections)
        return report


async def examined(profile: str | None = "openai", *, model: str = MODEL, **options: Any) -> Report:
    """Examine a simulated host; nothing may be left open at it."""
    async with simulated_host(**options) as service:
        report = await diagnose(target_at(service, profile, model=model), on=ON)
        await service.journal.wait(lambda journal: not journal.open_connections)
        return report


def differing(report: Report) -> dict[str, str]:
    """The keywords of the assumptions that don't hold, by question."""
    return {each.name: each.keyword for each in report.findings if each.verdict == "differs"}


def verdicts(report: Report) -> dict[str, str]:
    return {each.name: each.verdict for each in report.findings}


def seen(report: Report, name: str) -> str:
    return next(each.seen for each in report.findings if each.name == name)


def meaning(report: Report, name: str) -> str:
    return next(each.meaning for each in report.findings if each.name == name)
