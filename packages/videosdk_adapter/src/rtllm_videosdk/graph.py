"""Conversational graphs: JSON responses of which the framework speaks a part while they come."""

import json
import logging
from collections.abc import Iterator
from typing import Any, Protocol

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
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._text = ""
        self._state: dict[str, Any] = {
            "in_response": False,
            "response_start_index": -1,
            "yielded_content_length": 0,
        }

    def feed(self, piece: str) -> list[str]:
        """Process a piece of the response; return what is to be spoken now."""
        self._text += piece
        spoken = self._graph.stream_conversational_graph_response(self._text, self._state)
        return [text for text in spoken if text]

    def decision(self) -> Any:
        """Return the full response, parsed; None if there is none, or it isn't JSON."""
        text = self._text.strip()
        if not text:
            return None
        # Seen: some models put it into a Markdown fence, or text around it.
        for candidate in (text, text[text.find("{") : text.rfind("}") + 1]):
            try:
                return json.loads(candidate)
            except (ValueError, RecursionError):
                continue
        logger.warning("the response of a conversational graph is not JSON and is ignored")
        return None

    @property
    def prose(self) -> str:
        """Return the response if it is plain text, not JSON; seen: hosts ignore the format."""
        text = self._text.strip()
        return "" if text.startswith(("{", "[", "```")) else text
