"""Sessions in text mode."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from livekit.agents import Agent, AgentSession, llm
from livekit.agents.voice.audio_recognition import (
    _EndOfTurnInfo,
    _EndOfTurnMetrics,
    _PreemptiveGenerationInfo,
)


@asynccontextmanager
async def session_of(
    model: llm.LLM[Any], agent: Agent, **options: Any
) -> AsyncIterator[AgentSession[Any]]:
    """A running session in text mode."""
    options.setdefault("turn_handling", {"turn_detection": None})
    async with AgentSession[Any](llm=model, vad=None, **options) as session:
        await session.start(agent)
        yield session


def said_in(session: AgentSession[Any]) -> list[tuple[str, str]]:
    """The messages of a session's history, as role and text."""
    return [(m.role, m.text_content or "") for m in session.history.messages()]


def errors_of(model: llm.LLM[Any]) -> list[llm.LLMError]:
    """The error events of an LLM from now on."""
    events: list[llm.LLMError] = []
    model.on("error", events.append)
    return events


def draft(session: AgentSession[Any], text: str) -> None:
    """As the recogniser does at a transcript that isn't final."""
    activity = session._activity
    assert activity is not None
    activity.on_preemptive_generation(
        _PreemptiveGenerationInfo(
            new_transcript=text, transcript_confidence=0.9, started_speaking_at=time.time()
        )
    )


def end_of_turn(session: AgentSession[Any], text: str) -> None:
    """As the recogniser does when the caller has finished."""
    activity = session._activity
    assert activity is not None
    activity.on_end_of_turn(
        _EndOfTurnInfo(
            skip_reply=False,
            new_transcript=text,
            transcript_confidence=0.9,
            metrics=_EndOfTurnMetrics(None, None, None, None),
        )
    )
