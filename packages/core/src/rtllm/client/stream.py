"""The answer to one request, as its consumer reads it."""

from collections.abc import Callable
from typing import Self

from rtllm.content.events import Event, ResponseEnded
from rtllm.engine.prepared import PreparedRequest
from rtllm.engine.report import TurnReport
from rtllm.transport.runtime import Mailbox, Runtime


class ResponseStream:
    """The answer to one request.

    Read it once: ``with client.ask(request) as answer: async for event in answer``. The last
    event is an `ResponseEnded`. Leaving early is a cut: the answer runs out in the background, and
    leaving waits for nothing.

    Until it is over it holds its client, so that a client without any other reference still
    completes the turn and reports it.

    Attributes:
        report: What happened, once it is over.
    """

    def __init__(
        self,
        prepared: PreparedRequest,
        runtime: Callable[[], Runtime],
        tell: Callable[[TurnReport], None],
    ) -> None:
        self.report: TurnReport | None = None
        self._prepared = prepared
        self._runtime_of_loop = runtime
        self._tell = tell
        self._runtime: Runtime | None = None
        self._turn = 0
        self._mailbox: Mailbox | None = None
        self._over = False

    def __repr__(self) -> str:
        state = "over" if self._over else "being read" if self._mailbox else "not read yet"
        return f"<Answer to {self._prepared!r}: {state}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        """Wait for the next event.

        Raises:
            TurnError: If the turn ends without its answer.
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
            if error is None:  # it was closed by another task
                raise StopAsyncIteration
            raise error
        if isinstance(event, ResponseEnded):
            self._finish(self._mailbox)
        return event

    @property
    def response_id(self) -> str | None:
        """The service's id of the response that is being read, once something of it came."""
        return self._mailbox.response_id if self._mailbox is not None else None

    @property
    def mark(self) -> str | None:
        """Our own name for the response that is being read, which no other response has.

        A framework that keeps it with what it records of the response, and hands it back in
        later contexts (`Message.mark`, `ToolCall.mark`), proves by it that these may continue
        the response. None where nothing can be continued.
        """
        return self._mailbox.mark if self._mailbox is not None else None

    def close(self) -> None:
        """Stop reading; if the answer isn't over, it is cut. Waits for nothing."""
        if self._over:
            return
        runtime, mailbox = self._runtime, self._mailbox
        if runtime is None or mailbox is None:  # nothing was asked
            self._over = True
            self._let_go()
            return
        runtime.cancel(self._turn)
        if mailbox.report is not None:
            self._finish(mailbox)
        else:  # it is being carried out, and this call came from within
            mailbox.on_finish = lambda: self._finish(mailbox)

    def _finish(self, mailbox: Mailbox) -> None:
        """Tell what happened, once the turn is over and its last event was read."""
        if self._over or mailbox.report is None:
            return
        self._over = True
        self.report = mailbox.report
        tell = self._tell
        self._let_go()
        tell(mailbox.report)

    def _let_go(self) -> None:
        """Hold the client no more."""
        self._runtime, self._runtime_of_loop, self._tell = None, _no_runtime, _ignore_report


def _no_runtime() -> Runtime:
    raise RuntimeError("an answer that is over needs no runtime; this is a bug of rtllm")


def _ignore_report(_: TurnReport) -> None:
    """Do nothing: the answer is over and was reported."""
