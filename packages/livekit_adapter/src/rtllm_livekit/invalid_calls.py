"""Calls that can't run, answered inside one `chat`.

LiveKit answers them itself: it records the call with an error output, and calls `chat` again. So
this is used only if the user wants it (``answer_invalid_calls``); LiveKit's events and mocks don't
see such calls then. A response that also has calls that can run is left to LiveKit, which must
record them together.
"""

from collections.abc import Callable

from livekit.agents import llm

from rtllm import Item, ResponseStream, ToolCall
from rtllm.adapters import CallGate, ToolNames, explain_unreadable


class Corrections:
    """Asks the model to correct its calls, in one `chat`.

    Args:
        ask: Requests a response to the context of the `chat` and further items.
        tools: The tools of the request.
        names: The framework's names of the tools.
    """

    def __init__(
        self,
        ask: Callable[[tuple[Item, ...]], ResponseStream],
        tools: list[llm.Tool],
        names: ToolNames,
    ) -> None:
        self._ask = ask
        self._tools = tools
        self._names = names
        self._gate = CallGate()
        self._items: tuple[Item, ...] = ()

    def after(
        self, text: str, calls: list[ToolCall], response_id: str | None
    ) -> ResponseStream | None:
        """Return the stream of the next request, None if the framework gets the calls.

        Args:
            text: The text of the response.
            calls: Its calls.
            response_id: The service's id of it.

        Raises:
            ResponseFailed: If no call could run too often.
        """
        explained = [self._explain(call) for call in calls]
        if not calls or None in explained:
            return None
        _, answered = self._gate.answer(calls, self._explain, response_id, text=text)
        self._items = (*self._items, *answered)
        return self._ask(self._items)

    def _explain(self, call: ToolCall) -> str | None:
        known = llm.ToolContext(self._tools).function_tools
        name = self._names.to_framework(call.name)
        return explain_unreadable(call, (call.name,) if name in known else ())
