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

Entries = Sequence[dict[str, Any]]
Model: Any = PAGE.RtllmModel


def is_said(item: Item) -> bool:
    return isinstance(item, Message) and item.role == "assistant"


def with_fields(request: Request, **fields: Any) -> Request:
    return dataclasses.replace(request, **fields)


class Forgetful(Model):  # type: ignore[misc]  # the page's class has no static type
    """Leaves out the first message of the agent."""

    def _request(self, entries: Entries, offered: Any) -> Request:
        first = next((e for e in entries if e.get("role") == "assistant"), None)
        request: Request = super()._request([e for e in entries if e is not first], offered)
        return request


class WithoutRecord(Model):  # type: ignore[misc]
    """Does not tell how the framework records an output."""

    def _request(self, entries: Entries, offered: Any) -> Request:
        return with_fields(super()._request(entries, offered), record=lambda _: None)


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


class WithoutRetries(Model):  # type: ignore[misc]
    """Sends each request once."""

    def _request(self, entries: Entries, offered: Any) -> Request:
        request: Request = super()._request(entries, offered)
        return with_fields(request, retry=RetryPolicy(0))


class Patient(Model):  # type: ignore[misc]
    """Waits for a silent host."""

    def _request(self, entries: Entries, offered: Any) -> Request:
        limits = Timeouts(1000.0, 1000.0, 1000.0, 1000.0)
        return with_fields(super()._request(entries, offered), limits=limits)


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
        return with_fields(request, items=items)


class Strict(Model):  # type: ignore[misc]
    """Fails if a parameter is rejected."""

    def _request(self, entries: Entries, offered: Any) -> Request:
        return with_fields(super()._request(entries, offered), strict_parameters=True)


class Unchecked(Model):  # type: ignore[misc]
    """Drops calls that can't run."""

    async def respond(
        self, entries: Entries, tools: Mapping[str, Any]
    ) -> AsyncGenerator[str | dict[str, Any], None]:
        async for piece in super().respond(entries, tools):
            if isinstance(piece, str) or "error" not in piece:
                yield piece


SABOTEURS: Mapping[str, MakeAdapter] = {
    "the model sees the framework's context": under_test(Forgetful),
    "what the service has is not sent again": under_test(WithoutRecord),
    "nothing is emitted twice": under_test(Repeating),
    "a fault before the first output is survived": under_test(WithoutRetries),
    "a silent host ends within the limit": under_test(Patient),
    "turns are independent": under_test(Closing),
    "usage is reported once": Twice,
    "conversations never mix": under_test(Crossing),
    "a rejected parameter is sent in another form": under_test(Strict),
    "a call that can't run harms nothing": under_test(Unchecked),
}
