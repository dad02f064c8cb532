"""Catalog of parameters: where each one goes, which values it has, and which models reject it.

`docs/parameters.md` shows it. Sources: the API's reference and the openai SDK's types (documented),
and the texts of the service's rejections (seen).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from rtllm.parameters import values as v
from rtllm.parameters.families import EFFORTS, VERBOSITIES, Api, Family

LOGPROBS = "message.output_text.logprobs"
ENCRYPTED = "reasoning.encrypted_content"


@dataclass(frozen=True, slots=True)
class ParameterContext:
    """The conditions on which it depends whether a family accepts a value.

    Attributes:
        api: The API.
        family: The model's family.
        effort: The effective reasoning effort: the given one, or the family's default.
        stored: Whether the response is stored; None if not set.
    """

    api: Api
    family: Family
    effort: str | None
    stored: bool | None

    @property
    def samples(self) -> bool:
        """Whether the model accepts sampling parameters."""
        sampling = self.family.sampling
        return sampling == "always" or (sampling == "effort none" and self.effort == "none")


Takes = Callable[[ParameterContext, object], bool]


@dataclass(frozen=True, slots=True)
class Row:
    """One parameter.

    Attributes:
        responses: Its place in a body of the Responses API; None if it has none.
        chat: Its place in a body of Chat Completions.
        values: Its values.
        also: Other names for it.
        untaken: How it is handled if the API has no place for it, or the family is known to reject
            it: dropped with one warning, or an error if the response would be different without it.
        refused: How it is handled when the service rejects it.
        takes: Tells whether a family accepts a value; None if all families do.
        refusers: The models that reject it, in words.
        why: The text of the warning, if the model is not the reason.
    """

    name: str
    responses: str | None
    chat: str | None
    values: v.Values
    also: tuple[str, ...] = ()
    untaken: Literal["left out", "error"] = "left out"
    refused: Literal["left out", "stepped", "error"] = "error"
    takes: Takes | None = None
    refusers: str = ""
    why: str = ""

    @property
    def place(self) -> str:
        """Its place in the settings, which use the names of the Responses API.

        A parameter that only Chat Completions has keeps its name there, as does one that is an
        entry of ``include`` in the Responses API.
        """
        if self.responses == "include" and self.chat is not None:
            return self.chat
        return self.responses or self.chat or self.name

    def has_place(self, api: Api) -> bool:
        """Whether an API has it."""
        return (self.responses if api == "responses" else self.chat) is not None


def _samples(asked: ParameterContext, _: object) -> bool:
    return asked.samples


def _doesnt_reason(asked: ParameterContext, _: object) -> bool:
    return not asked.family.reasons


def _reasons(asked: ParameterContext, _: object) -> bool:
    return asked.family.reasons


def _verbosity(asked: ParameterContext, value: object) -> bool:
    return value in asked.family.verbosity


def _parallel(asked: ParameterContext, value: object) -> bool:
    if asked.api == "chat" and not asked.family.parallel_in_chat:
        return False
    return not (value and asked.effort == "minimal")


def _cache_options(asked: ParameterContext, _: object) -> bool:
    return asked.family.cache_options


def _cache_retention(asked: ParameterContext, value: object) -> bool:
    return value in asked.family.cache_retention


def _metadata(asked: ParameterContext, _: object) -> bool:
    return asked.api == "responses" or asked.stored is True


def _include(asked: ParameterContext, value: object) -> bool:
    included = value if isinstance(value, list | tuple) else ()
    return not (
        (ENCRYPTED in included and not asked.family.reasons)
        or (LOGPROBS in included and not asked.samples)
    )


_SAMPLING = "o1, o3, o4-mini, gpt-5; later ones unless the effort is `none`"
_REASONING = "models that reason"
_NOT_REASONING = "models that don't reason"

_SCHEMA_FORMAT = v.Described(
    "an object with a type: 'text', 'json_object', or 'json_schema' with a name and a schema",
    lambda value: (
        isinstance(value, Mapping)
        and isinstance(value.get("type"), str)
        and (
            value["type"] != "json_schema"
            or (isinstance(value.get("name"), str) and isinstance(value.get("schema"), Mapping))
        )
    ),
)
_INCLUDES = (
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
    ENCRYPTED,
    LOGPROBS,
)
_TIERS = ("auto", "default", "flex", "scale", "priority", "fast", "ultrafast")
_SUMMARIES = v.Words(("auto", "concise", "detailed"))
_CACHE_FIELDS: Mapping[str, v.Values] = {
    "mode": v.Words(("implicit", "explicit")),
    "ttl": v.Words(("30m", "12h"), not_in_chat=("12h",)),
    "prewarm": v.FLAG,
    "comparison_response_id": v.TEXT,
}

TABLE: tuple[Row, ...] = (
    Row(
        "reasoning_effort",
        "reasoning.effort",
        "reasoning_effort",
        v.Words(EFFORTS),
        refused="stepped",
        refusers="depends on the family, see below; Chat with tools, from 5.4 on: only `none`",
    ),
    Row(
        "reasoning.summary",
        "reasoning.summary",
        None,
        _SUMMARIES,
        takes=_reasons,
        refusers=_NOT_REASONING,
    ),
    Row(
        "reasoning.generate_summary",
        "reasoning.generate_summary",
        None,
        _SUMMARIES,
        takes=_reasons,
        refusers=_NOT_REASONING,
    ),
    Row(
        "reasoning.context",
        "reasoning.context",
        None,
        v.Words(("auto", "current_turn", "all_turns")),
        untaken="error",
        takes=_reasons,
        refusers=_NOT_REASONING,
    ),
    Row(
        "reasoning.mode",
        "reasoning.mode",
        None,
        v.TEXT,
        untaken="error",
        takes=_reasons,
        refusers=_NOT_REASONING,
    ),
    Row(
        "verbosity",
        "text.verbosity",
        "verbosity",
        v.Words(VERBOSITIES),
        refused="left out",
        takes=_verbosity,
        refusers="before gpt-5 all but `medium`",
    ),
    Row("response_format", "text.format", "response_format", _SCHEMA_FORMAT, untaken="error"),
    Row(
        "temperature",
        "temperature",
        "temperature",
        v.Number(0, 2),
        refused="left out",
        takes=_samples,
        refusers=_SAMPLING,
    ),
    Row(
        "top_p",
        "top_p",
        "top_p",
        v.Number(0, 1),
        refused="left out",
        takes=_samples,
        refusers=_SAMPLING,
    ),
    Row(
        "max_output_tokens",
        "max_output_tokens",
        "max_completion_tokens",
        v.Integer(16, low_in_chat=1),
        also=("max_completion_tokens", "max_tokens"),
        untaken="error",
        refusers="models that reason reject the name `max_tokens`; only unknown models get it",
    ),
    Row("tool_choice", "tool_choice", "tool_choice", v.ToolChoice(), untaken="error"),
    Row(
        "parallel_tool_calls",
        "parallel_tool_calls",
        "parallel_tool_calls",
        v.FLAG,
        refused="left out",
        takes=_parallel,
        refusers="o1, o3, o4-mini over Chat; `True` with the effort `minimal`",
    ),
    Row("max_tool_calls", "max_tool_calls", None, v.Integer(1), untaken="error"),
    Row("store", "store", "store", v.FLAG, untaken="error"),
    Row(
        "include",
        "include",
        None,
        v.Lists(_INCLUDES),
        untaken="error",
        takes=_include,
        refusers=f"`{ENCRYPTED}`: {_NOT_REASONING}; logprobs: as temperature",
    ),
    Row("truncation", "truncation", None, v.Words(("auto", "disabled")), untaken="error"),
    Row(
        "logprobs",
        "include",
        "logprobs",
        v.FLAG,
        refused="left out",
        takes=_samples,
        refusers=_SAMPLING,
    ),
    Row(
        "top_logprobs",
        "top_logprobs",
        "top_logprobs",
        v.Integer(0, 20),
        refused="left out",
        takes=_samples,
        refusers=_SAMPLING,
    ),
    Row(
        "frequency_penalty",
        None,
        "frequency_penalty",
        v.Number(-2, 2),
        refused="left out",
        takes=_doesnt_reason,
        refusers=_REASONING,
    ),
    Row(
        "presence_penalty",
        None,
        "presence_penalty",
        v.Number(-2, 2),
        refused="left out",
        takes=_doesnt_reason,
        refusers=_REASONING,
    ),
    Row("logit_bias", None, "logit_bias", v.BIAS, takes=_doesnt_reason, refusers=_REASONING),
    Row("seed", None, "seed", v.Integer(), refused="left out"),
    Row(
        "stop",
        None,
        "stop",
        v.STOPS,
        untaken="error",
        takes=_doesnt_reason,
        refusers=_REASONING,
    ),
    Row("prediction", None, "prediction", v.OBJECT),
    Row("web_search_options", None, "web_search_options", v.OBJECT, untaken="error"),
    Row(
        "metadata",
        "metadata",
        "metadata",
        v.PAIRS,
        takes=_metadata,
        refusers="Chat without `store=True`",
        why="Chat Completions accepts metadata only with store=True",
    ),
    Row("user", "user", "user", v.TEXT, refused="left out"),
    Row("safety_identifier", "safety_identifier", "safety_identifier", v.text(128)),
    Row("prompt_cache_key", "prompt_cache_key", "prompt_cache_key", v.text(64), refused="left out"),
    Row(
        "prompt_cache_options",
        "prompt_cache_options",
        "prompt_cache_options",
        v.Fields(_CACHE_FIELDS, not_in_chat=("prewarm", "comparison_response_id")),
        refused="left out",
        takes=_cache_options,
        refusers="before 5.6",
    ),
    Row(
        "prompt_cache_retention",
        "prompt_cache_retention",
        "prompt_cache_retention",
        v.Words(("in_memory", "24h")),
        refused="left out",
        takes=_cache_retention,
        refusers="from 5.6 on; 5.5 all but `24h`",
    ),
    Row(
        "service_tier",
        "service_tier",
        "service_tier",
        v.Words(_TIERS, not_in_chat=("ultrafast",)),
        refused="left out",
    ),
    Row("moderation", "moderation", "moderation", v.OBJECT, untaken="error"),
    Row("context_management", "context_management", None, v.OBJECTS, untaken="error"),
    Row("prompt", "prompt", None, v.OBJECT, untaken="error"),
)

ROWS: Mapping[str, Row] = {name: row for row in TABLE for name in (row.name, *row.also)}
"""The rows by all of their names."""

FROM_THE_CONTEXT = frozenset(
    {
        "input",
        "messages",
        "instructions",
        "previous_response_id",
        "conversation",
        "stream",
        "stream_id",
        "stream_options",
        "tools",
        "functions",
        "function_call",
        "generate",
        "background",
        "n",
    }
)
"""Fields that users can't set, since the context or this library determines them."""

NOT_IN_EXTRA_BODY: Mapping[Api, frozenset[str]] = {
    "responses": FROM_THE_CONTEXT
    - {"messages", "tools", "functions", "function_call", "stream_options"}
    | {"type"},
    "chat": frozenset({"messages", "stream", "n"}),
}
"""Those that not even ``extra_body`` may set, because the answer would be another one, or none.

Hosted tools may be added there, and a host may have fields of its own with the other names.
"""
