"""Judgements about continued responses: what a host keeps, reports and counts."""

from dataclasses import dataclass

from rtllm.doctor.judgements.findings import Certainty, Finding, differs, holds, not_checked
from rtllm.doctor.judgements.replies import Baseline, HostReply, Kept, kept, seen
from rtllm.providers.hosts import HostProfile

_NO_CHAIN = "chaining=False"
_NOT_RECOGNIZED = (
    "the error is not taken for a lost response, so continued turns may fail. Please report it"
)
_FULL = "turns send their full context, at the cost of one failed attempt after each such response"
_WITHOUT_CONTEXT = "the model would see only the newest message of a turn"


@dataclass(frozen=True, slots=True)
class Continued:
    """A response with a word, and a request that continues it and asks for the word.

    Attributes:
        first: The reply to the message with the word.
        second: The reply to the question.
        word: The word.
        baseline: Token counts, if the host reports them.
    """

    first: HostReply
    second: HostReply
    word: str
    baseline: Baseline | None = None

    @property
    def kept(self) -> Kept:
        """Whether the question knew the response."""
        if self.first.response_id is None or self.first.fault is not None:
            return "failed"
        return kept(self.second, self.word, self.baseline)

    @property
    def is_kept(self) -> bool | None:
        """Whether the question knew the response; None if the answer does not tell."""
        outcome = self.kept
        return None if outcome in ("failed", "unclear") else outcome == "kept"

    @property
    def seen(self) -> str:
        """What came back for the question."""
        if self.first.fault is not None:
            return f"the response to continue failed ({self.first.summary})"
        return seen(self.second, self.kept)

    @property
    def parent(self) -> str:
        """What the question's response says that it continues."""
        named = self.second.parent
        if named is None:
            return "missing"
        if not named:
            return "null"
        return "the same response" if named == self.first.response_id else "another id"


def is_detected(profile: HostProfile, reply: HostReply) -> bool:
    """Whether the code notices that a host ignored the continued response."""
    return not profile.keeps_parents and not reply.parent


def judge_kept(profile: HostProfile, turn: Continued) -> Finding:
    """Judge whether a response is continued on its own connection with ``store=False``."""
    name = "parent-kept"
    asked = "two turns on one connection with `store=False`; the second one asks for a word"
    is_assumed = profile.memory == "connection"
    match turn.kept:
        case "kept" if is_assumed:
            return holds(name, asked, turn.seen, "each turn sends only what is new")
        case "kept":
            meaning = "the host keeps more than is known of it; turns could send less"
            keyword = 'host_profile=HostProfile(…, memory="connection")'
            return differs(name, asked, turn.seen, meaning, keyword)
        case "missed" | "refused" if not is_assumed:
            return holds(name, asked, turn.seen, "such responses are not continued on this host")
        case "missed":
            keyword = f"store=True (if stored-elsewhere holds), or {_NO_CHAIN}"
            return differs(name, asked, turn.seen, _FULL, keyword)
        case "refused":
            return differs(name, asked, turn.seen, _NOT_RECOGNIZED, _NO_CHAIN)
        case "ignored":
            return _ignored(profile, name, asked, turn)
        case _:
            return not_checked(name, asked, turn.seen)


def _ignored(profile: HostProfile, name: str, asked: str, turn: Continued) -> Finding:
    """Judge a turn that was answered as if it continued nothing."""
    if profile.memory == "none":
        meaning = "no response is continued on this host"
        return holds(name, asked, turn.seen, meaning, "likely")
    meaning = _WITHOUT_CONTEXT
    if is_detected(profile, turn.second):
        meaning = "the first continued turn is noticed and sent again in full; that costs its time"
    return differs(name, asked, turn.seen, meaning, _NO_CHAIN)


