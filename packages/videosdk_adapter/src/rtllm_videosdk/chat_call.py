"""One `chat`: its requests, its chunks, and the turn that it belongs to."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from videosdk.agents import ChatContext, ImageContent, LLMResponse

from rtllm import ChatClient, Client, Event, Item, Request, ResponseStream, TextDelta
from rtllm.adapters import EmittedOutput, ImageCache, OfferedTools, OnRefusal, arrange
from rtllm_videosdk.caller_identity import calling_pipeline
from rtllm_videosdk.chunks import call_chunk, final_metadata, text_chunk
from rtllm_videosdk.convert import as_recorded, copy_context
from rtllm_videosdk.graph import Graph, GraphStream
from rtllm_videosdk.parallel_calls import OpenTurns, PipelineTurn
from rtllm_videosdk.usage_metadata import report_nested


@dataclass(frozen=True, slots=True)
class ChatSettings:
    """The settings of one `chat`.

    Attributes:
        client: The client to ask.
        request: The request, without its context.
        offered: The tools that may be called.
        graph: A conversational graph.
        on_refusal: How to handle a refusal.
    """

    client: Client | ChatClient
    request: Request
    offered: OfferedTools
    graph: Graph | None
    on_refusal: OnRefusal


class ChatCall:
    """The response to one `chat` call of the framework.

    Args:
        turns: The turns that wait for a tool, and completed calls.
        pictures: Encoded pictures.
        context: The framework's context.

    Attributes:
        loop: The event loop that it runs on.
        pipeline: The framework's pipeline that called it; None for another caller.
        context: The framework's context, by identity.
        turn: The turn that it belongs to; None until that is known.
        nested: Whether it is called inside another one, after a tool.
        has_spoken: Whether it emitted text.
    """

    _settings: ChatSettings

    def __init__(
        self, turns: OpenTurns, pictures: ImageCache[ImageContent], context: ChatContext
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.pipeline = calling_pipeline()
        self.context = context
        self.turn: PipelineTurn | None = None
        self.nested = False
        self.has_spoken = False
        self._turns = turns
        self._pictures = pictures
        self._unsent: tuple[str, ...] = ()
        self._stream: ResponseStream | None = None
        self._cancelled = False

    def is_cancelled(self) -> bool:
        """Whether it was cancelled.

        A method, since a type checker takes a false attribute for false also after an ``await``.
        """
        return self._cancelled

    def cancel(self) -> None:
        """Cancel it without waiting; a waiting reader is woken.

        The reader's task is the framework's own, and goes on.
        """
        self._cancelled = True
        if self.turn is not None:
            self.turn.end()
        if self._stream is not None:
            self._stream.close()

    async def chunks(self, settings: ChatSettings) -> AsyncGenerator[LLMResponse, None]:
        """Request the response, and yield text, calls and the metadata at the end.

        Raises:
            TurnError: If the turn fails, or if a nested `chat` failed: the framework suppresses its
                error and returns here.
        """
        self._settings = settings
        in_pipeline = self.pipeline is not None
        items = await self._items()
        turn = self._join(items)
        if self.nested and settings.offered.tools and turn.held:
            while turn.held and not self.is_cancelled():
                yield self._emit_call(turn)
            return
        while True:
            turn.waiting = False
            output = EmittedOutput(settings.on_refusal)
            async with aclosing(self._ask_until_valid(turn, items, output)) as chunks:
                async for chunk in chunks:
                    yield chunk
            if self.is_cancelled() or output.group is None or turn.refused:
                return
            turn.hold(output.group)
            metadata: dict[str, Any] | None = final_metadata(output)
            if not self.nested:
                self._turns.open(turn)
            while turn.held:
                yield self._emit_call(turn, metadata)
                metadata = None
                if not self.nested:
                    # The tool and every nested `chat` have completed.
                    if self._is_over(turn):
                        return
                    if in_pipeline:
                        items = await self._items()
                        self._turns.update(turn, items)
            if self.nested or not in_pipeline:
                return  # another caller gets all calls, and asks again when it wants to
            # A tool raised, which the framework doesn't report; the model must say something.

    def _is_over(self, turn: PipelineTurn) -> bool:
        """Whether the outer `chat` has nothing left to do after a call.

        Raises:
            TurnError: If a nested `chat` failed.
        """
        if self.is_cancelled():
            return True
        if turn.error is not None:
            raise turn.error
        return not turn.waiting

    def close(self) -> None:
        """Drop the held calls, because the framework does not return for them."""
        if self.turn is not None and not self.nested:
            self._turns.close(self.turn)

    async def _items(self) -> tuple[Item, ...]:
        context = copy_context(self.context)
        self._unsent = context.unsent
        return await self._pictures.place(context.items, context.frames).encode()

    def _join(self, items: tuple[Item, ...]) -> PipelineTurn:
        turn = self._turns.join(self.context, items)
        self.nested = turn is not None
        self.turn = PipelineTurn(self.context, items) if turn is None else turn
        return self.turn

    async def _ask_until_valid(
        self, turn: PipelineTurn, items: tuple[Item, ...], output: EmittedOutput
    ) -> AsyncGenerator[LLMResponse, None]:
        """Repeat the request until the response has no invalid call, or also something valid.

        The framework never gets an invalid call; the model gets an error output for each.

        Raises:
            ResponseFailed: If that happens too often in one turn.
        """
        settings, offered = self._settings, self._settings.offered
        # The framework drops the text of a nested response, and replaces that of a graph.
        is_recorded = settings.graph is None and not self.nested
        graph: GraphStream | None = None
        must_ask = True
        while must_ask:
            output.begin_response()
            graph = GraphStream(settings.graph) if settings.graph is not None else None
            async with aclosing(self._read(self._ask(turn, items), output, graph)) as chunks:
                async for chunk in chunks:
                    self.has_spoken = True
                    yield chunk
            if output.ended is None:
                return
            output.calls = [offered.as_run(call) for call in output.calls]
            must_ask = not turn.refused and turn.gate.check(
                output, offered.explain_rejection, at=len(items), is_recorded=is_recorded
            )
        turn.spent.add_all(output.spent)
        if self.nested and self.pipeline is not None:
            report_nested(self.pipeline, output.spent, turn.spent)
        decision = graph.decision if graph is not None else None
        if not output.calls and (metadata := final_metadata(output, decision)):
            yield text_chunk("", metadata)

    async def _read(
        self, stream: ResponseStream, output: EmittedOutput, graph: GraphStream | None
    ) -> AsyncGenerator[LLMResponse, None]:
        """Read a response: yield its text, and store the rest in `output` and `graph`.

        Raises:
            TurnError: If the turn fails.
        """
        self._stream = stream
        with stream:  # leaving the block does not wait
            while (event := await self._next(stream)) is not None:
                events: Sequence[Event] = [event]
                if graph is not None and isinstance(event, TextDelta) and not event.refusal:
                    events = graph.feed(event)
                for one in events:
                    emitted = output.take(one)
                    if isinstance(emitted, TextDelta):
                        yield text_chunk(emitted.text)
        if self.is_cancelled() or output.ended is None:
            return
        if (report := stream.report) is not None:
            output.spent.model = report.served_model or report.model
        output.check_refusal()
        if graph is not None and not output.calls and (words := graph.finish(output)):
            output.text = words
            yield text_chunk(words)

    async def _next(self, stream: ResponseStream) -> Event | None:
        """Return the next event; None if the response is over or the `chat` was cancelled."""
        if self.is_cancelled():
            return None
        event = await anext(stream, None)
        return None if self.is_cancelled() else event

    def _emit_call(self, turn: PipelineTurn, metadata: dict[str, Any] | None = None) -> LLMResponse:
        """Give the framework the next call, by its own name of the tool."""
        call = turn.emit_next_call()
        return call_chunk(call, self._settings.offered.names.to_framework(call.name), metadata)

    def _ask(self, turn: PipelineTurn, items: tuple[Item, ...]) -> ResponseStream:
        settings, offered = self._settings, self._settings.offered
        known = self._turns.history.groups_in(items)
        request = replace(
            settings.request,
            items=arrange(items, known, turn.emitted.groups_in(items), turn.gate.unseen),
            unsent=self._unsent,
            record=partial(
                as_recorded,
                as_run=offered.as_run,
                nested=self.nested,
                graph=settings.graph is not None,
            ),
        )
        if turn.refused and offered.tools:
            request = replace(request, settings={**request.settings, "tool_choice": "none"})
        return settings.client.ask(request)
