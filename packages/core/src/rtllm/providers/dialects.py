"""Dialects: how hosts want requests encoded, if not as OpenAI does. One table defines them.

Each point has a default value, other values for known hosts, and sentences of rejections that tell
which value a host wants. Users set it by its name (``dialect={"name": "value"}``).
``docs/hosts.md`` shows the table. The `source` of each point tells how sure it is: *documented* by
the host, *seen* in a public report, or *assumed*.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from rtllm.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Dialect:
    """How requests to a host are encoded, and how its responses are decoded. See `POINTS`."""

    strict_tools: str = "kept"
    tool_schemas: str = "kept"
    system_messages: str = "anywhere"
    developer_role: str = "kept"
    content_beside_calls: str = "empty"
    user_behind_tool: str = "direct"
    same_role_in_a_row: str = "kept"
    missing_user: str = "kept"
    tool_names: str = "left out"
    message_type: str = "always"
    call_ids: str = "kept"
    reasoning_content: str = "returned"
    extra_content: str = "returned"
    output_limit: str = "as named"
    stream_options: str = "sent"
    store: str = "sent"
    thoughts: str = "dropped"

    def with_points(self, changes: Mapping[str, str]) -> "Dialect":
        """Return a copy with some points changed."""
        return replace(self, **changes) if changes else self


@dataclass(frozen=True, slots=True)
class RejectionPattern:
    """A sentence of a rejection that tells which value a host wants.

    Attributes:
        words: The pattern of the sentence.
        value: The value to use instead.
        instead_of: The only value that it may replace; None for any other one.
    """

    words: re.Pattern[str]
    value: str
    instead_of: str | None = None


@dataclass(frozen=True, slots=True)
class Point:
    """One point of a dialect.

    Attributes:
        name: Its name, as users pass it.
        values: Its values; the first is the default, and the last is assumed to work on every host.
        about: What it controls, for the docs.
        source: Where this is known from, and how sure it is.
        hosts: The values for known hosts, by name.
        refusals: The sentences of rejections that tell a value.
        plain: The value in the plainest form; empty if it has no plainer value.
        is_seen: Whether the model sees a difference. If so, it is not changed without evidence.
    """

    name: str
    values: tuple[str, ...]
    about: str
    source: str
    hosts: Mapping[str, str] = field(default_factory=dict)
    refusals: tuple[RejectionPattern, ...] = ()
    plain: str = ""
    is_seen: bool = False


def _refusal(pattern: str, value: str, instead_of: str | None = None) -> RejectionPattern:
    return RejectionPattern(re.compile(pattern, re.IGNORECASE | re.DOTALL), value, instead_of)


_NO_FIELD = (
    r"\b(unsupported|unknown|unrecognized|unexpected|extra_forbidden|additional propert\w+|"
    r"extra (inputs?|fields?)|not (supported|support|permitted|allowed|accepted|recognized))\b"
)
_SYSTEM = r"\b(system|developer)\b"
_SCHEMA_WORD = (
    r"(\badditionalProperties|\$schema|\$ref|\$defs|\bpropertyNames|\bexclusiveM\w+|\bexamples?|"
    r"\bany_?of|\bone_?of|\ball_?of|\bconst|\bdefault|\bpattern|\btitle|\bformat)\b"
)
"""A word of JSON Schema that some hosts don't know."""
# Without OpenAI's own "is not permitted": there only the named tool is left out.
_REJECTED = r"(unknown name|cannot find field|not supported|unsupported|unrecognized|not accepted)"

