"""Judgements about the limits of connections, and about the speed of lanes."""

from collections.abc import Sequence

from rtllm.doctor.judgements.findings import Finding, differs, holds, not_checked
from rtllm.doctor.judgements.replies import HostReply
from rtllm.providers.hosts import HostProfile
from rtllm.retry.faults import Fault

SLOWER = 0.5
"""Seconds that a lookup of another lane's response may take more."""
MIB = 2**20


def judge_lane_speed(same: Sequence[HostReply], other: Sequence[HostReply]) -> Finding:
    """Judge whether a continuation on another lane is as quick as on the same one."""
    name, asked = "lane-speed", "a response continued on its own lane and on another, twice each"
    on_same = [reply.seconds for reply in same if reply.seconds is not None]
    on_other = [reply.seconds for reply in other if reply.seconds is not None]
    if not on_same or not on_other:
        return not_checked(name, asked, "no words came")
    quickest, across = min(on_same), min(on_other)
    shown = f"{quickest:.2f} s on the same lane, {across:.2f} s on another"
    if across > quickest + SLOWER:
        meaning = "every turn waits for the lookup, since each uses another lane"
        return differs(name, asked, shown, meaning, "lanes=False")
    return holds(name, asked, shown, "turns lose nothing on another lane", "likely")


def judge_at_once(began: int, count: int, failed: HostReply | None) -> Finding:
    """Judge whether many responses run at once.

    Args:
        began: How many had begun when the first one ended.
        count: How many were requested.
        failed: One that failed, if any.
    """
    name, asked = "at-once", f"{count} requests at once on one connection, each on its own lane"
    if failed is not None:
        return not_checked(name, asked, failed.summary)
    shown = f"{began} of {count} had begun when the first one ended"
    if began < count:
        return holds(name, asked, shown, "more than 8 use another connection")
    meaning = "more than 8 would not be delayed; a second connection is not needed, but harmless"
    return holds(name, asked, shown, meaning, "likely")


def judge_frame_size(profile: HostProfile, tried: Sequence[tuple[int, HostReply]]) -> Finding:
    """Judge the largest frame.

    Args:
        profile: The profile that names it.
        tried: The sizes in bytes, the largest first, and the replies to frames of that size that
            are refused for their content.
    """
    name, asked = "frame-size", "a frame of that size whose content is refused before it costs"
    accepted = next((size for size, reply in tried if reply.is_rejected), None)
    if accepted is None:
        return not_checked(name, asked, tried[-1][1].summary)
    shown = f"{accepted} bytes were read"
    if accepted >= profile.max_frame:
        return holds(name, asked, shown, "larger requests go over HTTP")
    shown += f", {tried[0][0]} were not ({tried[0][1].summary})"
    meaning = "larger requests fail once before they go over HTTP"
    return differs(
        name, asked, shown, meaning, f"host_profile=HostProfile(…, max_frame={accepted})"
    )


def judge_unknown_event(after: HostReply) -> Finding:
    """Judge a request on a connection that got an unknown event before."""
    name, asked = "unknown-event", "an event of a type that does not exist, then a request"
    meaning = "the code sends no such events"
    if after.fault is None:
        return holds(name, asked, "the request was answered", f"the connection survives; {meaning}")
    return holds(name, asked, after.summary, meaning)


def judge_lifetime(
    profile: HostProfile, waited: float, lost: Fault | None, after: HostReply | None
) -> Finding:
    """Judge how long a connection lasts without requests.

    Args:
        profile: The profile that names its lifetime.
        waited: Seconds that it was open.
        lost: Why it was lost; None if it was not.
        after: The reply to a request after the wait; None if it was lost.
    """
    name, asked = "lifetime", "a connection with nothing but pings, then a request"
    minutes = f"{waited / 60:.0f} minutes"
    if lost is None and after is not None and after.fault is None:
        meaning = "a key or token that expired meanwhile is not checked again"
        return holds(name, asked, f"answered after {minutes}", meaning)
    reason = lost.message if lost is not None else after.summary if after is not None else "no end"
    shown = f"over after {minutes}: {reason}"
    if waited >= profile.lifetime * 11 / 12:
        return holds(name, asked, shown, "connections are replaced before that")
    meaning = "turns after a pause meet a closed connection, and are sent again once"
    keyword = f"host_profile=HostProfile(…, lifetime={waited:.0f})"
    return differs(name, asked, shown, meaning, keyword)
