"""What an engine is made with, and what all engines of a client share."""

import logging
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from rtllm.content.call_ids import carries_data
from rtllm.providers.host_dialects import HostDialects
from rtllm.providers.hosts import HostProfile
from rtllm.retry.rejections import RejectedParameters
from rtllm.scheduling.connection_pool import MAX_CONNECTIONS

logger = logging.getLogger(__name__)

Api = Literal["responses", "chat"]
"""The API that an engine speaks; Chat Completions go over HTTP only and continue nothing."""


Chaining = bool | Literal["auto"]
"""Whether earlier responses are continued; "auto": where the host keeps them."""

SHORT_ID = 40
"""Characters that every host takes in a call's id."""
ISSUED_IDS = 4096
"""How many long ids of calls are remembered that a host issued."""


class HostKnowledge:
    """What a host has shown, shared by the engines of one client.

    Args:
        name: The host's name, for logs.
        lanes: Whether it takes lanes, as far as is known.
        dialect: What the user sets of its dialect.

    Attributes:
        name: The host's name.
        lanes: Whether it takes lanes, as far as is known now.
        rejected: The parameters that its models rejected.
        finishes_early: The models that were seen giving a ``finish_reason`` before the end.
        dialects: What its models want said otherwise.
        forgets: Whether it was seen to answer as if nothing had been continued.
    """

    def __init__(self, name: str, *, lanes: bool, dialect: Mapping[str, str] | None = None) -> None:
        self.lanes = lanes
        self.dialects = HostDialects(name, dialect)
        self.forgets = False
        self._issued: OrderedDict[str, None] = OrderedDict()
        self.rejected = RejectedParameters()
        self.finishes_early: set[str] = set()
        self.name = name

    def __repr__(self) -> str:
        return f"<HostKnowledge of {self.name}: lanes {'on' if self.lanes else 'off'}>"

    def issued(self, call_id: str) -> None:
        """Note the id of a call that the host made."""
        if len(call_id) > SHORT_ID:
            self._issued[call_id] = None
            if len(self._issued) > ISSUED_IDS:
                self._issued.popitem(last=False)

    def keeps_id(self, call_id: str) -> bool:
        """Whether a call's id must go back as it is: the host made it, and it may carry data."""
        return call_id in self._issued or carries_data(call_id)

    def without_state(self) -> None:
        """Note that the host does not keep what it is asked to continue."""
        if not self.forgets:
            logger.warning(
                "%s takes previous_response_id and ignores it, so contexts are sent whole from "
                "now on. Pass chaining=False to save the try",
                self.name,
            )
        self.forgets = True

    def without_lanes(self) -> None:
        """Note that the host has no lanes."""
        if self.lanes:
            logger.warning(
                "%s has no lanes after all; without them a barge-in costs a connection. "
                "Pass lanes=False to save the try",
                self.name,
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
        chaining: Whether earlier responses are continued.
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
    chaining: Chaining = "auto"