POINTS: tuple[Point, ...] = (
    Point(
        "strict_tools",
        ("kept", "left out"),
        "the `strict` of function tools",
        "seen: open-cowork #232, litellm #33193, Cerebras (RooCode #10334): rejected, or rejected "
        "if a request mixes its values",
        hosts={"cerebras": "left out"},
        refusals=(
            _refusal(r"\bstrict\b", "left out"),
            _refusal(r"(invalid|unsupported|unexpected|unknown).{0,60}\btools\b", "left out"),
            _refusal(r"\btools\b.{0,60}(invalid|unsupported|unexpected|unknown)", "left out"),
        ),
        plain="left out",
    ),
    Point(
        "tool_schemas",
        ("kept", "plain"),
        "the schemas of tools: unchanged, or with types, descriptions, properties, items and enums "
        "only, which also leaves out `strict`",
        "seen: Gemini through gateways ('Unknown name \"additionalProperties\"': freellmapi #97, "
        "AstrBot #7572)",
        refusals=(
            _refusal(rf"{_REJECTED}.{{0,60}}{_SCHEMA_WORD}", "plain"),
            _refusal(rf"{_SCHEMA_WORD}.{{0,60}}{_REJECTED}", "plain"),
            _refusal(r"\btype\b.{0,20}must be a string.{0,20}(array|list)", "plain"),
        ),
    ),
    Point(
        "system_messages",
        ("anywhere", "leading", "user"),
        "system messages: anywhere; joined into one at the start; or sent as user messages",
        "seen: Qwen's templates (vllm #41114), Mistral's (mistral-common #169), and Gemma's, which "
        "have no system role",
        hosts={"mistral": "leading", "perplexity": "leading"},
        refusals=(
            _refusal(
                r"\b(no|not support\w*|unsupported|without|unknown)\b.{0,40}\bsystem\b", "user"
            ),
            _refusal(r"\bsystem\b.{0,20}role.{0,20}(not|n't|un)\s*support", "user"),
            _refusal(
                _SYSTEM + r".{0,80}\b(begin|beginning|first|start|leading|single|one|only"
                r"|multiple|more than one|top|position|index 0)\b",
                "leading",
            ),
            _refusal(
                r"\b(begin|first|start|leading|single|one|only|multiple)\w*\b.{0,60}" + _SYSTEM,
                "leading",
            ),
            _refusal(r"(unexpected|invalid|wrong).{0,20}role.{0,10}" + _SYSTEM, "leading"),
            _refusal(r"role.{0,10}" + _SYSTEM + r".{0,40}(after|behind|follow)", "leading"),
            # A system message between two of the user; as the user's, it is one of them.
            _refusal(r"alternat", "leading", instead_of="anywhere"),
        ),
        plain="leading",
        is_seen=True,
    ),
    Point(
        "developer_role",
        ("kept", "system"),
        "developer messages: unchanged, or sent as system messages",
        "documented by OpenAI: both mean the same; assumed of others: they accept only one",
        hosts=dict.fromkeys(
            (
                "gemini",
                "vertex",
                "deepseek",
                "mistral",
                "groq",
                "cerebras",
                "fireworks",
                "together",
                "perplexity",
                "sambanova",
                "ollama",
                "lmstudio",
                "vllm",
                "sglang",
                "llama-cpp",
                "localai",
            ),
            "system",
        ),
        refusals=(_refusal(r"\bdeveloper\b", "system"),),
        plain="system",
    ),
    Point(
        "content_beside_calls",
        ("empty", "null", "absent"),
        "the content of an assistant message that has only calls",
        "documented by OpenAI: optional; seen: vLLM, SGLang and gateways require the key "
        "(extended_openai_conversation #456), others reject null or an empty text",
        refusals=(
            _refusal(r"content.{0,60}(empty|non-?empty|at least 1|min_length|blank)", "null"),
            _refusal(r"(empty|non-?empty|blank).{0,60}content", "null"),
            _refusal(r"content.{0,60}(null|none)\b", "absent"),
        ),
    ),
    Point(
        "user_behind_tool",
        ("direct", "bridged"),
        "a user message directly after a tool output: unchanged, or with an assistant message "
        "between them",
        "seen: Mistral's templates (zed #31736, hermes-agent #20154)",
        hosts={"mistral": "bridged"},
        refusals=(
            _refusal(r"role.{0,10}user.{0,40}(after|behind|follow).{0,20}tool", "bridged"),
            _refusal(r"\buser\b.{0,60}(after|behind|follow)\w*.{0,30}\btool", "bridged"),
            _refusal(r"\btool\b.{0,80}follow\w* by.{0,40}assistant", "bridged"),
            _refusal(r"roles? must alternate|alternat\w+ (roles|between|user)", "bridged"),
        ),
        plain="bridged",
        is_seen=True,
    ),
    Point(
        "same_role_in_a_row",
        ("kept", "merged"),
        "consecutive messages of one role: unchanged, or joined",
        "seen: templates of Gemma and Llama on vLLM and llama.cpp ('Conversation roles must "
        "alternate user/assistant')",
        hosts={"perplexity": "merged"},
        refusals=(
            _refusal(r"alternat", "merged"),
            _refusal(
                r"role.{0,10}(user|assistant).{0,40}(after|behind|follow).{0,20}role", "merged"
            ),
            _refusal(
                r"(consecutive|successive|in a row).{0,40}(role|message|user|assistant)", "merged"
            ),
        ),
        plain="merged",
        is_seen=True,
    ),
    Point(
        "missing_user",
        ("kept", "added"),
        "a context that does not begin and end with the user: unchanged, or with a short user "
        "message before a greeting of the assistant, and after its last message",
        "seen: Perplexity (livekit/agents #1529, ha-perplexity #117); assumed: templates of Qwen "
        "and Gemma, and Anthropic's models through gateways, by the texts of their rejections",
        hosts={"perplexity": "added"},
        refusals=(
            _refusal(r"alternat", "added"),
            _refusal(r"\b(first|begin|start)\w*\b.{0,60}\buser\b", "added"),
            _refusal(r"\buser\b.{0,40}\b(first|begin|start)", "added"),
            _refusal(r"\b(no|at least one|missing|without)\b.{0,40}\buser\b", "added"),
            _refusal(r"\b(end|last)\b.{0,60}\buser\b|assistant.{0,20}prefill", "added"),
            _refusal(r"immediately after a user turn|contents.{0,20}not specified", "added"),
        ),
        plain="added",
        is_seen=True,
    ),
    Point(
        "tool_names",
        ("left out", "sent"),
        "the name of the tool on its output",
        "documented by OpenAI: no such field; seen: Gemini through gateways "
        "('function_response.name: Name cannot be empty', OpenManus #824)",
        refusals=(
            _refusal(r"function_?response.{0,10}\bname\b", "sent"),
            _refusal(r"\btool\b.{0,40}\bname\b.{0,30}(required|missing|empty)", "sent"),
            _refusal(r"messages\W+\d+\W+(tool\W+)?name\b.{0,30}(required|missing)", "sent"),
        ),
    ),
    Point(
        "message_type",
        ("always", "assistant"),
        '`"type": "message"` on messages of the Responses API: on all, or on the assistant\'s',
        "documented by OpenAI: optional; seen: a host fails without it (kilocode #5700)",
        hosts=dict.fromkeys(("openai", "azure"), "assistant"),
        refusals=(_refusal(r"unknown.{0,40}\btype\b", "assistant"),),
    ),
    Point(
        "call_ids",
        ("kept", "nine"),
        "call ids: unchanged, or replaced by nine letters and digits",
        "assumed of Mistral: it accepts only nine letters and digits; seen: an id may carry data "
        "(litellm #16895), so on other hosts the host's own ids are kept",
        hosts={"mistral": "nine"},
        refusals=(
            _refusal(r"tool.?call.{0,20}id.{0,120}(length of 9|9 char|a-z)", "nine"),
            _refusal(r"(length of 9|a-zA-Z0-9\]\{9\})", "nine"),
            # Seen: Anthropic's models, for ids of other hosts in the history.
            _refusal(r"\b(tool_use|tool_calls?)\b.{0,20}\bid\b.{0,40}pattern", "nine"),
        ),
    ),
    Point(
        "reasoning_content",
        ("returned", "always", "never"),
        "the reasoning that came with calls: returned if it is known, on every message with "
        "calls (empty if it is not known), or never",
        "seen: DeepSeek requires it in thinking mode, even if empty (pipecat PR 5710, hermes-agent "
        "#15353)",
        refusals=(
            _refusal(
                r"reasoning_content.{0,120}(must|missing|required|passed back|expected)", "always"
            ),
            _refusal(r"(missing|required|must).{0,120}reasoning_content", "always"),
            _refusal(r"\breasoning_(content|details)\b", "never"),
        ),
        plain="never",
    ),
    Point(
        "extra_content",
        ("returned", "always", "never"),
        "extra fields that a host adds to a call (`extra_content`, a thought signature): returned "
        "if known, on every first call (Gemini's placeholder if not known), or never",
        "documented by Google (Vertex, thought signatures): required; seen: livekit/agents "
        "#4767, and the placeholder in vercel/ai (@ai-sdk/google 3.0.80)",
        hosts=dict.fromkeys(("openai", "azure", "mistral", "groq", "cerebras"), "never"),
        refusals=(
            _refusal(r"(missing|required|without|lacks).{0,80}thought_?signature", "always"),
            _refusal(r"\bextra_content\b", "never"),
        ),
        plain="never",
    ),
    Point(
        "output_limit",
        ("as named", "max_tokens", "max_completion_tokens"),
        "the name of the output token limit in Chat Completions",
        "documented by OpenAI: `max_completion_tokens`; assumed of the listed hosts: they accept "
        "only the other name",
        hosts={"mistral": "max_tokens", "perplexity": "max_tokens", "ollama": "max_tokens"},
        refusals=(
            _refusal(r"use\W+max_completion_tokens", "max_completion_tokens"),
            _refusal(r"use\W+max_tokens", "max_tokens"),
            _refusal(r"\bmax_completion_tokens\b", "max_tokens"),
            _refusal(r"\bmax_tokens\b", "max_completion_tokens"),
        ),
    ),
    Point(
        "stream_options",
        ("sent", "left out"),
        "`stream_options`, which request the usage",
        "seen: rejected by Foundry (litellm #11696) and by Mistral (mistralai/platform-docs-public "
        "#7); assumed: they send the usage anyway",
        hosts={"mistral": "left out"},
        refusals=(_refusal(r"\b(stream_options|include_usage)\b", "left out"),),
        plain="left out",
    ),
    Point(
        "store",
        ("sent", "if set", "left out"),
        "`store=False`: sent; only if the user sets it, not as VideoSDK's default; or left out, "
        "which only the user decides, because other hosts then store responses",
        "seen: rejected by Kilo's gateway (cloud PR 1526)",
        refusals=(
            _refusal(rf"{_NO_FIELD}.{{0,40}}\bstore\b", "if set", "sent"),
            _refusal(rf"\bstore\b.{{0,40}}{_NO_FIELD}", "if set", "sent"),
        ),
        plain="if set",
    ),
    Point(
        "thoughts",
        ("dropped", "prefilled", "spoken"),
        "thoughts between `<think>` and `</think>` or similar tags in the content: removed; "
        "removed, with an opening tag that is never sent; or spoken",
        "seen: livekit #3758, agents #5989; OpenAI's models never write them into the content",
        hosts=dict.fromkeys(("openai", "azure"), "spoken"),
    ),
)
"""All points."""

