"""Judgements about connections: their lanes, HTTP, and the usage of cancelled responses."""

from collections.abc import Sequence

from rtllm.doctor.judgements.chains import Continued, judge_extra, judge_needed
from rtllm.doctor.judgements.findings import Finding, differs, holds, not_checked
from rtllm.doctor.judgements.replies import HostReply
from rtllm.providers.hosts import HostProfile
from rtllm.retry.policy import refuses_lanes

_TWO = "two requests at once on one connection, each with a `stream_id`"


def judge_websocket(reply: HostReply) -> Finding:
    """Judge whether the host has a Responses WebSocket."""
    name, asked = "websocket", "an upgrade of `/responses`, and a request on it"
    if reply.fault is None:
        meaning = "the connection stays open between turns"
        return holds(name, asked, f"accepted and answered ({reply.summary})", meaning)
    meaning = "every request goes over HTTP; the keyword avoids the failed attempt"
    return differs(name, asked, reply.summary, meaning, "use_websocket=False")


def have_lanes(replies: Sequence[HostReply]) -> bool | None:
    """Judge whether a host has lanes; None if its replies don't tell."""
    if any(reply.fault is not None and refuses_lanes(reply.fault) for reply in replies):
        return False
    if any(reply.fault is not None or reply.ended is None for reply in replies):
        return None
    return all(reply.tagged for reply in replies)


def judge_lanes(profile: HostProfile, replies: Sequence[HostReply]) -> Finding:
    """Judge whether the host has lanes."""
    name, has = "lanes", have_lanes(replies)
    failed = next((reply for reply in replies if reply.fault is not None), None)
    if has is None:
        return not_checked(name, _TWO, "no end" if failed is None else failed.summary)
    shown = "both answered, each with its `stream_id`"
    if not has:
        shown = "both answered without `stream_id`" if failed is None else failed.summary
    if has and profile.lanes:
        return holds(name, _TWO, shown, "a barge-in needs no other connection")
    if not has and not profile.lanes:
        return holds(name, _TWO, shown, "a barge-in uses another connection")
    if has:
        meaning = "a barge-in would need no other connection"
        return differs(name, _TWO, shown, meaning, "lanes=True")
    meaning = "a barge-in uses another connection; the keyword avoids the failed attempt"
    return differs(name, _TWO, shown, meaning, "lanes=False")


def judge_lane_memory(turn: Continued) -> Finding:
    """Judge whether a lane keeps its response while another lane gets one."""
    return judge_needed(
        "lane-memory",
        "a response on each of two lanes; the older one is continued on a third",
        turn,
        as_assumed="several conversations share a connection",
        otherwise="conversations on one connection would evict each other's responses",
        keyword="lanes=False",
    )


def judge_running(turn: Continued) -> Finding:
    """Judge whether a lane keeps its response while its next request runs."""
    return judge_extra(
        "lane-running",
        "a response, continued on another lane while the next request of its own lane runs",
        turn,
        as_assumed="the parent's lane is reserved until the next response is in progress",
        more="the reservation of the parent's lane is not needed; it costs nothing",
    )


def judge_older(turn: Continued) -> Finding:
    """Judge whether a lane keeps more than its newest response."""
    return judge_extra(
        "lane-older",
        "a response, continued on another lane after the next one of its own lane ended",
        turn,
        as_assumed="each lane preserves one response until it is used again",
        more="the lane keeps older responses, too; the code doesn't rely on it",
    )


_NOT_REFUSED = "the request that should fail was answered"


def judge_fork(failed: HostReply, turn: Continued) -> Finding:
    """Judge whether a response outlives the failure of a continuation on another lane."""
    name = "failed-fork"
    asked = "a rejected continuation on another lane, then a valid one on a third"
    if failed.fault is None:
        return not_checked(name, asked, _NOT_REFUSED)
    return judge_needed(
        name,
        asked,
        turn,
        as_assumed="a retry sends only what is new",
        otherwise="a retry after a rejection is sent in full: one more resend, no keyword",
    )


def judge_failed_continuation(failed: HostReply, turn: Continued) -> Finding:
    """Judge whether a lane forgets a response whose continuation on it failed."""
    name = "failed-continuation"
    asked = "a rejected continuation on the same lane, then a valid one on another"
    if failed.fault is None:
        return not_checked(name, asked, _NOT_REFUSED)
    return judge_extra(
        name,
        asked,
        turn,
        as_assumed="the code continues on another lane than the parent's",
        more="it is kept; the code doesn't rely on it",
    )


def judge_warm_up_lane(turn: Continued) -> Finding:
    """Judge whether a warm-up replaces the response that its lane keeps."""
    return judge_extra(
        "warm-up-lane",
        "a response, then `generate: false` on its lane; the response is continued on another",
        turn,
        as_assumed="a warm-up has a lane of its own",
        more="a warm-up replaces nothing; its own lane is not needed and costs nothing",
    )


def judge_usage(reply: HostReply, read: int) -> Finding:
    """Judge whether the usage of a cancelled response arrives.

    Args:
        reply: The response at its end.
        read: How many characters a turn had read when it was cancelled.
    """
    name, asked = "drained-usage", "a long response, of which only the beginning is used"
    if reply.fault is not None or reply.ended is None:
        return not_checked(name, asked, reply.summary)
    if reply.usage is None:
        meaning = "its tokens stay unknown: `llm.usage` counts it as unknown, not as 0"
        return differs(name, asked, "the response ended without usage", meaning)
    shown = (
        f"{reply.usage.output} output tokens at its end, {len(reply.text)} characters; "
        f"{read} of them were used"
    )
    meaning = "a barge-in is counted with the tokens that the host reports; a limit caps them"
    return holds(name, asked, shown, meaning)


def judge_http(reply: HostReply) -> Finding:
    """Judge whether the Responses API works over HTTP."""
    name, asked = "http", "`POST /responses` with `stream: true`"
    if reply.fault is None and reply.ended is not None:
        meaning = "if the WebSocket fails, turns go over HTTP"
        return holds(name, asked, f"a stream ({reply.summary})", meaning)
    if reply.is_passing:
        return not_checked(name, asked, reply.summary)
    meaning = "nothing takes over when the WebSocket fails; the keyword avoids the attempt"
    return differs(name, asked, reply.summary, meaning, "fallback=None")
