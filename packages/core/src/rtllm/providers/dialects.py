"""Dialects: what a host wants said otherwise than OpenAI does. One table, and what follows from it.

Each point has a value by default, other values by the names of hosts, sentences of refusals that
tell which value a host wants, and a name by which a user sets it (``dialect={"name": "value"}``).
``docs/hosts.md`` shows the table. How sure each fact is, its point says: *documented* by the host,
*seen* in a public report, or *assumed*.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from rtllm.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Dialect:
    """How requests are said to a host, and how its answers are read. See `POINTS`."""

    strict_tools: str = "kept"
    system_messages: str = "anywhere"
    developer_role: str = "kept"
    content_beside_calls: str = "empty"
    user_behind_tool: str = "direct"
    same_role_in_a_row: str = "kept"
    message_type: str = "always"
    call_ids: str = "kept"
    reasoning_content: str = "returned"
    extra_content: str = "returned"
    output_limit: str = "as named"
    stream_options: str = "sent"
    store: str = "sent"
    thoughts: str = "dropped"

    def with_points(self, changes: Mapping[str, str]) -> "Dialect":
        """The same but for some points."""
        return replace(self, **changes) if changes else self


@dataclass(frozen=True, slots=True)
class Refusal:
    """A sentence of a host that tells which value it wants.

    Attributes:
        words: What the sentence holds.
        value: The value that helps.
    """

    words: re.Pattern[str]
    value: str


@dataclass(frozen=True, slots=True)
class Point:
    """One point of a dialect.

    Attributes:
        name: Its name, which is the keyword's too.
        values: What it may be; the first one by default, and the one that every host is believed
            to take last.
        about: What it decides, for the docs.
        source: Where that comes from, and how sure it is.
        hosts: The value for known hosts, by their names.
        refusals: What refusals tell.
        plain: The value that the plainest wording has; empty if there is no plainer one.
        is_seen: Whether the model sees a difference: then it is not changed on a guess.
    """

    name: str
    values: tuple[str, ...]
    about: str
    source: str
    hosts: Mapping[str, str] = field(default_factory=dict)
    refusals: tuple[Refusal, ...] = ()
    plain: str = ""
    is_seen: bool = False


def _says(pattern: str, value: str) -> Refusal:
    return Refusal(re.compile(pattern, re.IGNORECASE | re.DOTALL), value)


_SYSTEM = r"\b(system|developer)\b"

POINTS: tuple[Point, ...] = (
    Point(
        "strict_tools",
        ("kept", "left out"),
        "the `strict` of function tools",
        "seen: open-cowork #232, litellm #33193, Cerebras (RooCode #10334): refused, or refused "
        "where a request mixes its values",
        hosts={"cerebras": "left out"},
        refusals=(
            _says(r"\bstrict\b", "left out"),
            _says(r"(invalid|unsupported|unexpected|unknown).{0,60}\btools\b", "left out"),
            _says(r"\btools\b.{0,60}(invalid|unsupported|unexpected|unknown)", "left out"),
        ),
        plain="left out",
    ),
    Point(
        "system_messages",
        ("anywhere", "leading", "user"),
        "system messages: where they stand; all as one at the beginning; or as a user's words",
        "seen: Qwen's templates (vllm #41114), Mistral's (mistral-common #169), Gemma's, which "
        "have no system role",
        hosts={"mistral": "leading", "perplexity": "leading"},
        refusals=(
            _says(r"\b(no|not support\w*|unsupported|without|unknown)\b.{0,40}\bsystem\b", "user"),
            _says(r"\bsystem\b.{0,20}role.{0,20}(not|n't|un)\s*support", "user"),
            _says(
                _SYSTEM + r".{0,80}\b(begin|beginning|first|start|leading|single|one|only"
                r"|multiple|more than one|top|position|index 0)\b",
                "leading",
            ),
            _says(
                r"\b(begin|first|start|leading|single|one|only|multiple)\w*\b.{0,60}" + _SYSTEM,
                "leading",
            ),
            _says(r"(unexpected|invalid|wrong).{0,20}role.{0,10}" + _SYSTEM, "leading"),
            _says(r"role.{0,10}" + _SYSTEM + r".{0,40}(after|behind|follow)", "leading"),
        ),
        plain="leading",
        is_seen=True,
    ),
    Point(
        "developer_role",
        ("kept", "system"),
        "messages of a developer: as they are, or as system messages",
        "documented by OpenAI: both mean the same; assumed of others: they know one only",
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
        refusals=(_says(r"\bdeveloper\b", "system"),),
        plain="system",
    ),
    Point(
        "content_beside_calls",
        ("empty", "null", "absent"),
        "the content of an assistant's message that holds calls only",
        "documented by OpenAI: may be left out; seen: vLLM, SGLang and gateways demand the key "
        "(extended_openai_conversation #456), others refuse null or an empty text",
        refusals=(
            _says(r"content.{0,60}(empty|non-?empty|at least 1|min_length|blank)", "null"),
            _says(r"(empty|non-?empty|blank).{0,60}content", "null"),
            _says(r"content.{0,60}(null|none)\b", "absent"),
        ),
    ),
    Point(
        "user_behind_tool",
        ("direct", "bridged"),
        "a user message directly after a tool output: as it is, or with an assistant message "
        "between",
        "seen: Mistral's templates (zed #31736, hermes-agent #20154)",
        hosts={"mistral": "bridged"},
        refusals=(
            _says(r"role.{0,10}user.{0,40}(after|behind|follow).{0,20}tool", "bridged"),
            _says(r"\buser\b.{0,60}(after|behind|follow)\w*.{0,30}\btool", "bridged"),
            _says(r"\btool\b.{0,80}follow\w* by.{0,40}assistant", "bridged"),
            _says(r"roles? must alternate|alternat\w+ (roles|between|user)", "bridged"),
        ),
        plain="bridged",
        is_seen=True,
    ),
    Point(
        "same_role_in_a_row",
        ("kept", "merged"),
        "messages of one speaker in a row: as they are, or as one",
        "seen: templates of Gemma and Llama on vLLM and llama.cpp ('Conversation roles must "
        "alternate user/assistant')",
        hosts={"perplexity": "merged"},
        refusals=(
            _says(r"alternat", "merged"),
            _says(r"role.{0,10}(user|assistant).{0,40}(after|behind|follow).{0,20}role", "merged"),
            _says(
                r"(consecutive|successive|in a row).{0,40}(role|message|user|assistant)", "merged"
            ),
        ),
        plain="merged",
        is_seen=True,
    ),
    Point(
        "message_type",
        ("always", "assistant"),
        '`"type": "message"` on messages of the Responses API: on all, or on the assistant\'s',
        "documented by OpenAI: may be left out; seen: a host breaks without it (kilocode #5700)",
        hosts=dict.fromkeys(("openai", "azure"), "assistant"),
        refusals=(_says(r"unknown.{0,40}\btype\b", "assistant"),),
    ),
    Point(
        "call_ids",
        ("kept", "nine"),
        "ids of calls: as they are, or as nine letters and digits",
        "assumed of Mistral: nine letters and digits; seen: an id may carry data "
        "(litellm #16895), so a host's own ids are kept otherwise",
        hosts={"mistral": "nine"},
        refusals=(
            _says(r"tool.?call.{0,20}id.{0,120}(length of 9|9 char|a-z)", "nine"),
            _says(r"(length of 9|a-zA-Z0-9\]\{9\})", "nine"),
        ),
    ),
    Point(
        "reasoning_content",
        ("returned", "always", "never"),
        "the reasoning that came with calls: returned where it is known, on each message with "
        "calls (empty where it is not known), or never",
        "seen: DeepSeek wants it in thinking mode, even empty (pipecat PR 5710, hermes-agent "
        "#15353)",
        refusals=(
            _says(
                r"reasoning_content.{0,120}(must|missing|required|passed back|expected)", "always"
            ),
            _says(r"(missing|required|must).{0,120}reasoning_content", "always"),
            _says(r"\breasoning_(content|details)\b", "never"),
        ),
        plain="never",
    ),
    Point(
        "extra_content",
        ("returned", "always", "never"),
        "what a host hung on a call (`extra_content`, a thought signature): goes back where it is "
        "known, on each first call (Gemini's stand-in where it is not known), or never",
        "documented by Google (Vertex, thought signatures): must come back; seen: livekit/agents "
        "#4767, and the stand-in in vercel/ai (@ai-sdk/google 3.0.80)",
        hosts=dict.fromkeys(("openai", "azure", "mistral", "groq", "cerebras"), "never"),
        refusals=(
            _says(r"(missing|required|without|lacks).{0,80}thought_?signature", "always"),
            _says(r"\bextra_content\b", "never"),
        ),
        plain="never",
    ),
    Point(
        "output_limit",
        ("as named", "max_tokens", "max_completion_tokens"),
        "the name of the limit of an answer's tokens over Chat Completions",
        "documented by OpenAI: `max_completion_tokens`; assumed of the named ones: they know the "
        "other only",
        hosts={"mistral": "max_tokens", "perplexity": "max_tokens", "ollama": "max_tokens"},
        refusals=(
            _says(r"use\W+max_completion_tokens", "max_completion_tokens"),
            _says(r"use\W+max_tokens", "max_tokens"),
            _says(r"\bmax_completion_tokens\b", "max_tokens"),
            _says(r"\bmax_tokens\b", "max_completion_tokens"),
        ),
    ),
    Point(
        "stream_options",
        ("sent", "left out"),
        "`stream_options`, which ask for the usage",
        "seen: refused by Foundry (litellm #11696) and by Mistral (mistralai/platform-docs-public "
        "#7); assumed: there the usage comes unasked",
        hosts={"mistral": "left out"},
        refusals=(_says(r"\b(stream_options|include_usage)\b", "left out"),),
        plain="left out",
    ),
    Point(
        "store",
        ("sent", "left out"),
        "`store=False`, where a host does not know the field; only if you say so, for elsewhere it "
        "would mean the opposite",
        "seen: Kilo's gateway (cloud PR 1526)",
    ),
    Point(
        "thoughts",
        ("dropped", "prefilled", "spoken"),
        "thoughts between `<think>` and `</think>` and their like, in the content: not spoken and "
        "not recorded; so, where the opening tag is never sent; or spoken",
        "seen: livekit #3758, agents #5989; OpenAI's models never write them into the content",
        hosts=dict.fromkeys(("openai", "azure"), "spoken"),
    ),
)
"""All points."""

_BY_NAME: Mapping[str, Point] = {point.name: point for point in POINTS}
_NAMES = tuple(each.name for each in fields(Dialect))


def dialect_of(host: str) -> Dialect:
    """The dialect of a host, by its name."""
    return Dialect(**{p.name: p.hosts[host] for p in POINTS if host in p.hosts})


def checked_points(given: Mapping[str, Any] | None) -> dict[str, str]:
    """The points that a user sets.

    Raises:
        ConfigError: If one is unknown, or has a value that it can't have.
    """
    points: dict[str, str] = {}
    for name, value in (given or {}).items():
        point = _BY_NAME.get(name)
        if point is None:
            raise ConfigError(
                f"dialect has {name!r}; expected some of {', '.join(map(repr, _NAMES))}"
            )
        if value not in point.values:
            raise ConfigError(
                f"dialect has {name}={value!r}; expected one of "
                f"{', '.join(map(repr, point.values))}"
            )
        points[name] = value
    return points


ThinkTags = Literal["drop", "speak", "prefilled"]
"""What becomes of thoughts between tags in the words."""

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
    """The points that a user sets, those with a keyword of their own among them.

    Raises:
        ConfigError: If one is unknown, or has a value that it can't have.
    """
    points = checked_points(dialect)
    if strict_tools not in (None, True, False):
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
    """What a refusal may ask for: points, each with the likeliest value that isn't in use."""
    found: dict[str, str] = {}
    for point in POINTS:
        present = getattr(dialect, point.name)
        for refusal in point.refusals:
            if refusal.value != present and refusal.words.search(words):
                found.setdefault(point.name, refusal.value)
    return tuple(found.items())


def plain_points(dialect: Dialect, *, on_a_guess: bool = True) -> tuple[tuple[str, str], ...]:
    """What the plainest wording has otherwise: what most hosts are believed to take.

    Args:
        dialect: What is in use.
        on_a_guess: Whether nothing told that the form was refused: then the model sees the same.
    """
    return tuple(
        (point.name, point.plain)
        for point in POINTS
        if point.plain
        and getattr(dialect, point.name) != point.plain
        and not (on_a_guess and point.is_seen)
    )
