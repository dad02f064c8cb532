"""A TCP relay that adds a fixed delay to each direction, like a distant host."""

import asyncio
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit


class Relay:
    """Forwards connections to a server, with a delay.

    Args:
        target: The server's base URL.
        round_trip: Seconds to add to a round trip; half of it in each direction.
    """

    def __init__(self, target: str, round_trip: float) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._path = parts.path
        self._delay = round_trip / 2
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def base_url(self) -> str:
        """The base URL to use instead of the server's own."""
        if self._server is None:
            raise RuntimeError("the relay is not running; use it as: async with Relay(…)")
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"http://{host}:{port}{self._path}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection in a separate task, which is cancelled at the end."""
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # The handshake of TCP itself takes a round trip, too.
        await asyncio.sleep(2 * self._delay)
        up_reader, up_writer = await asyncio.open_connection(*self._target)
        try:
            await asyncio.gather(self._forward(reader, up_writer), self._forward(up_reader, writer))
        except OSError:
            pass  # one side has closed, so the other is closed too
        finally:
            writer.close()
            up_writer.close()

    async def _forward(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        """Forward pieces in order, each with its delay."""
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def deliver() -> None:
            while True:
                due, data = await pieces.get()
                await asyncio.sleep(due - loop.time())
                if not data:
                    sink.close()
                    return
                sink.write(data)

        delivering = loop.create_task(deliver())
        try:
            while data := await source.read(65536):
                pieces.put_nowait((loop.time() + self._delay, data))
            pieces.put_nowait((loop.time() + self._delay, b""))
            await delivering
        finally:
            delivering.cancel()
