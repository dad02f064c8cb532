"""Parameters: what model families take, where each goes, and what becomes of the others."""

from rtllm.params.body import Body, Parameters, body_of
from rtllm.params.families import (
    FAMILIES,
    Api,
    Effort,
    Family,
    family_of,
    quickest_effort,
    takes_cache_breakpoints,
)
from rtllm.params.refusals import DROPPABLE, without
from rtllm.params.shapes import text_format_of, tool_choice_of, without_nulls
from rtllm.params.table import TABLE, Row

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
    "body_of",
    "family_of",
    "quickest_effort",
    "takes_cache_breakpoints",
    "text_format_of",
    "tool_choice_of",
    "without",
    "without_nulls",
]
