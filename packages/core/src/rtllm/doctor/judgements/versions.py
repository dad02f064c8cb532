"""Judgement about the installed versions."""

import re
from collections.abc import Mapping, Sequence

from rtllm.doctor.judgements.findings import Finding, differs, holds

_REQUIREMENT = re.compile(r"([\w.-]+)(?:\[[^]]*\])?\s*\(?([^;)]*)\)?\s*(;.*)?")
_BOUND = re.compile(r"(>=|==|<)\s*([\d.]+)")


def judge_versions(
    installed: Mapping[str, str], requirements: Mapping[str, Sequence[str]]
) -> Finding:
    """Judge whether the installed distributions fit together.

    Args:
        installed: The versions by the names of the distributions.
        requirements: What the installed distributions of this library require, by their names.
    """
    name, asked = "versions", "the installed distributions, and what this library requires"
    shown = ", ".join(f"{each} {version}" for each, version in installed.items())
    wrong = [
        f"{owner} needs {problem}"
        for owner, wanted in requirements.items()
        for requirement in wanted
        if (problem := _problem(requirement, installed)) is not None
    ]
    if not wrong:
        return holds(name, asked, shown, "they fit together")
    command = " ".join(installed)
    return differs(
        name,
        asked,
        f"{shown}; {'; '.join(wrong)}",
        "anything may fail, in any way",
        f"pip install --upgrade {command}",
    )


def _problem(requirement: str, installed: Mapping[str, str]) -> str | None:
    """Return what is wrong with an installed distribution; None if nothing is."""
    found = _REQUIREMENT.fullmatch(requirement.strip())
    if found is None or "extra ==" in (found[3] or ""):
        return None
    name, bounds = found[1], _BOUND.findall(found[2])
    version = installed.get(name)
    if version is None:
        return None
    for operator, bound in bounds:
        order = _numbers(version), _numbers(bound)
        is_met = {
            ">=": order[0] >= order[1],
            "==": order[0] == order[1],
            "<": order[0] < order[1],
        }[operator]
        if not is_met:
            return f"{name}{operator}{bound}, but {version} is installed"
    return None


def _numbers(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version, without zeros at the end."""
    numbers: list[int] = []
    for part in version.split("."):
        digits = re.match(r"\d+", part)
        if digits is None:
            break
        numbers.append(int(digits[0]))
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)
