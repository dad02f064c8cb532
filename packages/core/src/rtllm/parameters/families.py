"""Families of models: their known properties, and functions that look them up.

Sources: the GPT-6 guide and the parameters' own pages (documented), and the texts of the service's
rejections (seen). A model that no row matches is unknown, and nothing is assumed about it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from typing import Literal, get_args

from rtllm.errors import ConfigError

Api = Literal["responses", "chat"]
"""OpenAI's two APIs: Responses and Chat Completions."""
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
"""How much a reasoning model thinks."""
Verbosity = Literal["low", "medium", "high"]
"""How long responses are."""
ServiceTier = Literal["auto", "default", "flex", "scale", "priority", "fast", "ultrafast"]
"""OpenAI's ``service_tier``."""

EFFORTS: tuple[str, ...] = get_args(Effort)
VERBOSITIES: tuple[str, ...] = get_args(Verbosity)


@dataclass(frozen=True, slots=True)
class Family:
    """A family of models that accept the same parameters.

    Attributes:
        name: The names of its models, for the docs.
        efforts: The accepted reasoning efforts, lowest first; empty if the models don't reason.
        default_effort: The effort if none is given.
        sampling: When temperature, top_p and logprobs are accepted.
        verbosity: The accepted values of verbosity.
        cache_options: Whether prompt cache options and breakpoints are accepted.
        cache_retention: The accepted values of prompt_cache_retention.
        chat_tools: When function tools are accepted over Chat Completions.
        parallel_in_chat: Whether Chat Completions accepts parallel_tool_calls.
    """

    name: str
    efforts: tuple[str, ...] = ()
    default_effort: str | None = None
    sampling: Literal["always", "effort none", "never"] = "never"
    verbosity: tuple[str, ...] = VERBOSITIES
    cache_options: bool = False
    cache_retention: tuple[str, ...] = ("in_memory", "24h")
    chat_tools: Literal["always", "effort none", "never"] = "always"
    parallel_in_chat: bool = True

    @property
    def reasons(self) -> bool:
        """Whether its models reason before they respond."""
        return bool(self.efforts)


_HIGH = ("low", "medium", "high")
_XHIGH = ("none", *_HIGH, "xhigh")
_MAX = (*_XHIGH, "max")

# The first match wins. Names that are not in a public list match nothing on purpose.
_ROWS: tuple[tuple[str, Family], ...] = (
    (
        r"(?:chat)?gpt-(?:3\.5|35|4)(?!\d).*",
        Family("gpt-3.5, gpt-4, 4o, 4.1", sampling="always", verbosity=("medium",)),
    ),
    (
        r"o(?:1|3|4-mini)(?:-mini|-pro)?",
        Family("o1, o3, o4-mini", _HIGH, "medium", verbosity=("medium",), parallel_in_chat=False),
    ),
    (r"gpt-5-chat.*", Family("gpt-5-chat", sampling="always")),
    (r"gpt-5\.\d+-chat.*", Family("gpt-5.x-chat", ("medium",), "medium")),
    (r"gpt-5-pro", Family("gpt-5-pro", ("high",), "high")),
    (
        r"gpt-5(?:-mini|-nano)?",
        Family("gpt-5, -mini, -nano", ("minimal", *_HIGH), "medium"),
    ),
    (r"gpt-5\.1", Family("gpt-5.1", _XHIGH[:-1], "none", "effort none")),
    (r"gpt-5\.2-pro", Family("gpt-5.2-pro", _XHIGH[2:], "medium")),
    (r"gpt-5\.2", Family("gpt-5.2", _XHIGH, "none", "effort none")),
    (
        r"gpt-5\.4(?:-mini|-nano)?",
        Family("gpt-5.4, -mini, -nano", _XHIGH, "none", "effort none", chat_tools="effort none"),
    ),
    (
        r"gpt-5\.5",
        Family(
            "gpt-5.5",
            _XHIGH,
            "medium",
            "effort none",
            cache_retention=("24h",),
            chat_tools="effort none",
        ),
    ),
    (
        r"gpt-5\.6-(?:sol|terra|luna)|gpt-6-(?:sol|luna)",
        Family(
            "gpt-5.6-*, gpt-6-sol, gpt-6-luna",
            _MAX,
            "medium",  # assumed
            "effort none",
            cache_options=True,
            cache_retention=(),
            chat_tools="effort none",
        ),
    ),
    (
        r"gpt-6-astra|gpt-6\.1-(?:sol|terra)|gpt-6\.2-(?:astra|sol)",  # 6.1-terra, 6.2: assumed
        Family(
            "gpt-6-astra, gpt-6.1-*, gpt-6.2-*",
            _MAX[1:],
            "medium",
            cache_options=True,
            cache_retention=(),
            chat_tools="never",
        ),
    ),
)

