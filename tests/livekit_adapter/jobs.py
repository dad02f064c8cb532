"""Jobs of a LiveKit worker, without a worker."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

from livekit.agents import JobExecutorType
from livekit.agents import job as livekit_job
from livekit.protocol import agent as proto
from livekit.protocol import models


@asynccontextmanager
async def job_of(number: int) -> AsyncIterator[None]:
    """Run the turns inside as LiveKit runs those of a job."""
    room = models.Room(name=f"room-{number}", sid=f"RM_{number}")
    job = proto.Job(id=f"job-{number}", room=room)
    accepted = livekit_job.JobAcceptArguments(name="", identity="", metadata="")
    info = livekit_job.RunningJobInfo(accepted, job, "", "", "worker", fake_job=True)
    process = livekit_job.JobProcess(
        executor_type=JobExecutorType.THREAD, user_arguments=None, http_proxy=None
    )
    nothing: Any = SimpleNamespace(on=lambda *_: None)
    context = livekit_job.JobContext(
        proc=process,
        info=info,
        room=nothing,
        on_connect=lambda: None,
        on_shutdown=lambda _: None,
        inference_executor=nothing,
    )
    token = livekit_job._JobContextVar.set(context)
    try:
        yield
    finally:
        livekit_job._JobContextVar.reset(token)
        await context._on_cleanup()
