"""Parameters of the model families: data, and the lookup of a row.

As documented or seen on 2026-11-24; a row marked *assumed* has no source.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

_UP_TO_HIGH = ("low", "medium", "high")
_VERBOSITY = ("low", "medium", "high")


@dataclass(frozen=True, slots=True)
class Family:
    """The parameters that a family of models accepts.

    ``sampling`` tells when temperature, top_p and logprobs are accepted: always, never, or only
    with the effort ``none``. A model without ``efforts`` doesn't reason.
    """

    efforts: tuple[str, ...] = ()
    default_effort: str | None = None
    sampling: Literal["always", "never", "effort_none"] = "never"
    verbosity: tuple[str, ...] = _VERBOSITY
    cache_options: bool = False
    cache_retention: tuple[str, ...] = ("in_memory", "24h")

    @property
    def reasons(self) -> bool:
        """Whether the model reasons before it responds."""
        return bool(self.efforts)


_CLASSIC = Family(sampling="always", verbosity=("medium",))
_CHAT = Family(sampling="always")
_O_SERIES = Family(_UP_TO_HIGH, "medium", verbosity=("medium",))
_TO_XHIGH = ("none", *_UP_TO_HIGH, "xhigh")
_TO_MAX = (*_TO_XHIGH, "max")
_ASTRA = Family(_TO_MAX[1:], "medium", cache_options=True, cache_retention=())
_NEWEST = Family(_TO_MAX, "medium", cache_options=True, cache_retention=())
_NEWEST_SAMPLING = Family(_TO_MAX, "medium", "effort_none", cache_options=True, cache_retention=())

# The first match wins, so special names come before the families that contain them.
_FAMILIES: tuple[tuple[str, Family], ...] = (
    (r"gpt-4.*|chatgpt-4o-latest", _CLASSIC),
    (r"o\d.*", _O_SERIES),
    (r"gpt-5-chat.*", _CHAT),
    (r"gpt-5\.\d+-chat.*", Family(("medium",), "medium")),
    (r"gpt-5-pro", Family(("high",), "high")),
    (r"gpt-5(-mini|-nano)?", Family(("minimal", *_UP_TO_HIGH), "medium")),
    (r"gpt-5\.1", Family(("none", *_UP_TO_HIGH), "none", "effort_none")),
    (r"gpt-5\.2-pro", Family(("medium", "high", "xhigh"), "medium")),
    (r"gpt-5\.2", Family(_TO_XHIGH, "none", "effort_none")),
    (r"gpt-5\.[34].*", Family(_TO_XHIGH, "none")),
    (r"gpt-5\.5", Family(_TO_XHIGH, "medium", cache_retention=("24h",))),
    (r"gpt-5\.6-luna|gpt-6-(sol|luna)", _NEWEST_SAMPLING),
    (r"gpt-5\.6-.*", _NEWEST),
    (r"gpt-6.*", _ASTRA),  # 6.1-terra and 6.2: assumed
)

KNOWN_MODELS = frozenset(
    {
        "gpt-6-astra",
        "gpt-6.2-astra",
        "gpt-6.1-sol",
        "gpt-6.2-sol",
        "gpt-6.1-terra",
        "gpt-6-sol",
        "gpt-6-luna",
        "gpt-5.6-sol",
        "gpt-5.6-terra",
        "gpt-5.6-luna",
        "gpt-5.5",
        "gpt-5.4",
        "gpt-5.4-mini",
        "gpt-5.4-nano",
        "gpt-5.3-codex",
        "gpt-5.2",
        "gpt-5.2-pro",
        "gpt-5.1",
        "gpt-5.1-chat-latest",
        "gpt-5",
        "gpt-5-mini",
        "gpt-5-nano",
        "gpt-5-pro",
        "gpt-5-chat-latest",
        "gpt-4.1",
        "gpt-4.1-mini",
        "gpt-4.1-nano",
        "gpt-4o",
        "gpt-4o-mini",
        "o3",
        "o3-mini",
        "o4-mini",
        "o1",
    }
)


def undated(model: str) -> str:
    """Return a model's name without the date of its snapshot."""
    return re.sub(r"-\d{4}-\d\d-\d\d$", "", model)


def family_of(model: str) -> Family | None:
    """Return the family of a model; None for names of no known form (a deployment)."""
    name = undated(model)
    return next((family for scheme, family in _FAMILIES if re.fullmatch(scheme, name)), None)
