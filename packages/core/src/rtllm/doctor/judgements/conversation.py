"""Judgements about a conversation that the library's own client had with the host."""

from dataclasses import dataclass

from rtllm.content.usage import Usage
from rtllm.doctor.judgements.findings import Finding, differs, fails, holds, not_checked

SLOW = 2.0
"""Seconds to the first word that a caller notices."""
MORE = 1.0
"""Seconds that one kind of turn may take longer than a plain one."""
CACHEABLE = 1024
"""Tokens that a prompt needs for the cache (documented by OpenAI)."""
_FASTER = 'service_tier="priority", a smaller model, or a region that is nearer'


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of the conversation.

    Attributes:
        seconds: Seconds from the request to the first word; None if there was none.
        reused: Whether its connection was open before.
        chained: Whether it continued an earlier response.
        unchained_because: Why it did not.
        usage: Its tokens, if the host reported them.
        error: Why it failed.
    """

    seconds: float | None = None
    reused: bool = False
    chained: bool = False
    unchained_because: str = ""
    usage: Usage | None = None
    error: str = ""

    @property
    def shown(self) -> str:
        """How long it took, for reports."""
        if self.seconds is None:
            return self.error or "no word came"
        return f"{self.seconds:.2f} s"


def judge_cold(cold: Turn, warm: Turn) -> Finding:
    """Judge the first turn of a client, which opens a connection."""
    name, asked = "first-word-cold", "the first turn of a new client"
    if cold.seconds is None:
        return not_checked(name, asked, cold.shown)
    if warm.seconds is not None and cold.seconds > warm.seconds + MORE:
        shown = f"{cold.shown}, and {warm.shown} on an open connection"
        meaning = "the first caller after a start waits for the connection"
        return differs(name, asked, shown, meaning, "prewarm() when the process starts")
    return holds(name, asked, cold.shown, "`prewarm()` would save what it needs more")


def judge_warm(warm: Turn) -> Finding:
    """Judge a turn on an open connection."""
    name, asked = "first-word-warm", "the first turn of another conversation"
    if warm.seconds is None:
        return not_checked(name, asked, warm.shown)
    if warm.seconds > SLOW:
        meaning = "callers notice the wait; nothing in this library makes the model faster"
        return differs(name, asked, warm.shown, meaning, _FASTER)
    return holds(name, asked, warm.shown, "quick enough for a conversation")


def judge_chained(chained: Turn, warm: Turn) -> Finding:
    """Judge a turn that continues an earlier response."""
    name, asked = "first-word-chained", "the second turn of that conversation"
    if chained.seconds is None or warm.seconds is None:
        return not_checked(name, asked, chained.shown)
    if not chained.chained:
        why = chained.unchained_because or "the full context was sent"
        return not_checked(name, asked, f"{chained.shown}, not chained: {why}")
    if chained.seconds > warm.seconds + MORE:
        shown = f"{chained.shown}, and {warm.shown} with the full context"
        meaning = "continuing a response is slower here than sending everything"
        return differs(name, asked, shown, meaning, "chaining=False")
    return holds(name, asked, chained.shown, "only what is new was sent")


def judge_barge_in(after: Turn, warm: Turn, *, has_lanes: bool) -> Finding:
    """Judge a turn that follows an interrupted one at once."""
    name, asked = (
        "first-word-barge-in",
        "a turn right after one that was cancelled at its first word",
    )
    if after.seconds is None or warm.seconds is None:
        return not_checked(name, asked, after.shown)
    if after.seconds > warm.seconds + MORE:
        shown = f"{after.shown}, and {warm.shown} without an interruption"
        meaning = "callers who interrupt wait for the response that they interrupted"
        return differs(name, asked, shown, meaning, "" if has_lanes else "warm_connections=2")
    return holds(name, asked, after.shown, "an interruption does not delay the next turn")


def judge_cache(turns: list[Turn], *, takes_key: bool) -> Finding:
    """Judge whether prompts are read from the host's cache.

    Args:
        turns: The turns after the first one; their prompts begin as its prompt does.
        takes_key: Whether the host documents ``prompt_cache_key``.
    """
    name, asked = "prompt-cache", "several turns whose prompts begin with the same long text"
    known = [turn.usage for turn in turns if turn.usage is not None]
    if not known:
        return not_checked(name, asked, "the host reported no usage")
    if all(usage.cached is None for usage in known):
        return not_checked(name, asked, "the host does not report cached tokens")
    size = max(usage.input for usage in known)
    read = max(usage.cached or 0 for usage in known)
    shown = f"{read} of {size} input tokens were read from the cache"
    if read:
        return holds(name, asked, shown, "long instructions cost less, and are processed sooner")
    if size < CACHEABLE:
        return not_checked(name, asked, f"{shown}; a prompt needs {CACHEABLE}")
    meaning = "every turn pays for its whole prompt"
    keyword = 'parameters={"prompt_cache_key": "…"}' if takes_key else ""
    return differs(name, asked, shown, meaning, keyword)


@dataclass(frozen=True, slots=True)
class ToolTurn:
    """One turn with a tool.

    Attributes:
        called: Whether the tool was called with the right argument.
        other: What came instead of the call.
        error: Why the turn failed; empty if it did not.
    """

    called: bool = False
    other: str = ""
    error: str = ""


def judge_tools(strict: ToolTurn, plain: ToolTurn | None) -> Finding:
    """Judge a function tool.

    Args:
        strict: The turn with a strict schema.
        plain: The turn without ``strict``, if the strict one failed.
    """
    name, asked = "tools", "a turn that asks for a call of a function with a strict schema"
    if strict.called:
        return holds(name, asked, "called, with the right argument", "tools can be used")
    if not strict.error:
        meaning = "the model answers in words; agents with tools need another one"
        return differs(name, asked, f"no call ({strict.other})", meaning, "model=")
    if plain is None or plain.error:
        meaning = "agents with tools fail on this host"
        return differs(name, asked, strict.error, meaning, "model=")
    meaning = "schemas are accepted without `strict`; the keyword saves the refused request"
    return differs(name, asked, strict.error, meaning, "strict_tools=False")


def judge_failed_conversation(error: str) -> Finding:
    """Judge a model that answered short requests, but fails in each turn of a conversation."""
    return fails("model", "a conversation with a long prompt", error, "turns of agents fail, too")
