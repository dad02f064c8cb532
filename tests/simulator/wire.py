"""A client of few lines, so that tests see what is really on the wire."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from rtllm.simulator import Simulator

MODEL = "gpt-4.1"
TERMINAL = {"response.completed", "response.incomplete", "response.failed", "error"}

Event = dict[str, Any]


class Wire:
    """One socket; reads in the background and sorts events by lane."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.frames: list[str] = []
        self.over = asyncio.Event()
        self._lanes: dict[str | None, asyncio.Queue[Event]] = {}
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for message in self.socket:
            self.frames.append(message.data)
            try:
                event = json.loads(message.data)
            except (ValueError, RecursionError):
                continue
            if isinstance(event, dict):
                self._lane(event.get("stream_id")).put_nowait(event)
        self.over.set()

    def _lane(self, name: str | None) -> asyncio.Queue[Event]:
        return self._lanes.setdefault(name, asyncio.Queue())

    async def create(self, text: Any = "Hello", lane: str | None = None, **fields: Any) -> None:
        body = {"type": "response.create", "model": MODEL, "input": text, "store": False, **fields}
        if lane is not None:
            body["stream_id"] = lane
        await self.socket.send_json(body)

    async def event(self, lane: str | None = None) -> Event:
        async with asyncio.timeout(10):
            return await self._lane(lane).get()

    async def until(self, kind: str, lane: str | None = None) -> Event:
        while True:
            event = await self.event(lane)
            if event.get("type") == kind:
                return event

    async def rest(self, lane: str | None = None) -> list[Event]:
        events: list[Event] = []
        while not events or str(events[-1].get("type")) not in TERMINAL:
            events.append(await self.event(lane))
        return events

    async def ask(self, text: Any = "Hello", lane: str | None = None, **fields: Any) -> Event:
        """Send a request and return its last event."""
        await self.create(text, lane, **fields)
        return (await self.rest(lane))[-1]

    async def ask_id(self, text: Any = "Hello", lane: str | None = None, **fields: Any) -> str:
        last = await self.ask(text, lane, **fields)
        assert last["type"] == "response.completed", last
        return str(last["response"]["id"])

    async def refusal(self, text: Any = "Hello", lane: str | None = None, **fields: Any) -> Event:
        """Send a request that must be refused; its error, with the frame's status."""
        last = await self.ask(text, lane, **fields)
        assert last["type"] == "error", last
        return {**last["error"], "status": last["status"]}

    async def aclose(self) -> None:
        await self.socket.close()
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)


@asynccontextmanager
async def connected(service: Simulator, key: str | None = None) -> AsyncIterator[Wire]:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(service.websocket_url, headers=headers, max_msg_size=2**26) as socket,
    ):
        wire = Wire(socket)
        try:
            yield wire
        finally:
            await wire.aclose()


def text_of(event: Event) -> str:
    """The text of a completed response."""
    return "".join(
        part["text"]
        for item in event["response"]["output"]
        if item["type"] == "message"
        for part in item["content"]
    )
