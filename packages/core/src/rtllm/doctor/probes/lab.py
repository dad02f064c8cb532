"""Lab: what the checks of one run share: the host, the requests, and what was learned so far."""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rtllm.codec.responses_encoder import http_body, request_frame
from rtllm.content.usage import Totals
from rtllm.doctor.judgements.replies import Baseline, HostReply
from rtllm.doctor.judgements.steps import Step
from rtllm.doctor.probes.wire import ACCEPT_LIMIT, ANSWER_LIMIT, PendingRequest, Wire
from rtllm.doctor.target import Target
from rtllm.providers.hosts import HostProfile

_WORDS = ("harbor", "copper", "meadow", "marble", "saddle", "violet", "willow", "button")


def new_word() -> str:
    """Make up a word that no model can guess."""
    return f"{secrets.choice(_WORDS)}-{secrets.randbelow(900_000) + 100_000}"


class Lab:
    """What the checks of one run share.

    Args:
        target: The host.
        wire: Its connections.

    Attributes:
        baseline: Token counts of the host; None until they are known.
        has_lanes: Whether the host has lanes; None until it is known.
        has_websocket: Whether it has a WebSocket.
        has_http: Whether it answers over HTTP.
        keeps_unstored: Whether it continues responses that are not stored, on a WebSocket.
        keeps_stored: Whether it continues stored ones; None until it is known.
        names_parents: Whether it names the continued response; None until it is known.
        replies: All replies so far.
    """

    def __init__(self, target: Target, wire: Wire) -> None:
        self._target = target
        self._wire = wire
        self._optional = target.optional_settings()
        self._caps = True
        self.baseline: Baseline | None = None
        self.has_lanes: bool | None = None
        self.has_websocket = True
        self.has_http = True
        self.keeps_unstored = True
        self.keeps_stored: bool | None = None
        self.names_parents: bool | None = None
        self.replies: list[HostReply] = []

    @property
    def profile(self) -> HostProfile:
        """What is known about the host."""
        return self._target.profile

    @property
    def optional(self) -> Mapping[str, Any]:
        """The settings that a host may refuse, and that it does not refuse."""
        return self._optional

    async def connect(self) -> "LabConnection":
        """Open a connection.

        Raises:
            FaultError: If it can't be opened.
        """
        return LabConnection(self, self._wire, await self._wire.connect())

    async def prepare_http(self) -> None:
        """Create the HTTP client, so that its creation does not count as the host's time."""
        await self._wire.prepare_http()

    def post(self, step: Step, word: str, parent: str | None = None) -> PendingRequest:
        """Send a request over HTTP; a client never sends ``generate`` there, but a check may."""
        body = http_body(self.frame(step, word, parent))
        return self._wire.post(body if step.generates else {**body, "generate": False})

    async def first(self, send: Callable[[], PendingRequest]) -> HostReply:
        """Send a transport's first request; the run's first one again if its form is refused.

        The settings that a host may refuse are left out from then on.

        Args:
            send: Sends the request.
        """
        is_first = not self.replies
        reply = await self.wait_for(send(), ACCEPT_LIMIT)
        if is_first and reply.fault is not None and reply.fault.status in (400, 422):
            self._optional, self._caps = {}, False
            reply = await self.wait_for(send(), ACCEPT_LIMIT)
        return reply

    def frame(self, step: Step, word: str, parent: str | None) -> bytes:
        """Encode the request of a step."""
        settings: dict[str, Any] = {
            "model": self._target.model,
            "store": step.stored,
            **self._optional,
        }
        if self._caps or step.cap is not None:
            settings["max_output_tokens"] = step.limit(self._target.usual_cap)
        if not step.generates:
            settings["generate"] = False
        return request_frame(
            settings,
            (),
            step.items(word),
            previous_response_id=parent,
            lane=step.lane,
            types_all=True,
        )

    async def wait_for(self, request: PendingRequest, accept: float = ANSWER_LIMIT) -> HostReply:
        """Wait for the end of a request, and count its tokens."""
        reply = await request.wait_for_reply(accept)
        self.replies.append(reply)
        return reply

    @property
    def totals(self) -> Totals:
        """The requests so far, with their tokens; unknown are those that ended without usage."""
        known = [reply.usage for reply in self.replies if reply.usage is not None]
        return Totals(
            len(self._wire.requests),
            sum(reply.ended is not None and reply.usage is None for reply in self.replies),
            sum(usage.input for usage in known),
            sum(usage.output for usage in known),
            sum(usage.cached or 0 for usage in known),
        )

    def close_connections(self) -> None:
        """Close the open connections, without waiting; new ones may be opened."""
        self._wire.close_connections()


@dataclass(frozen=True, slots=True)
class LabConnection:
    """One connection of a lab.

    Attributes:
        lab: The lab.
        wire: Its connections.
        number: The number of this one.
    """

    lab: Lab
    wire: Wire
    number: int

    def start(self, step: Step, word: str, parent: str | None = None) -> PendingRequest:
        """Send a request without waiting."""
        return self.wire.send(self.number, self.lab.frame(step, word, parent), step.lane)

    async def ask(
        self, step: Step, word: str, parent: str | None = None, accept: float = ANSWER_LIMIT
    ) -> HostReply:
        """Send a request and wait for its end."""
        return await self.lab.wait_for(self.start(step, word, parent), accept)
