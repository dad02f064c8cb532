"""What is known of the families of models: facts as data, and questions to them.

Sources: the GPT-6 guide and the parameters' own pages (documented), the texts of the service's
own refusals (seen). A model that no row names is unknown: of it nothing is assumed.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

Api = Literal["responses", "chat"]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]

EFFORTS: tuple[str, ...] = get_args(Effort)
VERBOSITIES = ("low", "medium", "high")


@dataclass(frozen=True, slots=True)
class Family:
    """Models that take the same parameters.

    Attributes:
        name: What its models have in common in their names, for the docs.
        efforts: The reasoning efforts that are accepted, lowest first; none at all where the
            models don't reason.
        default_effort: The effort when none is said.
        sampling: When temperature, top_p and logprobs are taken.
        verbosity: The values of verbosity that are accepted.
        cache_options: Whether prompt cache options and breakpoints are taken.
        cache_retention: The values of prompt_cache_retention that are accepted.
        chat_tools: When function tools are taken over Chat Completions.
        parallel_in_chat: Whether Chat Completions take parallel_tool_calls.
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
        """Whether its models think before they speak."""
        return bool(self.efforts)


_HIGH = ("low", "medium", "high")
_XHIGH = ("none", *_HIGH, "xhigh")
_MAX = (*_XHIGH, "max")

# The first match wins. Names that stand in no public list match nothing on purpose.
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


def family_of(model: str) -> Family | None:
    """The family of a model by its name; None where the name isn't known.

    A host's prefix (``openai/…``), the date of a snapshot, and what surrounds the name of a
    fine-tuned model (``ft:…:org::id``) don't count.
    """
    name = _bare(model)
    return next((family for scheme, family in _ROWS if re.fullmatch(scheme, name)), None)


def takes_cache_breakpoints(model: str) -> bool:
    """Whether a model takes prompt cache breakpoints: GPT-5.6 and later (documented)."""
    family = family_of(model)
    return family.cache_options if family is not None else _version(model) >= (5, 6)


def quickest_effort(model: str) -> Effort | None:
    """The lowest reasoning effort that a model accepts; None where there is no choice.

    A voice agent can't wait for a model to think unless its user wants it to. To a GPT of
    version 5 or later that isn't known, it is ``low``, which all so far have had in common.
    """
    family = family_of(model)
    if family is None:
        return "low" if (5, 0) <= _version(model) < (10, 0) else None
    if len(family.efforts) < 2:
        return None
    lowest: Effort = family.efforts[0]  # type: ignore[assignment]  # rows hold efforts only
    return lowest


def nearest(value: object, accepted: Sequence[str], order: Sequence[str] = EFFORTS) -> str | None:
    """The accepted value that is nearest to another; of two as near, the lower.

    Args:
        value: The value that isn't accepted.
        accepted: Those that are.
        order: All values, lowest first.

    Returns:
        None where there is none, or the value stands in no order.
    """
    known = [each for each in accepted if each in order]
    if value not in order or not known:
        return None
    place = order.index(str(value))
    return min(known, key=lambda each: (abs(order.index(each) - place), order.index(each)))


def _version(model: str) -> tuple[int, int]:
    """The version in a GPT model's name, such as (5, 6); (0, 0) for every other name."""
    found = _GPT.match(_bare(model))
    return (0, 0) if found is None else (int(found[1]), int(found[2] or 0))


def _bare(model: str) -> str:
    name = model.lower().rpartition("/")[2].removeprefix("ft:").partition(":")[0]
    return _SNAPSHOT.sub("", name)
