"""Adapters that break the contract, by the check that must find it."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

from rtllm import Item, Message, Request, RetryPolicy, Timeouts
from rtllm.testing import MakeAdapter
from support.page_adapter import adapter_of_the_page, under_test

PAGE = adapter_of_the_page()
PageUnderTest: Any = under_test(PAGE.RtllmModel)

PATIENT = Timeouts(1000.0, 1000.0, 1000.0, 1000.0)

Entries = Sequence[dict[str, Any]]
Model: Any = PAGE.RtllmModel


def is_said(item: Item) -> bool:
    return isinstance(item, Message) and item.role == "assistant"


def requesting(**fields: Any) -> MakeAdapter:
    """The page's adapter, with other fields in each request."""

    class Requesting(Model):  # type: ignore[misc]  # the page's class has no static type
        def _request(self, entries: Entries, offered: Any) -> Request:
            request: Request = super()._request(entries, offered)
            return dataclasses.replace(request, **fields)

    made: MakeAdapter = under_test(Requesting)
    return made


class Forgetful(Model):  # type: ignore[misc]  # the page's class has no static type
    """Leaves out the first message of the agent."""

    def _request(self, entries: Entries, offered: Any) -> Request:
        first = next((e for e in entries if e.get("role") == "assistant"), None)
        request: Request = super()._request([e for e in entries if e is not first], offered)
        return request


class Repeating(Model):  # type: ignore[misc]
    """Asks again when a response fails."""

    async def respond(
        self, entries: Entries, tools: Mapping[str, Any]
    ) -> AsyncGenerator[str | dict[str, Any], None]:
        try:
            async for piece in super().respond(entries, tools):
                yield piece
        except PAGE.ModelError:
            async for piece in super().respond(entries, tools):
                yield piece


def queueing(*settings: Any, **options: Any) -> Any:
    """Create a model that queues the pieces of a response, and drops them if it fails."""
    model = Model(*settings, **options)
    respond = model.respond

    async def queued(*given: Any) -> AsyncGenerator[str | dict[str, Any], None]:
        for piece in [piece async for piece in respond(*given)]:
            yield piece

    model.respond = queued
    return model


class Closing(Model):  # type: ignore[misc]
    """Closes the connections at an interruption."""

    async def respond(
        self, entries: Entries, tools: Mapping[str, Any]
    ) -> AsyncGenerator[str | dict[str, Any], None]:
        try:
            async for piece in super().respond(entries, tools):
                yield piece
        except GeneratorExit:
            await self.aclose()
            raise


class Twice(PageUnderTest):  # type: ignore[misc]
    """Reports the tokens of a response twice."""

    def tokens(self) -> tuple[int, int]:
        given, received = super().tokens()
        return 2 * given, 2 * received


class Crossing(Model):  # type: ignore[misc]
    """Converts the agent's messages once for each place, for all conversations."""

    def _request(self, entries: Entries, offered: Any) -> Request:
        if not hasattr(self, "known"):
            self.known: dict[int, Item] = {}
        request: Request = super()._request(entries, offered)
        items = tuple(
            self.known.setdefault(place, item) if is_said(item) else item
            for place, item in enumerate(request.items)
        )
        return dataclasses.replace(request, items=items)


class Unchecked(Model):  # type: ignore[misc]
    """Drops calls that can't run."""

    async def respond(
        self, entries: Entries, tools: Mapping[str, Any]
    ) -> AsyncGenerator[str | dict[str, Any], None]:
        async for piece in super().respond(entries, tools):
            if isinstance(piece, str) or "error" not in piece:
                yield piece


class Correcting(Model):  # type: ignore[misc]
    """Answers calls that can't run itself, but forgets the text before them."""

    async def respond(
        self, entries: Entries, tools: Mapping[str, Any]
    ) -> AsyncGenerator[str | dict[str, Any], None]:
        said = ""
        async for piece in super().respond(entries, tools):
            if isinstance(piece, str):
                said += piece
            elif "error" in piece:
                call_id = piece["call_id"]
                call = {**piece, "id": f"call-{call_id}"}
                output = {"id": f"output-{call_id}", "call_id": call_id, "output": piece["error"]}
                async for more in super().respond([*entries, call, output], tools):
                    yield more
                return
            yield piece


class Dropping(Model):  # type: ignore[misc]
    """Drops a response's other calls if one of them can't run."""

    async def respond(
        self, entries: Entries, tools: Mapping[str, Any]
    ) -> AsyncGenerator[str | dict[str, Any], None]:
        calls: list[dict[str, Any]] = []
        async for piece in super().respond(entries, tools):
            if isinstance(piece, str):
                yield piece
            else:
                calls.append(piece)
        broken = [call for call in calls if "error" in call]
        for call in broken or calls:
            yield call


class Impatient(Model):  # type: ignore[misc]
    """Waits until each call of the context has an output."""

    async def respond(
        self, entries: Entries, tools: Mapping[str, Any]
    ) -> AsyncGenerator[str | dict[str, Any], None]:
        calls = {e["call_id"] for e in entries if "name" in e}
        if calls - {e["call_id"] for e in entries if "output" in e}:
            raise PAGE.ModelError("a tool has not returned", retryable=True)
        async for piece in super().respond(entries, tools):
            yield piece


class Shifting(Model):  # type: ignore[misc]
    """Gives the outputs of a turn to its calls in their order, whatever their ids are."""

    def _request(self, entries: Entries, offered: Any) -> Request:
        ids = [entry["call_id"] for entry in entries if "name" in entry]
        taken = iter(ids)
        shifted = [{**e, "call_id": next(taken)} if "output" in e else e for e in entries]
        request: Request = super()._request(shifted, offered)
        return request


SABOTEURS: Mapping[str, MakeAdapter] = {
    "the model sees the framework's context": under_test(Forgetful),
    "what the service has is not sent again": requesting(record=lambda _: None),
    "nothing is emitted twice": under_test(Repeating),
    "a fault before the first output is survived": requesting(retry=RetryPolicy(0)),
    "a silent host ends within the limit": requesting(
        limits=Timeouts(1000.0, 1000.0, 1000.0, 1000.0)
    ),
    "turns are independent": under_test(Closing),
    "usage is reported once": Twice,
    "conversations never mix": under_test(Crossing),
    "a rejected parameter is sent in another form": requesting(strict_parameters=True),
    "a call that can't run harms nothing": under_test(Unchecked),
    "a corrected call leaves the text in order": under_test(Correcting),
    "a call that can run next to one that can't runs once": under_test(Dropping),
    "a tool can be interrupted": under_test(Impatient),
    "outputs may come in any order": under_test(Shifting),
}