def judge_named(profile: HostProfile, turn: Continued, name: str = "parent-named") -> Finding:
    """Judge what the first event names as the continued response."""
    asked = "`previous_response_id` of the second turn's `response.created`"
    if turn.kept not in ("kept", "ignored"):
        return not_checked(name, asked, "no response that tells")
    shown = turn.parent
    if profile.keeps_parents:
        meaning = "not read on this host, which documents chaining"
        return holds(name, asked, shown, meaning)
    is_known, is_named = turn.kept == "kept", bool(turn.second.parent)
    if is_known == is_named:
        meaning = "a response that is not known any more is noticed before any text is emitted"
        return holds(name, asked, shown, meaning)
    if is_known:
        meaning = "the first continued turn is taken for forgotten; later turns are sent in full"
        return differs(name, asked, shown, meaning, "chaining=True")
    return differs(name, asked, f"{shown}, though it was ignored", _WITHOUT_CONTEXT, _NO_CHAIN)


def judge_tokens(turn: Continued, name: str = "input-tokens") -> Finding:
    """Judge which input tokens of a continued response are counted."""
    asked = "the usage of a message, of a question, and of both as two turns"
    base = turn.baseline
    if base is None or turn.second.usage is None:
        return not_checked(name, asked, "the host reported no usage")
    if turn.kept not in ("kept", "unclear"):
        return not_checked(name, asked, "the second turn continued nothing")
    shown = f"{base.message}, {base.question}, and {turn.second.usage.input} as the second turn"
    if base.counts_context(turn.second):
        return holds(name, asked, shown, "`llm.usage` and its costs are as on OpenAI", "likely")
    meaning = "`llm.usage` has fewer tokens than the context, as this host counts; chaining works"
    return differs(name, asked, shown, meaning)


def judge_unknown(profile: HostProfile, reply: HostReply, name: str = "unknown-parent") -> Finding:
    """Judge the answer to a request that continues a response that never existed."""
    asked = "a question that continues an id that was never given"
    if profile.memory == "none":
        return holds(name, asked, reply.summary, "no response is continued on this host")
    if reply.misses_parent:
        meaning = "a lost response costs one resend of the full context in the same turn"
        return holds(name, asked, reply.summary, meaning)
    if reply.fault is not None:
        if reply.is_passing:
            return not_checked(name, asked, reply.summary)
        return differs(name, asked, reply.summary, _NOT_RECOGNIZED, _NO_CHAIN)
    if reply.ended is None:
        return not_checked(name, asked, reply.summary)
    if is_detected(profile, reply):
        meaning = "the first event tells, so the turn is sent again in full"
        return holds(name, asked, "answered, and names no parent", meaning)
    return differs(name, asked, "answered without any context", _WITHOUT_CONTEXT, _NO_CHAIN)


def judge_stored(profile: HostProfile, turn: Continued, name: str = "stored-elsewhere") -> Finding:
    """Judge whether a stored response is continued elsewhere: on a connection, or over HTTP."""
    asked = "a response with `store=True`, continued on another connection"
    if name == "http-chain":
        asked = "two turns over HTTP with `store=True`"
    is_assumed = profile.memory != "none"
    match turn.kept:
        case "kept" if is_assumed:
            meaning = "with `store=True` a turn sends only what is new, also after a reconnect"
            return holds(name, asked, turn.seen, meaning)
        case "kept":
            meaning = "the host keeps more than is known of it; turns could send less"
            return differs(
                name, asked, turn.seen, meaning, 'host_profile=HostProfile(…, memory="stored")'
            )
        case "missed" | "refused" if not is_assumed:
            return holds(name, asked, turn.seen, "no response is continued on this host")
        case "missed":
            return differs(name, asked, turn.seen, _FULL, "store=False")
        case "refused":
            return differs(name, asked, turn.seen, _NOT_RECOGNIZED, _NO_CHAIN)
        case "ignored":
            return _ignored(profile, name, asked, turn)
        case _:
            return not_checked(name, asked, turn.seen)


def judge_unstored(turn: Continued) -> Finding:
    """Judge whether a response that is not stored is known to another connection."""
    name = "unstored-elsewhere"
    asked = "a response with `store=False`, continued on another connection"
    match turn.kept:
        case "missed" | "refused":
            return holds(name, asked, turn.seen, "after a reconnect a turn is sent in full")
        case "kept":
            meaning = "the host keeps it although `store=False`; nothing depends on it"
            return holds(name, asked, turn.seen, meaning)
        case "ignored":
            meaning = "it is not known there; the code continues it on its own connection only"
            return holds(name, asked, turn.seen, meaning, "likely")
        case _:
            return not_checked(name, asked, turn.seen)


