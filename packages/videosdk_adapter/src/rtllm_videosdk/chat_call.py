"""One `chat`: its requests, its chunks, and the turn that it belongs to."""

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Protocol

from videosdk.agents import ChatContext, LLMResponse

from rtllm import Item, Message, ResponseStream, ToolCall, ToolOutput
from rtllm_videosdk.convert import as_recorded, copy_context
from rtllm_videosdk.errors import cannot_call
from rtllm_videosdk.generation import (
    Generation,
    OnRefusal,
    Response,
    call_chunk,
    known_at_the_end,
    pieces,
    text_chunk,
)
from rtllm_videosdk.graph import Graph, GraphStream
from rtllm_videosdk.history import CallGroup, Unseen, arrange
from rtllm_videosdk.images import Pictures
from rtllm_videosdk.parallel_calls import MOST_ANSWERED, Turn, Turns
from rtllm_videosdk.tools import Offered

logger = logging.getLogger(__name__)

Record = Callable[[tuple[Item, ...]], tuple[Item, ...] | None]


@dataclass(slots=True)
class Memory:
    """The state that an LLM keeps between calls of `chat`.

    Attributes:
        turns: Turns that wait for a tool, by their context, and completed calls.
        pictures: Encoded pictures.
    """

    turns: Turns
    pictures: Pictures


class Ask(Protocol):
    """Requests a response to a context."""

    def __call__(
        self, items: tuple[Item, ...], unsent: tuple[str, ...], record: Record, *, no_calls: bool
    ) -> ResponseStream:
        """Request a response.

        Args:
            items: The items to send.
            unsent: The framework's ids of the context's other items.
            record: Maps an output to what the framework records for it.
            no_calls: Whether calls are forbidden.
        """
        ...


@dataclass(frozen=True, slots=True)
class Question:
    """The settings of one `chat`.

    Attributes:
        ask: Requests a response.
        offered: The tools that may be called.
        graph: A conversational graph.
        on_refusal: How to handle a refusal.
        model: The model's name, for the usage.
    """

    ask: Ask
    offered: Offered
    graph: Graph | None
    on_refusal: OnRefusal
    model: str


