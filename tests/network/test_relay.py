"""The relay itself, with the simplest server that there is."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from network.certificates import Authority
from network.relay import End, Relay, reset
from rtllm.simulator import Simulator
from simulator.wire import connected, text_of


class Echo:
    """Sends back what comes; notes how each connection ended."""

    def __init__(self) -> None:
        self.got = b""
        self.ends: asyncio.Queue[str] = asyncio.Queue()
        self.tasks: set[asyncio.Task[None]] = set()

    def begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.tasks.add(asyncio.create_task(self.serve(reader, writer)))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1000):
                self.got += data
                writer.write(data)
            self.ends.put_nowait("fin")
        except ConnectionResetError:
            self.ends.put_nowait("rst")
        finally:
            writer.close()


@asynccontextmanager
async def echoing() -> AsyncIterator[tuple[Echo, str]]:
    echo = Echo()
    server = await asyncio.start_server(echo.begin, "127.0.0.1", 0)
    try:
        yield echo, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()
        for task in echo.tasks:
            task.cancel()
        await asyncio.gather(*echo.tasks, return_exceptions=True)


@asynccontextmanager
async def dialled(
    relay: Relay,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    port = int(relay.base_url.split(":")[2].split("/")[0])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def end_of(reader: asyncio.StreamReader) -> tuple[bytes, str]:
    """All that still comes, and how it ended."""
    got = b""
    async with asyncio.timeout(10):
        try:
            while data := await reader.read(1000):
                got += data
        except ConnectionResetError:
            return got, "rst"
    return got, "fin"


async def test_bytes_pass_both_ways_and_an_end_is_handed_on() -> None:
    async with echoing() as (echo, url), Relay(url) as relay:
        assert relay.base_url.endswith("/v1")
        async with dialled(relay) as (reader, writer):
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
        assert await echo.ends.get() == "fin"
        link = await relay.link()
        await link.over.wait()
        assert (link.up.passed, link.down.passed) == (5, 5)
        assert relay.open_links == []


@pytest.mark.parametrize("how", ["reset", "close"])
async def test_a_link_breaks_at_a_chosen_byte(how: End) -> None:
    async with echoing() as (echo, url), Relay(url) as relay:
        relay.on_link = lambda link: link.down.cut(3, how)
        async with dialled(relay) as (reader, writer):
            writer.write(b"hello")
            kind = {"reset": "rst", "close": "fin"}[how]
            assert await end_of(reader) == (b"hel", kind)
            assert await echo.ends.get() == kind


async def test_a_link_is_reset_at_a_chosen_moment() -> None:
    async with echoing() as (echo, url), Relay(url) as relay, dialled(relay) as (reader, writer):
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        relay.end("reset")
        assert await end_of(reader) == (b"", "rst")
        assert await echo.ends.get() == "rst"


async def test_a_reset_of_one_side_reaches_the_other() -> None:
    async with echoing() as (echo, url), Relay(url) as relay:
        async with dialled(relay) as (reader, writer):
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
            reset(writer)
        assert await echo.ends.get() == "rst"


async def test_a_half_open_link_swallows_bytes_and_ends_of_both_sides() -> None:
    async with echoing() as (echo, url), Relay(url) as relay, dialled(relay) as (reader, writer):
        writer.write(b"heard")
        assert await reader.readexactly(5) == b"heard"
        [link] = relay.links
        link.end("swallow")
        writer.write(b"lost")
        for task in echo.tasks:
            task.cancel()  # the server goes
        await asyncio.gather(*echo.tasks, return_exceptions=True)
        reading = asyncio.create_task(reader.read(1))
        async with dialled(relay) as (other, to_other):  # a way that still works meanwhile
            to_other.write(b"x")
            assert await other.readexactly(1) == b"x"
        assert not reading.done()
        assert echo.got == b"heardx"
        assert (link.up.passed, link.over.is_set()) == (5, False)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def test_a_stalled_flow_goes_on_when_it_is_resumed() -> None:
    async with echoing() as (_, url), Relay(url) as relay, dialled(relay) as (reader, writer):
        link = await relay.link()
        link.down.cut(5, "stall")
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        writer.write(b"again")
        link.up.resume()
        await link.up.wait_passed(10)
        async with dialled(relay) as (other, to_other):  # a way that still works meanwhile
            to_other.write(b"x")
            assert await other.readexactly(1) == b"x"
        assert link.down.passed == 5
        link.down.resume()
        assert await reader.readexactly(5) == b"again"


async def test_delay_and_rate_keep_the_order() -> None:
    data = bytes(range(256)) * 4
    async with (
        echoing() as (_, url),
        Relay(url, delay=(0.001, 0.002), rate=100_000) as relay,
        dialled(relay) as (reader, writer),
    ):
        writer.write(data)
        assert await reader.readexactly(len(data)) == data
        assert relay.links[0].up.passed == len(data)


@pytest.mark.parametrize("slow", [{"delay": (30.0, 0.0)}, {"rate": 1.0}])
async def test_a_slow_link_is_overtaken(slow: dict[str, Any]) -> None:
    async with (
        echoing() as (echo, url),
        Relay(url, **slow) as relay,
        dialled(relay) as (_reader, writer),
    ):
        writer.write(b"slow")
        await relay.link()
        relay.delay, relay.rate = 0.0, None
        async with dialled(relay) as (other, to_other):
            to_other.write(b"quick")
            assert await other.readexactly(5) == b"quick"
        assert b"slow" not in echo.got


async def test_connections_are_refused_and_accepted_again() -> None:
    async with echoing() as (_, url), Relay(url) as relay:
        async with dialled(relay) as (reader, writer):
            await relay.link()
            await relay.refuse()
            with pytest.raises(ConnectionRefusedError):
                async with dialled(relay):
                    pass
            writer.write(b"still here")
            assert await reader.readexactly(10) == b"still here"
        await relay.accept()
        async with dialled(relay) as (reader, writer):
            writer.write(b"back")
            assert await reader.readexactly(4) == b"back"


async def test_a_relay_without_its_server_resets() -> None:
    async with echoing() as (_, url):
        pass
    async with Relay(url) as relay, dialled(relay) as (reader, _writer):
        assert await end_of(reader) == (b"", "rst")


async def test_tls_is_taken_off_in_front_of_the_server() -> None:
    authority = Authority()
    async with (
        Simulator() as service,
        Relay(service.base_url, tls=authority.right()) as relay,
        aiohttp.ClientSession() as session,
    ):
        url = f"{relay.base_url}/models"
        assert url.startswith("https://")
        async with session.get(url, ssl=authority.trusting()) as answer:
            assert answer.status == 200
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await session.get(url)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("wrong_name", "IP address mismatch"), ("expired", "certificate has expired")],
)
async def test_a_bad_certificate_is_bad_in_its_own_way(kind: str, reason: str) -> None:
    authority = Authority()
    front: ssl.SSLContext = getattr(authority, kind)()
    async with (
        Simulator() as service,
        Relay(service.base_url, tls=front) as relay,
        aiohttp.ClientSession() as session,
    ):
        with pytest.raises(aiohttp.ClientConnectorCertificateError, match=reason):
            await session.get(f"{relay.base_url}/models", ssl=authority.trusting())
        assert service.journal.entries == []


async def test_a_websocket_is_cut_in_mid_frame() -> None:
    async with Simulator("one two three") as service, Relay(service.base_url) as relay:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(relay.websocket_url) as socket,
        ):
            link = await relay.link()
            link.down.cut(link.down.passed + 100, "reset")
            await socket.send_json(
                {"type": "response.create", "model": "gpt-4.1", "input": "Hi", "store": False}
            )
            message = await socket.receive()
            assert message.type is not aiohttp.WSMsgType.TEXT
            assert socket.close_code == 1006
        async with connected(service) as wire:
            assert text_of(await wire.ask("Hi")) == "one two three"
        await service.journal.wait_for(outcome="completed")
