"""Conversational graphs: JSON responses of which the framework speaks a part while they come."""

import json
import logging
from collections.abc import Iterator
from typing import Any, Protocol

from rtllm import Details, ResponseFailed, TextDelta
from rtllm.adapters import EmittedOutput

logger = logging.getLogger(__name__)


class Graph(Protocol):
    """The object that the framework passes to `chat` if a graph leads the conversation."""

    def _get_graph_schema(self) -> dict[str, Any]: ...

    def stream_conversational_graph_response(
        self, current_content: str, state: dict[str, Any], /
    ) -> Iterator[str]:
        """Yield what of the text so far is to be spoken, and wasn't yet."""
        ...


def text_format(graph: Graph) -> dict[str, Any]:
    """Return the format that responses must have, for the Responses API."""
    return {
        "type": "json_schema",
        "name": "conversational_graph_response",
        "strict": True,
        "schema": graph._get_graph_schema(),
    }


class GraphStream:
    """One response of a graph, from its first piece to its decision.

    Args:
        graph: Knows which part of the text is spoken.

    Attributes:
        decision: The full response, parsed; None before its end, or if it is not JSON.
    """

    def __init__(self, graph: Graph) -> None:
        self.decision: Any = None
        self._graph = graph
        self._text = ""
        self._state: dict[str, Any] = {
            "in_response": False,
            "response_start_index": -1,
            "yielded_content_length": 0,
        }

    def feed(self, delta: TextDelta) -> list[TextDelta]:
        """Process a piece of the response; return what is to be spoken now."""
        self._text += delta.text
        spoken = self._graph.stream_conversational_graph_response(self._text, self._state)
        return [TextDelta(text) for text in spoken if text]

    def finish(self, output: EmittedOutput) -> str:
        """Parse the decision; return the text to speak if there is none.

        Args:
            output: The response, after its end.

        Raises:
            ResponseFailed: If there is no text either, because the caller must hear something.
        """
        text = self._text.strip()
        self.decision = _parse(text) if text else None
        if self.decision is not None or output.text or output.refusal:
            return ""
        if not text or text.startswith(("{", "[", "```")):
            details = Details(code="graph_answer_invalid", request_id=output.spent.response_id)
            raise ResponseFailed("the response has no text to speak and no graph decision", details)
        return text  # seen: hosts ignore the format


def _parse(text: str) -> Any:
    # Seen: some models put it into a Markdown fence, or text around it.
    for candidate in (text, text[text.find("{") : text.rfind("}") + 1]):
        try:
            return json.loads(candidate)
        except (ValueError, RecursionError):
            continue
    logger.warning("the response of a conversational graph is not JSON and is ignored")
    return None
