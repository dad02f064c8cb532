"""Options of an engine, and the knowledge about a host that a client's engines share."""

import logging
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from rtllm.content.call_ids import carries_data
from rtllm.content.prices import UNPRICED, Pricing
from rtllm.context.prompt_cache import CacheReports
from rtllm.parameters.families import Api, family_of
from rtllm.providers.host_dialects import HostDialects
from rtllm.providers.hosts import HostProfile
from rtllm.retry.rejected_parameters import RejectedParameters
from rtllm.scheduling.connection_pool import MAX_CONNECTIONS

logger = logging.getLogger(__name__)

Chaining = bool | Literal["auto"]
"""Whether to continue earlier responses; "auto" if the host stores them."""

SHORT_ID = 40
"""The longest call id, in characters, that every host accepts."""
ISSUED_IDS = 4096
"""How many long call ids of a host are remembered."""


class HostKnowledge:
    """What was learned about a host; the engines of one client share it.

    Args:
        name: The host's name, for logs.
        lanes: Whether it supports lanes, as far as is known.
        dialect: The points of its dialect that the user sets.

    Attributes:
        name: The host's name.
        lanes: Whether it supports lanes, as far as is known now.
        rejected: The parameters that its models rejected.
        finishes_early: The models whose output went on after a ``finish_reason``.
        dialects: The dialects of its models.
        forgets: Whether it answered as if it did not know the continued response.
    """

    def __init__(self, name: str, *, lanes: bool, dialect: Mapping[str, str] | None = None) -> None:
        self.lanes = lanes
        self.dialects = HostDialects(name, dialect)
        self.forgets = False
        self._models: dict[str, str] = {}
        self._issued: OrderedDict[str, None] = OrderedDict()
        self.rejected = RejectedParameters()
        self.finishes_early: set[str] = set()
        self.name = name

    def __repr__(self) -> str:
        return f"<HostKnowledge of {self.name}: lanes {'on' if self.lanes else 'off'}>"

    def note_model(self, requested: str, served: str | None) -> None:
        """Remember the model that responds to a name, if its family is known."""
        if served and served != requested and family_of(served) is not None:
            self._models[requested] = served

    def model_of(self, requested: str) -> str | None:
        """Return the model that responds to a name, such as that of a deployment, if known."""
        return self._models.get(requested)

    def issued(self, call_id: str) -> None:
        """Remember the id of a call that the host made."""
        if len(call_id) > SHORT_ID:
            self._issued[call_id] = None
            if len(self._issued) > ISSUED_IDS:
                self._issued.popitem(last=False)

    def keeps_id(self, call_id: str) -> bool:
        """Whether a call id must be sent back unchanged, since it may carry the host's data."""
        return call_id in self._issued or carries_data(call_id)

    def stop_chaining(self, reason: str) -> None:
        """Record that the host forgets the responses that it is asked to continue.

        Args:
            reason: How that shows.
        """
        if not self.forgets:
            logger.warning(
                "%s %s. From now on each turn sends its full context. Pass chaining=False to avoid "
                "the failed attempt",
                self.name,
                reason,
            )
        self.forgets = True

    def stop_using_lanes(self) -> None:
        """Record that the host does not support lanes."""
        if self.lanes:
            logger.warning(
                "%s does not support lanes. Without them a barge-in opens another connection. "
                "Pass lanes=False to avoid the failed attempt",
                self.name,
            )
        self.lanes = False


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """The settings of an engine.

    Attributes:
        profile: What is known about the host.
        api: The API to use.
        websocket: Whether to use the WebSocket at all.
        http_fallback: Whether HTTP may be used when the WebSocket does not work.
        warm_connections: How many to keep open in advance on a host without lanes.
        max_connections: The limit of connections; when it is reached, requests wait.
        rebuild: Whether contexts that only an old connection remembers are sent again to its
            replacement.
        refreshable: Whether a new connection may use another key.
        marks: The prefix of this engine's marks; it is unique.
        seed: Determines the random part of waits.
        chaining: Whether to continue earlier responses.
        tracing: Whether trace events are emitted.
        pricing: The prices for the reports' costs.
        cache_report: Whether reports explain the use of the prompt cache.
        server: The host's address with the port, for the trace; None if it is not known.
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
    tracing: bool = False
    pricing: Pricing = UNPRICED
    cache_report: CacheReports = False
    server: str | None = None

    @property
    def trusts_parents(self) -> bool:
        """Whether the host is known to continue responses; else the first such turn tells."""
        return self.chaining is True or self.profile.keeps_parents
