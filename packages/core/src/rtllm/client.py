"""A client of one host: all that an adapter sees of the core's I/O."""

import asyncio
import logging
from collections.abc import Callable
from typing import Literal

from rtllm.answer import Answer, RefusedParameters
from rtllm.hosts import Endpoint
from rtllm.report import TurnReport
from rtllm.request import Request
from rtllm.transport.auth import Credentials
from rtllm.transport.dial import Network
from rtllm.transport.pool import Pool
from rtllm.usage import Books, Snapshot

logger = logging.getLogger(__name__)

Lanes = bool | Literal["auto"]


class Client:
    """A client of one host, for any number of conversations at once.

    It works on every event loop it is used on, and opens again after it was closed.

    Args:
        endpoint: Where the host is.
        credentials: What a handshake proves its right with.
        lanes: Whether to use lanes; "auto" goes by what is known of the host.
        spare: How many warm connections to keep on a host without lanes.
        on_turn: Called with the report of each turn.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        credentials: Credentials,
        *,
        lanes: Lanes = "auto",
        spare: int = 1,
        on_turn: Callable[[TurnReport], None] | None = None,
    ) -> None:
        self.endpoint = endpoint
        self._credentials = credentials
        self._lanes = endpoint.profile.lanes if lanes == "auto" else lanes
        self._spare = spare
        self._on_turn = on_turn
        self._books = Books()
        self._refused = RefusedParameters()
        self._pools: dict[asyncio.AbstractEventLoop, Pool] = {}

    @property
    def usage(self) -> Snapshot:
        """Tokens so far, those of cut, failed and superseded attempts included."""
        return self._books.snapshot()

    def ask(self, request: Request) -> Answer:
        """Take a request; nothing is sent until the answer is read.

        Raises:
            EmptyContext: If there is nothing to answer.
        """
        return Answer(request, self._pool, self._refused, self._tell)

    def prewarm(self, model: str, network: Network, limit: float = 10.0) -> None:
        """Begin to open a connection, if none is warm. Needs a running event loop.

        Args:
            model: The model that will be asked.
            network: What to open it with.
            limit: Seconds for the connection.
        """
        self._pool().warm(model, network, limit)

    async def aclose(self) -> None:
        """Close the connections of the running loop; the next request opens new ones."""
        pool = self._pools.pop(asyncio.get_running_loop(), None)
        if pool is not None:
            await pool.aclose()

    def _pool(self) -> Pool:
        """The connections of the running event loop."""
        loop = asyncio.get_running_loop()
        pool = self._pools.get(loop)
        if pool is None:
            for ended in [other for other in self._pools if other.is_closed()]:
                self._pools.pop(ended, None)
            pool = self._pools[loop] = Pool(
                self.endpoint,
                self._credentials,
                self._books,
                lanes=self._lanes,
                spare=self._spare,
                on_lanes_gone=self._lanes_gone,
            )
        return pool

    def _lanes_gone(self) -> None:
        if self._lanes:
            logger.warning(
                "%s has no lanes after all; without them a barge-in costs a connection. "
                "Pass lanes=False to save the try",
                self.endpoint.profile.name,
            )
        self._lanes = False

    def _tell(self, report: TurnReport) -> None:
        """Log a turn and give its report to who wants it."""
        logger.info(
            "conversation %d: %s, %s, %d items, %d bytes, %d attempts, response %s",
            report.conversation,
            report.outcome,
            "chained" if report.chained else f"whole ({report.why_whole})",
            report.items_sent,
            report.bytes_sent,
            report.attempts,
            report.response_id,
        )
        if self._on_turn is None:
            return
        try:
            self._on_turn(report)
        except Exception:
            logger.exception("on_turn raised")