_BY_NAME: Mapping[str, Point] = {point.name: point for point in POINTS}
_NAMES = tuple(each.name for each in fields(Dialect))


def dialect_of(host: str) -> Dialect:
    """Return the dialect of a host by its name."""
    return Dialect(**{p.name: p.hosts[host] for p in POINTS if host in p.hosts})


def checked_points(given: Mapping[str, Any] | None) -> dict[str, str]:
    """Check the points that a user sets.

    Raises:
        ConfigError: If one is unknown, or has an unknown value.
    """
    if given is not None and not isinstance(given, Mapping):
        raise ConfigError(
            f"dialect is {given!r}; expected a mapping, for example "
            "{'system_messages': 'leading'}"
        )
    points: dict[str, str] = {}
    for name, value in (given or {}).items():
        point = _BY_NAME.get(name)
        if point is None:
            raise ConfigError(
                f"dialect has {name!r}; expected any of {', '.join(map(repr, _NAMES))}"
            )
        if value not in point.values:
            raise ConfigError(
                f"dialect has {name}={value!r}; expected one of "
                f"{', '.join(map(repr, point.values))}"
            )
        points[name] = value
    return points


ThinkTags = Literal["drop", "speak", "prefilled"]
"""How to handle thoughts between tags in the text."""

_THINK_TAGS: Mapping[str, str] = {
    "drop": "dropped",
    "speak": "spoken",
    "prefilled": "prefilled",
}