def judge_unstored_over_http(turn: Continued) -> Finding:
    """Judge whether a response that is not stored is continued over HTTP."""
    name, asked = "http-unstored", "two turns over HTTP with `store=False`"
    as_assumed = "with `store=False` each turn over HTTP sends its full context"
    return judge_extra(
        name,
        asked,
        turn,
        as_assumed=f"{as_assumed}; `store=True` sends less if http-chain holds",
        more=f"the host keeps it although `store=False`; the code doesn't rely on it: {as_assumed}",
    )


def judge_warm_up_over_http(warmed: HostReply, turn: Continued) -> Finding:
    """Judge whether a context is processed over HTTP without a response, and continued."""
    name = "http-warm-up"
    asked = "a message over HTTP with `generate: false` and `store=True`, continued by a question"
    none = "`Client.warm_up` fails over HTTP; first turns send the full prompt"
    if warmed.fault is not None:
        if warmed.is_passing:
            return not_checked(name, asked, warmed.summary)
        return holds(name, asked, warmed.summary, none)
    if warmed.text:
        return holds(name, asked, "a response was generated", none)
    more = "the host takes warm-ups over HTTP; the code doesn't send them there"
    return judge_extra(name, asked, turn, as_assumed=none, more=more)


def judge_warm_up(warmed: HostReply, turn: Continued) -> Finding:
    """Judge whether a context is processed without a response, and can be continued."""
    name, asked = "warm-up", "a message with `generate: false`, continued by a question"
    keyword = "rebuild=False (the default), and no Client.warm_up"
    if warmed.is_passing:
        return not_checked(name, asked, warmed.summary)
    if warmed.fault is not None:
        meaning = "a prompt can't be processed in advance; first turns send it"
        return differs(name, asked, warmed.summary, meaning, keyword)
    if warmed.text:
        meaning = "each warm-up is billed as a response"
        return differs(name, asked, "a response was generated", meaning, keyword)
    return judge_needed(
        name,
        asked,
        turn,
        as_assumed="first turns can send only what is new",
        otherwise="a warm-up is lost; first turns send the full prompt",
        keyword=keyword,
    )


def judge_incomplete(turn: Continued) -> Finding:
    """Judge whether an incomplete response is continued if it is not stored."""
    name = "incomplete-parent"
    asked = "a response cut at its output limit with `store=False`, continued by a question"
    if turn.first.ended is None or turn.first.ended.outcome != "incomplete":
        return not_checked(name, asked, "the response was not cut")
    return judge_extra(
        name,
        asked,
        turn,
        as_assumed="a turn after it continues an older response",
        more="it could be continued; the code doesn't, and sends a little more",
    )


def judge_extra(name: str, asked: str, turn: Continued, *, as_assumed: str, more: str) -> Finding:
    """Judge something that is assumed not to be kept; a host that keeps it does no harm."""
    match turn.kept:
        case "missed" | "refused" | "ignored":
            certainty: Certainty = "likely" if turn.kept == "ignored" else "measured"
            return holds(name, asked, turn.seen, as_assumed, certainty)
        case "kept":
            return holds(name, asked, turn.seen, more)
        case _:
            return not_checked(name, asked, turn.seen)


def judge_needed(
    name: str, asked: str, turn: Continued, *, as_assumed: str, otherwise: str, keyword: str = ""
) -> Finding:
    """Judge something that is assumed to be kept.

    Args:
        name: The name of the question.
        asked: What was sent.
        turn: The response, and its continuation.
        as_assumed: The consequence if it is kept.
        otherwise: The consequence if it is not.
        keyword: The keyword to set then; empty if none is needed.
    """
    match turn.kept:
        case "kept":
            return holds(name, asked, turn.seen, as_assumed)
        case "missed" | "refused" | "ignored":
            return differs(name, asked, turn.seen, otherwise, keyword)
        case _:
            return not_checked(name, asked, turn.seen)
