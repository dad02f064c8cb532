"""The names that VideoSDK gives to a call."""

from typing import Any

from videosdk.agents.job import get_current_job_context

from rtllm import CallIdentity


def call_identity() -> CallIdentity:
    """Return the meeting and its session, if there is a job with a room.

    The session is known once the meeting is joined.
    """
    context: Any = get_current_job_context()
    room = getattr(context, "room", None)
    options = getattr(context, "room_options", None)
    meeting = getattr(room, "meeting_id", None) or getattr(options, "room_id", None)
    session = getattr(getattr(room, "meeting", None), "session_id", None)
    return CallIdentity(room=_text(meeting), session=_text(session))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
