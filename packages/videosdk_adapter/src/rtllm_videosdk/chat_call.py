"""One `chat`: its requests, its chunks, and the turn that it belongs to."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Protocol

from videosdk.agents import ChatContext, ImageContent, LLMResponse

from rtllm import Item, ResponseStream, ToolCall
from rtllm.adapters import CallGroup, ImageCache, OfferedTools, OnRefusal, Unseen, arrange
from rtllm_videosdk.convert import as_recorded, copy_context
from rtllm_videosdk.generation import (
    Generation,
    Response,
    call_chunk,
    final_metadata,
    read_response,
    text_chunk,
)
from rtllm_videosdk.graph import Graph, GraphStream
from rtllm_videosdk.parallel_calls import OpenTurns, PipelineTurn
from rtllm_videosdk.usage_metadata import report_nested

Record = Callable[[tuple[Item, ...]], tuple[Item, ...] | None]


@dataclass(slots=True)
class ChatState:
    """The state that an LLM keeps between calls of `chat`.

    Attributes:
        turns: Turns that wait for a tool, by their context, and completed calls.
        pictures: Encoded pictures.
    """

    turns: OpenTurns
    pictures: ImageCache[ImageContent]


class AskFunction(Protocol):
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
class ChatSettings:
    """The settings of one `chat`.

    Attributes:
        ask: Requests a response.
        offered: The tools that may be called.
        graph: A conversational graph.
        on_refusal: How to handle a refusal.
    """

    ask: AskFunction
    offered: OfferedTools
    graph: Graph | None
    on_refusal: OnRefusal


class ChatCall:
    """The response to one `chat` call of the framework.

    Attributes:
        turn: The turn that it belongs to; None until that is known.
        nested: Whether it is called inside another one, after a tool.
        has_spoken: Whether it emitted text.
    """

    def __init__(
        self, state: ChatState, generation: Generation, context: ChatContext, settings: ChatSettings
    ) -> None:
        self._state = state
        self._generation = generation
        self._context = context
        self._settings = settings
        self._unsent: tuple[str, ...] = ()
        self.turn: PipelineTurn | None = None
        self.nested = False
        self.has_spoken = False

    async def chunks(self) -> AsyncGenerator[LLMResponse, None]:
        """Request the response, and yield text, calls and the metadata at the end.

        Raises:
            TurnError: If the turn fails, or if a nested `chat` failed: the framework suppresses its
                error and returns here.
        """
        in_pipeline = self._generation.pipeline is not None
        items = await self._items()
        turn = self._join(items)
        if self.nested and self._settings.offered.tools and turn.held:
            while turn.held and not self._generation.is_cancelled():
                yield self._emit_call(turn)
            return
        while True:
            turn.waiting = False
            response = Response()
            async with aclosing(self._ask_until_valid(turn, items, response)) as chunks:
                async for chunk in chunks:
                    yield chunk
            if self._generation.is_cancelled() or response.group is None or turn.refused:
                return
            turn.hold(response.group)
            metadata: dict[str, Any] | None = final_metadata(response)
            if not self.nested:
                self._state.turns.open(turn)
            while turn.held:
                yield self._emit_call(turn, metadata)
                metadata = None
                if not self.nested:
                    # The tool and every nested `chat` have completed.
                    if self._is_over(turn):
                        return
                    if in_pipeline:
                        items = await self._items()
                        self._state.turns.update(turn, items)
            if self.nested or not in_pipeline:
                return  # another caller gets all calls, and asks again when it wants to
            # A tool raised, which the framework doesn't report; the model must say something.

    def _is_over(self, turn: PipelineTurn) -> bool:
        """Whether the outer `chat` has nothing left to do after a call.

        Raises:
            TurnError: If a nested `chat` failed.
        """
        if self._generation.is_cancelled():
            return True
        if turn.error is not None:
            raise turn.error
        return not turn.waiting

    def close(self) -> None:
        """Drop the held calls, because the framework does not return for them."""
        if self.turn is not None and not self.nested:
            self._state.turns.close(self.turn)

    async def _items(self) -> tuple[Item, ...]:
        context = copy_context(self._context)
        self._unsent = context.unsent
        return await self._state.pictures.place(context.items, context.frames).encode()

    def _join(self, items: tuple[Item, ...]) -> PipelineTurn:
        turn = self._state.turns.join(self._context, items)
        self.nested = turn is not None
        if turn is None:
            turn = PipelineTurn(self._context, items)
        self.turn = self._generation.turn = turn
        return turn

    async def _ask_until_valid(
        self, turn: PipelineTurn, items: tuple[Item, ...], response: Response
    ) -> AsyncGenerator[LLMResponse, None]:
        """Repeat the request until the response has no invalid call, or also something valid.

        The framework never gets an invalid call; the model gets an error output for each.

        Raises:
            ResponseFailed: If that happens too often in one turn.
        """
        settings = self._settings
        while True:
            response.reset()
            graph = GraphStream(settings.graph) if settings.graph is not None else None
            reading = read_response(
                self._generation, self._ask(turn, items), response, graph, settings.on_refusal
            )
            async with aclosing(reading) as chunks:
                async for chunk in chunks:
                    self.has_spoken = True
                    yield chunk
            if response.ended is None:
                return
            response.calls = [settings.offered.as_run(call) for call in response.calls]
            answered: list[Item] = []
            if not turn.refused:
                response.calls, answered = turn.gate.answer(
                    response.calls,
                    settings.offered.explain_rejection,
                    response.ended.response_id,
                    text=response.text,
                )
            if response.calls:
                heard = graph is None and not self.nested  # when nested, the framework drops text
                words, before = (response.text, response.before) if heard else ("", "")
                between = " " if words and before else ""
                response.group = CallGroup(tuple(response.calls), words, before + between)
            if answered:
                turn.unseen.append(Unseen(tuple(answered), len(items), response.group))
            if response.calls or not answered:
                break
        turn.spent.add_all(response.spent)
        if self.nested and self._generation.pipeline is not None:
            report_nested(self._generation.pipeline, response.spent, turn.spent)
        if response.calls:
            return
        if metadata := final_metadata(response):
            yield text_chunk("", metadata)

    def _emit_call(self, turn: PipelineTurn, metadata: dict[str, Any] | None = None) -> LLMResponse:
        """Give the framework the next call, by its own name of the tool."""
        call = turn.emit_next_call()
        return call_chunk(call, self._settings.offered.names.to_framework(call.name), metadata)

    def _ask(self, turn: PipelineTurn, items: tuple[Item, ...]) -> ResponseStream:
        context = arrange(
            items,
            self._state.turns.history.groups_in(items),
            turn.calls_in(items),
            turn.unseen,
        )
        offered, graph = self._settings.offered, self._settings.graph is not None
        nested = self.nested

        def record(output: tuple[Item, ...]) -> tuple[Item, ...] | None:
            run = (offered.as_run(one) if isinstance(one, ToolCall) else one for one in output)
            return as_recorded(tuple(run), nested=nested, graph=graph)

        return self._settings.ask(context, self._unsent, record, no_calls=turn.refused)
