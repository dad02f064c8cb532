"""The constructor's settings and a call's own, as fields of the request's body.

Everything is named as in the Responses API; for Chat Completions the core translates. One
table says where a name goes, and what becomes of it where the API doesn't take it.
"""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from rtllm import (
    ConfigError,
    quickest_effort,
    text_format_of,
    tool_choice_of,
    without_nulls,
)

logger = logging.getLogger(__name__)

Api = Literal["responses", "chat"]

DEFAULT_TEMPERATURE = 0.7

_SAME = frozenset(
    {
        "temperature",
        "top_p",
        "parallel_tool_calls",
        "store",
        "metadata",
        "user",
        "service_tier",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "max_output_tokens",
        "top_logprobs",
        "moderation",
    }
)
_RENAMED = {"max_completion_tokens": "max_output_tokens", "max_tokens": "max_output_tokens"}
_RESPONSES_ONLY = frozenset(
    {"include", "truncation", "max_tool_calls", "context_management", "prompt"}
)
# What only Chat knows. Without the first the answer means the same; the others change it.
_CHAT_ONLY_SOFT = frozenset(
    {"seed", "frequency_penalty", "presence_penalty", "logit_bias", "logprobs", "prediction"}
)
_CHAT_ONLY = _CHAT_ONLY_SOFT | {"stop", "web_search_options"}
_NOT_ON_REASONING = frozenset({"frequency_penalty", "presence_penalty", "logit_bias"})
_FROM_THE_CONTEXT = frozenset(
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
_O_SERIES = re.compile(r"(?:ft:)?o[134](?![a-z])")
_GPT = re.compile(r"(?:ft:)?gpt-(\d+)(?:\.(\d+))?")


@dataclass(frozen=True, slots=True)
class Body:
    """The settings of one request.

    Attributes:
        settings: Ready for the wire, by their names in the Responses API.
        untouched: Those that nobody set.
        headers: More headers.
        query: More query parameters.
        timeout: What the call itself said of how long to wait.
    """

    settings: dict[str, Any]
    untouched: frozenset[str]
    headers: dict[str, str] = field(default_factory=dict)
    query: dict[str, str] = field(default_factory=dict)
    timeout: Any = None


class Family:
    """What is known of the model that a request goes to.

    Args:
        model: Its name, or that of the family where a deployment has a name of its own.
    """

    def __init__(self, model: str) -> None:
        self.name = model.lower().rpartition("/")[2]
        found = _GPT.match(self.name)
        self.version = (int(found[1]), int(found[2] or 0)) if found else None
        o_series = _O_SERIES.match(self.name) is not None
        chat = "-chat" in self.name
        self.known = found is not None or o_series
        self.reasons = o_series or ((self.version or (0, 0)) >= (5, 0) and not chat)
        self.takes_verbosity = (self.version or (0, 0)) >= (5, 0)
        self.quickest = "low" if o_series else quickest_effort(model)


class Settings:
    """Makes bodies of settings; each warning is said once."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def body_of(
        self,
        options: Mapping[str, Any],
        call: Mapping[str, Any],
        *,
        api: Api,
        family: Family,
        defaults: Mapping[str, Any],
        with_tools: bool,
    ) -> Body:
        """Build the settings of one request.

        Args:
            options: The object's settings by keyword; None means not set.
            call: The call's own, by keyword. These win.
            api: Which API is asked.
            family: What the model is.
            defaults: Values that count as not set by anybody.
            with_tools: Whether tools are offered.

        Raises:
            ConfigError: If a setting can't be sent.
        """
        untouched = {n for n in ("temperature", "reasoning_effort", "verbosity") if n not in call}
        untouched = {n for n in untouched if options.get(n) == defaults.get(n)}
        merged = {**options, **call}
        for name in ("extra_headers", "extra_query", "extra_body"):
            merged[name] = {**(options.get(name) or {}), **(call.get(name) or {})}
        body: dict[str, Any] = {}
        for name, value in self._fitting(merged, family, untouched, api, with_tools).items():
            if value is not None:
                self._put(body, name, value, api)
        if not with_tools:
            body.pop("tool_choice", None)
            body.pop("parallel_tool_calls", None)
        body.update(without_nulls(merged["extra_body"]) if api == "responses" else {})
        if api == "chat" and merged["extra_body"]:
            body["extra_body"] = without_nulls(merged["extra_body"])
        names = {"reasoning_effort": "reasoning.effort", "verbosity": "text.verbosity"}
        return Body(
            body,
            frozenset(names.get(name, name) for name in untouched),
            _strings(merged["extra_headers"]),
            _strings(merged["extra_query"]),
            call.get("timeout"),
        )

    def _fitting(
        self,
        merged: Mapping[str, Any],
        family: Family,
        untouched: set[str],
        api: Api,
        with_tools: bool,
    ) -> dict[str, Any]:
        """The settings without what the model's family is known to refuse."""
        fitting = dict(merged)
        if "temperature" in untouched and family.reasons:
            fitting["temperature"] = None
        if "verbosity" in untouched and not family.takes_verbosity:
            fitting["verbosity"] = None
        elif fitting.get("verbosity") is not None and family.known and not family.takes_verbosity:
            self._leave_out(fitting, "verbosity", family)
        self._fit_effort(fitting, family, untouched, api, with_tools)
        if family.reasons and api == "chat":
            for name in sorted(_NOT_ON_REASONING & fitting.keys()):
                if fitting[name] is not None:
                    self._leave_out(fitting, name, family)
        return fitting

    def _fit_effort(
        self,
        fitting: dict[str, Any],
        family: Family,
        untouched: set[str],
        api: Api,
        with_tools: bool,
    ) -> None:
        effort = fitting.get("reasoning_effort")
        if effort is None:
            # Seen: from 5.4 on, tools over Chat are refused unless the effort is "none".
            late = (family.version or (0, 0)) >= (5, 4)
            if api == "chat" and with_tools and late and family.quickest == "none":
                fitting["reasoning_effort"] = "none"
            return
        if not family.reasons:
            if "reasoning_effort" in untouched:
                fitting["reasoning_effort"] = None
            elif family.known:
                self._leave_out(fitting, "reasoning_effort", family)
        elif effort == "none" and family.quickest != "none":
            if "reasoning_effort" in untouched:
                fitting["reasoning_effort"] = None if _slow(family) else family.quickest
            else:
                fitting["reasoning_effort"] = family.quickest
                self._tell(
                    f"{family.name} takes no reasoning_effort 'none'; "
                    f"{family.quickest or 'its own default'} is used"
                )

    def _put(self, body: dict[str, Any], name: str, value: Any, api: Api) -> None:
        if name in _FROM_THE_CONTEXT:
            raise ConfigError(f"{name} can't be set per call: it follows from the chat context")
        match name:
            case "model" | "extra_headers" | "extra_query" | "extra_body" | "timeout":
                return
            case "verbosity":
                body["text"] = {**body.get("text", {}), "verbosity": value}
            case "reasoning_effort":
                body["reasoning"] = {**body.get("reasoning", {}), "effort": value}
            case "response_format":
                body["text"] = {**body.get("text", {}), "format": text_format_of(value)}
            case "text" | "reasoning":
                body[name] = {**body.get(name, {}), **without_nulls(value)}
            case "tool_choice":
                body["tool_choice"] = tool_choice_of(value)
            case _:
                self._put_plain(body, name, value, api)

    def _put_plain(self, body: dict[str, Any], name: str, value: Any, api: Api) -> None:
        """Set a field that one API or both know under its own name."""
        if name in _SAME or name in _RENAMED:
            body[_RENAMED.get(name, name)] = without_nulls(value)
        elif name in _CHAT_ONLY_SOFT and api == "responses":
            self._tell(f"the Responses API has no {name}; it is left out")
        elif name in (_CHAT_ONLY if api == "chat" else _RESPONSES_ONLY):
            body[name] = without_nulls(value)
        elif name in _CHAT_ONLY or name in _RESPONSES_ONLY:
            raise ConfigError(f"{name} isn't known to the API that is asked ({api})")
        else:
            raise ConfigError(
                f"chat() got the keyword {name!r}, which no API knows; what only this host "
                "knows goes into extra_body"
            )

    def _leave_out(self, fitting: dict[str, Any], name: str, family: Family) -> None:
        fitting[name] = None
        self._tell(f"{family.name} takes no {name}; it is left out")

    def _tell(self, warning: str) -> None:
        if warning not in self._told:
            self._told.add(warning)
            logger.warning("%s", warning)


def _slow(family: Family) -> bool:
    """Whether a family's lowest effort isn't known to be taken by all its models."""
    return family.quickest is None


def _strings(given: Mapping[str, Any]) -> dict[str, str]:
    return {str(name): str(value) for name, value in given.items() if value is not None}
