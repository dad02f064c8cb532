"""Suggestion: what to pass to the constructors on a host, as code."""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace

from rtllm.doctor.judgements.findings import Finding, keywords
from rtllm.providers.hosts import PROFILES, HostProfile, Memory

_ARGUMENT = ("use_websocket=", "fallback=", "strict_tools=", "chaining=", "warm_connections=")
"""Keywords of findings that the constructors take as they are; the profile has the others."""
_UNSAID = ("name", "source", "sure")


@dataclass(frozen=True, slots=True)
class Learned:
    """What the checks learned about a host; None if it is not known.

    Attributes:
        has_lanes: Whether it has lanes.
        keeps_unstored: Whether it continues responses that are not stored.
        keeps_stored: Whether it continues stored ones.
        names_parents: Whether ``created`` names the continued response.
    """

    has_lanes: bool | None = None
    keeps_unstored: bool | None = None
    keeps_stored: bool | None = None
    names_parents: bool | None = None

    @property
    def memory(self) -> Memory | None:
        """Which responses the host keeps."""
        if self.keeps_unstored:
            return "connection"
        if self.keeps_stored:
            return "stored"
        return "none" if self.keeps_stored is False else None


def suggested_profile(profile: HostProfile, learned: Learned) -> HostProfile:
    """Return a profile that agrees with what was learned.

    Args:
        profile: The one that was used.
        learned: What was learned.
    """
    lanes = profile.lanes if learned.has_lanes is None else learned.has_lanes
    memory = learned.memory or profile.memory
    keeps_parents = profile.keeps_parents
    if memory == "none":
        keeps_parents = False
    elif learned.names_parents is False:  # the first continued turn would be taken for forgotten
        keeps_parents = True
    return replace(profile, lanes=lanes, memory=memory, keeps_parents=keeps_parents)


def written(profile: HostProfile) -> str:
    """Write a profile as code."""
    usual = HostProfile(profile.name)
    values = {
        each.name: getattr(profile, each.name)
        for each in fields(HostProfile)
        if each.name not in _UNSAID and getattr(profile, each.name) != getattr(usual, each.name)
    }
    arguments = [_literal(profile.name), *(f"{key}={_literal(v)}" for key, v in values.items())]
    return f"HostProfile({', '.join(arguments)})"


def _literal(value: object) -> str:
    """Write a value as code, strings with double quotes."""
    return f'"{value}"' if isinstance(value, str) else repr(value)


def suggestion(
    profile: HostProfile, learned: Learned, findings: Iterable[Finding], model: str
) -> str:
    """Write the arguments for this host as code that can be pasted.

    Args:
        profile: The profile that was used.
        learned: What was learned.
        findings: The findings.
        model: The model, as reports show it.
    """
    found = suggested_profile(profile, learned)
    is_known = PROFILES.get(found.name) == found
    arguments = [
        keyword
        for keyword in keywords(findings)
        if keyword.startswith(_ARGUMENT) and not keyword.startswith("chaining=True")
    ]
    value = f'"{found.name}"' if is_known else "profile"
    lines = [] if is_known else ["from rtllm import HostProfile", "", f"profile = {written(found)}"]
    options = ", ".join([f'model="{model}"', f"host_profile={value}", *arguments])
    return "\n".join(
        [
            *lines,
            f"llm = LLM({options})  # rtllm_livekit",
            f"llm = OpenAILLM({options}, streaming=True)  # rtllm_videosdk",
        ]
    )
