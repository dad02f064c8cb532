"""An HTTP proxy: CONNECT, and absolute addresses for plain HTTP."""

from __future__ import annotations

import asyncio
import base64
from typing import Self
from urllib.parse import unquote, urlsplit


class Proxy:
    """Listens on a free port.

    Args:
        target: A base URL that every request is forwarded to; None to forward to the host that
            the client names.
        user: ``user:password`` that clients must send, as in a URL; others get a 407.
        refuse: A status that every request is refused with.

    Attributes:
        lines: The request line of each request.
    """

    def __init__(
        self, target: str | None = None, *, user: str | None = None, refuse: int | None = None
    ) -> None:
        self.lines: list[str] = []
        self._target = target
        self._user = user
        self._refuse = refuse
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        """The host and the port."""
        assert self._server is not None
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    @property
    def url(self) -> str:
        """The URL, with the user and the password."""
        return f"http://{self._user + '@' if self._user else ''}{self.address}"

    @property
    def connects(self) -> list[str]:
        """The hosts of the CONNECT requests."""
        return [line.split()[1] for line in self.lines if line.startswith("CONNECT ")]

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        line, _, rest = head.partition("\r\n")
        self.lines.append(line)
        method, target, version = line.split()
        status = self._refuse
        if self._user is not None:
            encoded = base64.b64encode(unquote(self._user).encode()).decode()
            wanted = f"proxy-authorization: basic {encoded}".lower()
            status = status or (None if wanted in head.lower() else 407)
        if status is not None:
            writer.write(f"HTTP/1.1 {status} Refused\r\ncontent-length: 0\r\n\r\n".encode())
            writer.close()
            return
        place = target if method == "CONNECT" else urlsplit(target).netloc
        host, _, port = place.rpartition(":")
        if self._target is not None:
            parts = urlsplit(self._target)
            host, port = parts.hostname or "", str(parts.port)
        up_reader, up_writer = await asyncio.open_connection(host, int(port))
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        else:
            path = "/" + target.split("/", 3)[3]
            up_writer.write(f"{method} {path} {version}\r\n{rest}".encode())
        self._tasks |= {
            asyncio.create_task(self._pipe(reader, up_writer)),
            asyncio.create_task(self._pipe(up_reader, writer)),
        }

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()
