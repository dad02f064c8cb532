"""Credentials: keys and tokens, separate from everything that is printed or logged."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from rtllm.errors import ConfigError

KeyHeader = Literal["Authorization", "api-key"]

ApiKey = str | Callable[[], str | Awaitable[str]]
"""A key, or a function that returns one for each handshake."""


@dataclass(slots=True)
class KeyHeaders:
    """The headers that carry a key of Azure's: ``Authorization`` or ``api-key``.

    Azure documents both, and gateways in front of it often accept only one. After a 401 the other
    one is tried once, and remembered if it is accepted.

    Attributes:
        socket: The header for handshakes of the WebSocket.
        http: The header for HTTP requests.
    """

    socket: KeyHeader = "Authorization"
    http: KeyHeader = "api-key"


def other_header(header: KeyHeader) -> KeyHeader:
    """Return the other one of the two headers."""
    return "api-key" if header == "Authorization" else "Authorization"


def key_header(header: KeyHeader, key: str) -> dict[str, str]:
    """Return the header that carries a key."""
    return {header: key if header == "api-key" else f"Bearer {key}"}


class Credentials:
    """The credentials that authenticate handshakes and requests.

    The key function may belong to the owner of the client. So only the client holds this object,
    and the event loop refers to it weakly.

    Args:
        api_key: The key or token, or a function, plain or async, that returns one.
        organization: The OpenAI organization, sent as a header.
        project: The OpenAI project, sent as a header.
        headers: Additional headers; they override the others.
        key_headers: The headers for a key of Azure's; None if it is always a bearer.

    Raises:
        ConfigError: If the key has characters that a header can't have.
    """

    __slots__ = ("__weakref__", "_api_key", "_headers", "_key_headers")

    def __init__(
        self,
        api_key: ApiKey,
        *,
        organization: str | None = None,
        project: str | None = None,
        headers: Mapping[str, str] | None = None,
        key_headers: KeyHeaders | None = None,
    ) -> None:
        if isinstance(api_key, str) and api_key.strip():
            checked_key(api_key)
        self._api_key = api_key
        self._key_headers = key_headers
        self._headers: dict[str, str] = {}
        if organization:
            self._headers["OpenAI-Organization"] = organization
        if project:
            self._headers["OpenAI-Project"] = project
        self._headers.update(headers or {})

    def __repr__(self) -> str:
        return "Credentials(…)"

    @property
    def renewable(self) -> bool:
        """Whether the next handshake may use another key."""
        return callable(self._api_key)

    async def for_handshake(self) -> dict[str, str]:
        """Return the headers of a handshake; a key function is called again.

        Raises:
            ConfigError: If the function returned no key.
        """
        key = self._api_key
        if callable(key):
            key = await ask_for_key(key)
        header = self._key_headers.socket if self._key_headers else "Authorization"
        return {**key_header(header, checked_key(key)), **self._headers}

    def with_other_header(self) -> dict[str, str] | None:
        """Return the headers of a handshake after a 401, with the key in the other header.

        None if the key has one header only.
        """
        if self._key_headers is None or not isinstance(self._api_key, str):
            return None
        header = other_header(self._key_headers.socket)
        return {**key_header(header, checked_key(self._api_key)), **self._headers}

    def keep_other_header(self) -> None:
        """Remember that the other header was accepted."""
        if self._key_headers is not None:
            self._key_headers.socket = other_header(self._key_headers.socket)


async def ask_for_key(provide: Callable[[], str | Awaitable[str]]) -> str:
    """Call a key function; a plain one may block, so it runs in a thread."""
    is_async = inspect.iscoroutinefunction(provide) or inspect.iscoroutinefunction(
        getattr(provide, "__call__", None)  # noqa: B004 - an object with an async call
    )
    given = provide() if is_async else await asyncio.to_thread(provide)
    return await given if inspect.isawaitable(given) else given


def checked_key(key: object) -> str:
    """Check a key, and strip the whitespace around it.

    Raises:
        ConfigError: If it is empty, a header's whole value, or not valid in one. The message does
            not repeat the key.
    """
    # A key read from a file often ends with a newline, which a header can't have.
    stripped = key.strip() if isinstance(key, str) else ""
    if not stripped:
        raise ConfigError(
            "the api_key is empty, or its function returned no key; expected a non-empty string"
        )
    if stripped[:7].lower() == "bearer ":
        raise ConfigError(
            "the api_key or token begins with 'Bearer '; expected what follows it, since the "
            "header is made here"
        )
    if not (stripped.isprintable() and stripped.isascii()):
        raise ConfigError(
            "the api_key has a line break or another character that an HTTP header can't have; "
            "expected one line of printable ASCII"
        )
    return stripped