class Reply:
    """The response to one `chat` call of the framework.

    Attributes:
        turn: The turn that it belongs to; None until that is known.
        nested: Whether it is called inside another one, after a tool.
        spoke: Whether it emitted text.
    """

    def __init__(
        self, memory: Memory, generation: Generation, context: ChatContext, question: Question
    ) -> None:
        self._memory = memory
        self._generation = generation
        self._context = context
        self._question = question
        self._unsent: tuple[str, ...] = ()
        self.turn: Turn | None = None
        self.nested = False
        self.spoke = False

    async def chunks(self) -> AsyncGenerator[LLMResponse, None]:
        """Request the response, and yield text, calls and the metadata at the end.

        Raises:
            TurnError: If the turn fails, or if a nested `chat` failed: the framework suppresses its
                error and returns here.
        """
        items = await self._items()
        turn = self._join(items)
        if self.nested and self._question.offered.tools and turn.held:
            while turn.held and not self._generation.was_cut():
                yield self._hand_out(turn)
            return
        while True:
            turn.waiting = False
            response = Response()
            async with aclosing(self._ask_until_valid(turn, items, response)) as chunks:
                async for chunk in chunks:
                    yield chunk
            if self._generation.was_cut() or response.group is None or turn.refused:
                return
            turn.hold(response.group)
            at_the_end: dict[str, Any] | None = known_at_the_end(response, self._question.model)
            if not self.nested:
                self._memory.turns.open(turn)
            while turn.held:
                yield self._hand_out(turn, at_the_end)
                at_the_end = None
                if not self.nested:
                    # The tool and every nested `chat` have completed.
                    if self._is_over(turn):
                        return
                    items = await self._items()
                    self._memory.turns.look_at(turn, items)
            if self.nested:
                return
            # A tool raised, which the framework doesn't report; the model must say something.

    def _is_over(self, turn: Turn) -> bool:
        """Whether the outer `chat` has nothing left to do after a call.

        Raises:
            TurnError: If a nested `chat` failed.
        """
        if self._generation.was_cut():
            return True
        if turn.error is not None:
            raise turn.error
        return not turn.waiting

    def close(self) -> None:
        """Drop the held calls, because the framework does not return for them."""
        if self.turn is not None and not self.nested:
            self._memory.turns.close(self.turn)

    async def _items(self) -> tuple[Item, ...]:
        context = copy_context(self._context)
        self._unsent = context.unsent
        return await self._memory.pictures.resolve(context.items)

    def _join(self, items: tuple[Item, ...]) -> Turn:
        turn = self._memory.turns.join(self._context, items)
        self.nested = turn is not None
        if turn is None:
            turn = Turn(self._context, items)
        self.turn = self._generation.turn = turn
        return turn

    async def _ask_until_valid(
        self, turn: Turn, items: tuple[Item, ...], response: Response
    ) -> AsyncGenerator[LLMResponse, None]:
        """Repeat the request until the response has no invalid call, or also something valid."""
        question = self._question
        while True:
            response.begin()
            graph = GraphStream(question.graph) if question.graph is not None else None
            reading = pieces(
                self._generation, self._ask(turn, items), response, graph, question.on_refusal
            )
            async with aclosing(reading) as chunks:
                async for chunk in chunks:
                    self.spoke = True
                    yield chunk
            if response.ended is None:
                return
            response.calls = [question.offered.as_run(call) for call in response.calls]
            broken = self._answer_invalid_calls(turn, response)
            if response.calls:
                heard = graph is None and not self.nested  # when nested, the framework drops text
                words = response.text if heard else ""
                response.group = CallGroup(tuple(response.calls), words)
            if broken:
                said_before = [Message.of("assistant", response.text)] if response.text else []
                before = said_before if response.group is None else []
                turn.unseen.append(Unseen((*before, *broken), len(items), response.group))
            if response.calls or not broken:
                break
        if response.calls:
            return
        if at_the_end := known_at_the_end(response, question.model):
            yield text_chunk("", at_the_end)

    def _hand_out(self, turn: Turn, metadata: dict[str, Any] | None = None) -> LLMResponse:
        """Give the framework the next call, by its own name of the tool."""
        call = turn.hand_out()
        return call_chunk(call, self._question.offered.names.get(call.name, call.name), metadata)

    def _ask(self, turn: Turn, items: tuple[Item, ...]) -> ResponseStream:
        context = arrange(
            items,
            self._memory.turns.history.groups_in(items),
            turn.calls_in(items),
            turn.unseen,
        )
        offered, graph = self._question.offered, self._question.graph is not None
        nested = self.nested

        def record(output: tuple[Item, ...]) -> tuple[Item, ...] | None:
            run = (offered.as_run(one) if isinstance(one, ToolCall) else one for one in output)
            return as_recorded(tuple(run), nested=nested, graph=graph)

        return self._question.ask(context, self._unsent, record, no_calls=turn.refused)

    def _answer_invalid_calls(self, turn: Turn, response: Response) -> list[Item]:
        """Remove invalid calls from a response; the model gets an error output for each.

        Returns:
            These calls, which the framework never gets, and their outputs.

        Raises:
            ResponseFailed: If that happened too often in one turn.
        """
        why_not = self._question.offered.why_not
        judged = [(call, why_not(call)) for call in response.calls]
        broken = [(call, why) for call, why in judged if why is not None]
        if not broken or turn.refused:
            return []
        turn.failed_calls += 1
        reasons = "; ".join(why for _, why in broken)
        if turn.failed_calls > MOST_ANSWERED:
            ended = response.ended
            raise cannot_call(reasons, ended.response_id if ended is not None else None)
        logger.warning("a tool call is not valid; the model is asked to correct it: %s", reasons)
        response.calls = [call for call, why in judged if why is None]
        outputs = [ToolOutput(call.call_id, f"error: {why}") for call, why in broken]
        return [*(call for call, _ in broken), *outputs]
