"""The names that LiveKit gives to a call."""

from livekit.agents import get_job_context

from rtllm import CallIdentity


def call_identity() -> CallIdentity:
    """Return the job, the room and the room's session, if there is a job.

    The id of a room's session is its ``sid``, which LiveKit Cloud shows as the session.
    """
    try:
        job = get_job_context().job
    except (RuntimeError, AttributeError):  # outside of a job, or in a simulated one
        return CallIdentity()
    return CallIdentity(
        job=job.id or None, room=job.room.name or None, session=job.room.sid or None
    )
