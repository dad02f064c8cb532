"""What an engine is made with, and what all engines of a client share."""

import logging
from dataclasses import dataclass
from typing import Literal

from rtllm.providers.hosts import HostProfile
from rtllm.retry.rejections import RejectedParameters
from rtllm.scheduling.connection_pool import MAX_CONNECTIONS

logger = logging.getLogger(__name__)

Api = Literal["responses", "chat"]
"""The API that an engine speaks; Chat Completions go over HTTP only and continue nothing."""


class HostKnowledge:
    """What a host has shown, shared by the engines of one client.

    Args:
        name: The host's name, for logs.
        lanes: Whether it takes lanes, as far as is known.

    Attributes:
        lanes: Whether it takes lanes, as far as is known now.
        rejected: The parameters that its models rejected.
        finishes_early: The models that were seen giving a ``finish_reason`` before the end.
    """

    def __init__(self, name: str, *, lanes: bool) -> None:
        self.lanes = lanes
        self.rejected = RejectedParameters()
        self.finishes_early: set[str] = set()
        self._name = name

    def __repr__(self) -> str:
        return f"<HostKnowledge of {self._name}: lanes {'on' if self.lanes else 'off'}>"

    def without_lanes(self) -> None:
        """Note that the host has no lanes."""
        if self.lanes:
            logger.warning(
                "%s has no lanes after all; without them a barge-in costs a connection. "
                "Pass lanes=False to save the try",
                self._name,
            )
        self.lanes = False


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What an engine is made with.

    Attributes:
        profile: What is known of the host.
        api: The API that it speaks.
        websocket: Whether to use the WebSocket at all.
        http_fallback: Whether HTTP may be taken when the WebSocket does not work.
        warm_connections: How many to keep open in advance on a host without lanes.
        max_connections: How many connections there may be at once; beyond it requests wait.
        rebuild: Whether what only an old connection remembers is sent again to its replacement.
        refreshable: Whether the next connection may have another key.
        marks: What the marks of its responses begin with; no other engine's do.
        seed: Decides the random part of waits.
    """

    profile: HostProfile
    api: Api = "responses"
    websocket: bool = True
    http_fallback: bool = False
    warm_connections: int = 0
    max_connections: int = MAX_CONNECTIONS
    rebuild: bool = False
    refreshable: bool = False
    marks: str = ""
    seed: str = ""
