"""Parameters: what model families accept, where each parameter goes, and how others are handled."""

from rtllm.parameters.adjustments import DROPPABLE, drop_parameter
from rtllm.parameters.body import Body, Parameters, body_of
from rtllm.parameters.catalog import TABLE, Row
from rtllm.parameters.families import (
    FAMILIES,
    Api,
    Effort,
    Family,
    ServiceTier,
    Verbosity,
    family_of,
    quickest_effort,
    takes_cache_breakpoints,
)
from rtllm.parameters.shapes import text_format_of, tool_choice_of, without_nulls

__all__ = [
    "DROPPABLE",
    "FAMILIES",
    "TABLE",
    "Api",
    "Body",
    "Effort",
    "Family",
    "Parameters",
    "Row",
    "ServiceTier",
    "Verbosity",
    "body_of",
    "drop_parameter",
    "family_of",
    "quickest_effort",
    "takes_cache_breakpoints",
    "text_format_of",
    "tool_choice_of",
    "without_nulls",
]
