"""Conversational graphs: JSON answers of which the framework speaks a part as they come."""

import json
import logging
from collections.abc import Iterator
from typing import Any, Protocol

logger = logging.getLogger(__name__)


class Graph(Protocol):
    """What the framework hands to `chat` where a graph leads the conversation."""

    def _get_graph_schema(self) -> dict[str, Any]: ...

    def stream_conversational_graph_response(
        self, current_content: str, state: dict[str, Any], /
    ) -> Iterator[str]:
        """Tell what of the text so far is to be spoken, and wasn't yet."""
        ...


def text_format(graph: Graph) -> dict[str, Any]:
    """The format that answers must have, in the words of the Responses API."""
    return {
        "type": "json_schema",
        "name": "conversational_graph_response",
        "strict": True,
        "schema": graph._get_graph_schema(),
    }


class GraphStream:
    """One answer of a graph, from its first piece to its decision.

    Args:
        graph: Who knows which part of the text is spoken.
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
        """Take a piece of the answer; gives what is to be spoken now."""
        self._text += piece
        spoken = self._graph.stream_conversational_graph_response(self._text, self._state)
        return [text for text in spoken if text]

    def decision(self) -> Any:
        """The whole answer, parsed; None if there is none, or it isn't JSON."""
        text = self._text.strip()
        if not text:
            return None
        # Seen: some models put it in a Markdown fence, or words around it.
        for candidate in (text, text[text.find("{") : text.rfind("}") + 1]):
            try:
                return json.loads(candidate)
            except (ValueError, RecursionError):
                continue
        logger.warning("the answer of a conversational graph isn't JSON; it has no effect")
        return None

    @property
    def prose(self) -> str:
        """The answer, where it is plain words instead of JSON; seen: hosts ignore the format."""
        text = self._text.strip()
        return "" if text.startswith(("{", "[", "```")) else text
