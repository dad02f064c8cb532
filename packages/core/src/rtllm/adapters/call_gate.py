"""The gate for tool calls: calls that can't run are explained to the model, not to the framework.

It is for a framework that runs a tool with the arguments of the call and checks nothing, or that
can't record such a call.
"""

import logging
from collections.abc import Callable

from rtllm.adapters.call_history import CallGroup, Unseen
from rtllm.adapters.emitted_output import EmittedOutput
from rtllm.content.items import Item, Message, ToolCall, ToolOutput
from rtllm.errors import Details, ResponseFailed

logger = logging.getLogger(__name__)

MAX_INVALID_RESPONSES = 2
"""How many responses with invalid calls get error outputs in one turn, before it fails."""


class CallGate:
    """Answers the calls of one turn that can't run, so that the model can correct them.

    Args:
        limit: How many responses with such calls are answered; the next one fails the turn.

    Attributes:
        unseen: The responses of the turn of which the framework got no call, for `arrange`. If it
            got some, `CallGroup.unseen` has the others.
    """

    def __init__(self, limit: int = MAX_INVALID_RESPONSES) -> None:
        self.unseen: list[Unseen] = []
        self._left = limit

    def __repr__(self) -> str:
        return f"CallGate({len(self.unseen)} answered, {self._left} left)"

    def check(
        self,
        output: EmittedOutput,
        explain: Callable[[ToolCall], str | None],
        *,
        at: int,
        is_recorded: bool = True,
    ) -> bool:
        """Answer the calls of a response that can't run.

        Args:
            output: The response, after its end. Its `group` becomes the calls for the framework.
            explain: Returns why a call can't run, in words for the model; None if it can.
            at: How many of the framework's items the request has.
            is_recorded: Whether the framework records the text.

        Returns:
            Whether to ask again at once, because no call can run and all were answered.

        Raises:
            ResponseFailed: If calls could not run too often in the turn.
        """
        checked = [(call, explain(call)) for call in output.calls]
        runnable = tuple(call for call, why in checked if why is None)
        broken = [(call, why) for call, why in checked if why is not None]
        outputs = [ToolOutput(call.call_id, f"error: {why}") for call, why in broken]
        unseen: tuple[Item, ...] = (*(call for call, _ in broken), *outputs)
        if broken:
            self._count("; ".join(why for _, why in broken), output)
        if runnable:
            text, before = (output.text, output.before) if is_recorded else ("", "")
            between = " " if text and before else ""
            output.group = CallGroup(runnable, text, before + between, unseen)
        elif broken:
            said = [Message.of("assistant", output.text)] if output.text else []
            self.unseen.append(Unseen((*said, *unseen), at))
        return bool(broken) and not runnable

    def _count(self, reasons: str, output: EmittedOutput) -> None:
        self._left -= 1
        if self._left < 0:
            request_id = output.ended.response_id if output.ended is not None else None
            details = Details(code="tool_call_invalid", request_id=request_id)
            raise ResponseFailed(f"the model's tool calls can't be run: {reasons}", details)
        logger.warning("a tool call is not valid; the model is asked to correct it: %s", reasons)
