"""The stream of one request's response, as its consumer reads it."""

from collections.abc import Callable
from typing import Self

from rtllm.content.events import Event, ResponseEnded, TextDelta
from rtllm.engine.prepared import PreparedRequest
from rtllm.engine.report import TurnReport
from rtllm.transport.mailbox import Mailbox
from rtllm.transport.runtime import Runtime, report_late


class ResponseStream:
    """The response to one request, as a stream of events.

    Read it once: ``with client.ask(request) as answer: async for event in answer``. The last event
    is a `ResponseEnded`. Leaving the block early cancels the turn without waiting; the response
    drains in the background.

    A stream holds its client until it is over, so a client without any other reference still
    completes the turn and reports it.

    Attributes:
        report: The report of the turn, once it is over.
    """

    def __init__(
        self,
        prepared: PreparedRequest,
        runtime: Callable[[], Runtime],
        report_turn: Callable[[TurnReport], None],
    ) -> None:
        self.report: TurnReport | None = None
        self._prepared = prepared
        self._runtime_of_loop = runtime
        self._report_turn = report_turn
        self._runtime: Runtime | None = None
        self._turn = 0
        self._mailbox: Mailbox | None = None
        self._over = False

    def __repr__(self) -> str:
        state = "over" if self._over else "being read" if self._mailbox else "not read yet"
        return f"<ResponseStream to {self._prepared!r}: {state}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        """Wait for the next event.

        Raises:
            TurnError: If the turn fails.
        """
        if self._over:
            raise StopAsyncIteration
        if self._mailbox is None:
            self._runtime = self._runtime_of_loop()
            self._turn, self._mailbox = self._runtime.ask(self._prepared)
        event = await self._mailbox.next()
        if event is None:
            error = self._mailbox.error
            self._finish(self._mailbox)
            if error is None:  # another task closed it
                raise StopAsyncIteration
            raise error
        if isinstance(event, ResponseEnded):
            self._finish(self._mailbox)
        return event

    async def text(self) -> str:
        """Read the response to its end; return its text, without tool calls.

        Raises:
            TurnError: If the turn fails.
        """
        with self:
            return "".join([event.text async for event in self if isinstance(event, TextDelta)])

    @property
    def response_id(self) -> str | None:
        """The service's id of the response; None before its first event."""
        return self._mailbox.response_id if self._mailbox is not None else None

    @property
    def mark(self) -> str | None:
        """This library's own name for the response; no other response has it.

        A framework may store it with what it records of the response, and return it in later
        contexts (`Message.mark`, `ToolCall.mark`). Then it proves that these contexts may continue
        the response. None before the first event, and if the response can't be continued.
        """
        return self._mailbox.mark if self._mailbox is not None else None

    def close(self) -> None:
        """Stop reading without waiting; a turn that is not over is cancelled."""
        if self._over:
            return
        runtime, mailbox = self._runtime, self._mailbox
        if runtime is None or mailbox is None:  # nothing was sent
            self._over = True
            self._release_client()
            return
        runtime.cancel(self._turn)
        if mailbox.report is not None:
            self._finish(mailbox)
        else:  # `close` was called while the runtime handles the end of this turn
            mailbox.on_finish = lambda: self._finish(mailbox)

    def _finish(self, mailbox: Mailbox) -> None:
        """Report the turn, once it is over and its last event was read."""
        if self._over or mailbox.report is None:
            return
        self._over = True
        self.report = mailbox.report
        on_late_usage = self._prepared.request.on_late_usage
        if on_late_usage is not None and mailbox.unread_usage is not None:
            report_late(on_late_usage, mailbox.unread_usage)
        report_turn = self._report_turn
        self._release_client()
        report_turn(mailbox.report)

    def _release_client(self) -> None:
        """Release the references to the client."""
        self._runtime, self._runtime_of_loop, self._report_turn = None, _no_runtime, _ignore_report


def _no_runtime() -> Runtime:
    raise RuntimeError(
        "a stream that is over asked for a runtime; this is a bug in rtllm, please report it"
    )


def _ignore_report(_: TurnReport) -> None:
    """Do nothing: the turn is over and was reported."""
