"""Jobs of a VideoSDK worker, without a worker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from videosdk.agents import job as videosdk_job

MEETING = SimpleNamespace(meeting_id="abcd-efgh", meeting=SimpleNamespace(session_id="6650f"))


@contextmanager
def job_of(room: object, room_id: str | None = None) -> Iterator[None]:
    """Run the turns inside as VideoSDK runs those of a job."""
    context: Any = SimpleNamespace(room=room, room_options=SimpleNamespace(room_id=room_id))
    token = videosdk_job._current_job_context.set(context)
    try:
        yield
    finally:
        videosdk_job._current_job_context.reset(token)