FAMILIES: tuple[Family, ...] = tuple(family for _, family in _ROWS)

_GPT = re.compile(r"gpt-(\d+)(?:\.(\d+))?(?![\w.])")
_SNAPSHOT = re.compile(r"-\d{4}-\d\d-\d\d$")


@lru_cache(maxsize=256)
def family_of(model: str) -> Family | None:
    """Return the family of a model by its name; None if the name isn't known.

    A host's prefix (``openai/…``), the date of a snapshot, and the parts around the name of a
    fine-tuned model (``ft:…:org::id``) are ignored.
    """
    name = _bare(model)
    return next((family for scheme, family in _ROWS if re.fullmatch(scheme, name)), None)


KNOWN_MODELS = (
    *("gpt-3.5-turbo", "gpt-4", "gpt-4-turbo", "gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-4.1-mini"),
    *("gpt-4.1-nano", "o1", "o1-pro", "o3", "o3-mini", "o3-pro", "o4-mini", "gpt-5-chat"),
    *("gpt-5-pro", "gpt-5", "gpt-5-mini", "gpt-5-nano", "gpt-5.1", "gpt-5.1-chat", "gpt-5.2"),
    *("gpt-5.2-chat", "gpt-5.2-pro", "gpt-5.4", "gpt-5.4-mini", "gpt-5.4-nano", "gpt-5.5"),
    *("gpt-5.6-sol", "gpt-5.6-terra", "gpt-5.6-luna", "gpt-6-sol", "gpt-6-luna", "gpt-6-astra"),
    *("gpt-6.1-sol", "gpt-6.1-terra", "gpt-6.2-astra", "gpt-6.2-sol"),
)
"""Names of models whose families are known, without snapshots."""


def checked_family(name: object) -> str | None:
    """Check the name of a model family: that of any of its models, or None.

    Raises:
        ConfigError: If the family isn't known.
    """
    if name is None or (isinstance(name, str) and family_of(name) is not None):
        return name
    near = get_close_matches(str(name).lower(), KNOWN_MODELS, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ConfigError(
        f"model_family is {name!r}; expected the name of a known model: "
        f"{', '.join(map(repr, KNOWN_MODELS))}{hint}"
    )


def takes_cache_breakpoints(model: str) -> bool:
    """Whether a model accepts prompt cache breakpoints: GPT-5.6 and later (documented)."""
    family = family_of(model)
    return family.cache_options if family is not None else _version(model) >= (5, 6)


def quickest_effort(model: str) -> Effort | None:
    """Return the lowest reasoning effort that a model accepts; None if there is no choice.

    A voice agent should not wait for reasoning unless its user chooses to. For an unknown GPT of
    version 5 or later the effort is ``low``, which all versions so far have accepted.
    """
    family = family_of(model)
    if family is None:
        return "low" if (5, 0) <= _version(model) < (10, 0) else None
    if len(family.efforts) < 2:
        return None
    lowest: Effort = family.efforts[0]  # type: ignore[assignment]  # rows hold efforts only
    return lowest


def nearest(value: object, accepted: Sequence[str], order: Sequence[str] = EFFORTS) -> str | None:
    """Return the accepted value that is nearest to another; if two are, the lower one.

    Args:
        value: The value that isn't accepted.
        accepted: The accepted values.
        order: All values, lowest first.

    Returns:
        The nearest value; None if none is accepted, or the value is not in the order.
    """
    known = [each for each in accepted if each in order]
    if value not in order or not known:
        return None
    place = order.index(str(value))
    return min(known, key=lambda each: (abs(order.index(each) - place), order.index(each)))


def _version(model: str) -> tuple[int, int]:
    """Return the version in a GPT model's name, such as (5, 6); (0, 0) for any other name."""
    found = _GPT.match(_bare(model))
    return (0, 0) if found is None else (int(found[1]), int(found[2] or 0))


def _bare(model: str) -> str:
    name = model.lower().rpartition("/")[2].removeprefix("ft:").partition(":")[0]
    return _SNAPSHOT.sub("", name)