def dialect_with(
    dialect: Mapping[str, str] | None,
    *,
    strict_tools: bool | None = None,
    think_tags: ThinkTags | None = None,
) -> dict[str, str]:
    """Check the points that a user sets, including those with a keyword of their own.

    Raises:
        ConfigError: If one is unknown, or has an unknown value.
    """
    points = checked_points(dialect)
    if strict_tools is not None and not isinstance(strict_tools, bool):
        raise ConfigError(f"strict_tools is {strict_tools!r}; expected True, False or None")
    if strict_tools is not None:
        points["strict_tools"] = "kept" if strict_tools else "left out"
    if think_tags is not None and think_tags not in _THINK_TAGS:
        raise ConfigError(
            f"think_tags is {think_tags!r}; expected one of {', '.join(map(repr, _THINK_TAGS))}"
        )
    if think_tags is not None:
        points["thoughts"] = _THINK_TAGS[think_tags]
    return points


def wanted_points(words: str, dialect: Dialect) -> tuple[tuple[str, str], ...]:
    """Find the points that a rejection may ask to change, with the most likely new values."""
    found: dict[str, str] = {}
    for point in POINTS:
        present = getattr(dialect, point.name)
        for refusal in point.refusals:
            applies = refusal.instead_of in (None, present) and refusal.value != present
            if applies and refusal.words.search(words):
                found.setdefault(point.name, refusal.value)
    return tuple(found.items())


def plain_points(dialect: Dialect, *, on_a_guess: bool = True) -> tuple[tuple[str, str], ...]:
    """Return the changes that lead to the plainest form, which most hosts are assumed to accept.

    Args:
        dialect: The current dialect.
        on_a_guess: Whether the rejection did not name the form. Then only changes that the model
            does not see are returned.
    """
    return tuple(
        (point.name, point.plain)
        for point in POINTS
        if point.plain
        and _is_less_plain(point, getattr(dialect, point.name))
        and not (on_a_guess and point.is_seen)
    )


def _is_less_plain(point: Point, value: str) -> bool:
    """Whether a value comes before the plain one; the values after it work on more hosts."""
    return point.values.index(value) < point.values.index(point.plain)
