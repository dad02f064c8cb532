"""The socket and HTTP as one route: takes the socket while it works, else HTTP."""

import asyncio
import logging
from collections.abc import Callable
from contextvars import Context
from typing import Protocol

from rtllm.conversations import Membership
from rtllm.dispatch import Dispatch
from rtllm.fallback import COOLDOWN, Fallback, Way
from rtllm.faults import Fault, Kind
from rtllm.transport.attempt import Attempt
from rtllm.transport.pool import Pool
from rtllm.transport.route import Asked
from rtllm.transport.sockets import Opening
from rtllm.turn import Turn
from rtllm.usage import Account

logger = logging.getLogger(__name__)

LOOK_AGAIN = 60.0
"""Seconds until conversations are looked at again that were still running when last looked at."""
_THOUGH_OPEN = (Kind.DROPPED, Kind.CONNECTION_LIMIT, Kind.MUTE)


class OverHttp(Protocol):
    """What is needed of `rtllm.transport.http_responses.HttpResponses`."""

    async def launch(
        self, asked: Asked, member: Membership, turn: Turn, *, whole: bool, bare: bool
    ) -> Attempt:
        """Begin to send a turn's request."""

    def abandon(self, attempt: Attempt, account: Account) -> None:
        """Cut an attempt off."""

    def shut(self) -> None:
        """Take nothing new from now on."""

    async def aclose(self) -> None:
        """End what runs."""


class Ways:
    """The ways to the Responses API of one client on one event loop.

    Args:
        dispatch: Places the turns of both.
        pool: The sockets; None to take HTTP always.
        http: Gives the HTTP way when it is needed first; takes what tells whether there is a
            socket to go back to.
        fall_back: Whether HTTP may be taken where the socket doesn't do.
    """

    def __init__(
        self,
        dispatch: Dispatch,
        pool: Pool | None,
        http: Callable[[Callable[[], bool]], OverHttp],
        *,
        fall_back: bool,
    ) -> None:
        self._dispatch = dispatch
        self._pool = pool
        self._make_http = http
        self._http: OverHttp | None = None
        self._fallback = Fallback()
        self._may_fall_back = fall_back
        self._http_rests_until = 0.0
        self._release: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        if pool is not None:
            pool.on_answered = self._fallback.answered

    @property
    def falls_back(self) -> bool:
        """Whether a request that can't take the socket may take HTTP instead."""
        rests = self._loop.time() < self._http_rests_until
        return self._pool is not None and self._may_fall_back and not rests

    @property
    def renewable(self) -> bool:
        """Whether the next connection may prove its right with another key."""
        return self._pool is not None and self._pool.renewable

    @property
    def newest_connection(self) -> int:
        """The number of the newest connection that is open."""
        return self._pool.newest_connection if self._pool is not None else 0

    def join(self, asked: Asked) -> Membership:
        """Find the conversation that a request belongs to, or begin one."""
        if asked.warm_up:
            return self._dispatch.warming(asked.outline)
        member = self._dispatch.join(asked.outline, self._loop.time(), asked.conversation)
        self._release_idle()
        return member

    def mark_of(self, attempt: Attempt) -> str:
        """The mark of what answers an attempt."""
        return self._dispatch.mark_of(attempt.number)

    def _release_idle(self) -> None:
        """Release what is kept for conversations without requests, now and when it is due."""
        if self._release is not None:
            self._release.cancel()
        now = self._loop.time()
        due = self._dispatch.release_idle(now)
        if due is not None:
            # One that still runs when it is due is looked at again a while later.
            at = max(due, now + LOOK_AGAIN)
            self._release = self._loop.call_at(at, self._release_idle, context=Context())

    async def launch(
        self,
        asked: Asked,
        member: Membership,
        turn: Turn,
        *,
        whole: bool,
        bare: bool,
        over_http: bool,
        avoid: set[int],
    ) -> Attempt:
        """Send a turn's request the way that works.

        Raises:
            FaultError: If it couldn't be sent.
        """
        pool = self._pool
        if pool is not None and not (over_http or self._rests(asked, member, pool, turn)):
            return await pool.launch(asked, member, turn, whole=whole, bare=bare, avoid=avoid)
        return await self._over_http().launch(asked, member, turn, whole=whole, bare=bare)

    def _rests(self, asked: Asked, member: Membership, pool: Pool, turn: Turn) -> bool:
        """Whether the socket failed not long ago; then it is tried beside the turn."""
        if not (self._fallback.rests and self.falls_back) or asked.warm_up:
            return False
        now = self._loop.time()
        _, seat = self._dispatch.place(member, asked.model, now)
        way = self._fallback.way(now, has_open=seat is not None and seat.is_open)
        if way is Way.HTTP_WITH_TRIAL:
            opening = Opening(asked.model, asked.network, turn.limits.connect)
            self._fallback.begin_trial()
            pool.try_out(opening, self._tried)
        return way is not Way.SOCKET

    def _tried(self, fault: Fault | None) -> None:
        if fault is None:
            self._fallback.opened()
        else:
            self._fallback.failed(
                self._loop.time(),
                has_none=fault.kind is Kind.NO_WEBSOCKET,
                opened=fault.kind in _THOUGH_OPEN,
            )

    def _over_http(self) -> OverHttp:
        if self._http is None:
            self._http = self._make_http(self._has_socket)
        return self._http

    def _has_socket(self) -> bool:
        """Whether a socket may be there, as far as is known."""
        return self._pool is not None and not self._fallback.has_none

    def is_mute(self, attempt: Attempt) -> bool:
        """Whether nothing ever came over the connection of an attempt."""
        return self._pool is not None and self._pool.is_mute(attempt)

    def fell_back(self, fault: Fault, attempt: Attempt | None) -> None:
        """The socket failed a turn, which takes HTTP now."""
        if fault.kind is not Kind.TOO_LARGE:
            self._tried(fault)
        elif attempt is not None and self._pool is not None:
            self._pool.was_too_large(attempt)

    def has_no_http(self) -> None:
        """HTTP doesn't do: for a while only the socket is left."""
        self._http_rests_until = self._loop.time() + COOLDOWN
        self._fallback.opened()

    def abandon(self, attempt: Attempt, account: Account) -> None:
        """Leave an attempt to itself; waits for nothing."""
        if attempt.placement.over_http:
            self._over_http().abandon(attempt, account)
        elif self._pool is not None:
            self._pool.abandon(attempt, account)

    def warm(self, opening: Opening) -> None:
        """Begin to open a connection if none is spare."""
        if self._pool is not None:
            self._pool.warm(opening)

    def refused_lanes(self) -> None:
        """The host has no lanes."""
        if self._pool is not None:
            self._pool.refused_lanes()

    def missed(self, attempt: Attempt) -> None:
        """The service no longer knows what an attempt continued."""
        memory = self._dispatch.missed(attempt.placement)
        if memory is not None:
            kept = "no answers" if memory == "none" else "stored answers only"
            logger.warning("the host remembers %s; contexts go whole from now on", kept)

    def shut(self) -> None:
        """Take nothing new from now on: what is asked while it closes finds another one.

        What was known of conversations is forgotten now, not when all is closed: another route
        may have begun new ones by then.
        """
        if self._release is not None:
            self._release.cancel()
            self._release = None
        self._dispatch.forget_conversations()
        if self._pool is not None:
            self._pool.shut()
        if self._http is not None:
            self._http.shut()

    async def aclose(self) -> None:
        """Close everything within a limit."""
        if self._pool is not None:
            await self._pool.aclose()
        if self._http is not None:
            await self._http.aclose()
