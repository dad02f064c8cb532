"""Credentials: keys and tokens, separate from everything that is printed or logged."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping

from rtllm.errors import ConfigError

ApiKey = str | Callable[[], str | Awaitable[str]]
"""A key, or a function that returns one for each handshake."""


class Credentials:
    """The credentials that authenticate handshakes and requests.

    The key function may belong to the owner of the client. So only the client holds this object,
    and the event loop refers to it weakly.

    Args:
        api_key: The key or token, or a function, plain or async, that returns one.
        organization: The OpenAI organization, sent as a header.
        project: The OpenAI project, sent as a header.
        headers: Additional headers; they override the others.

    Raises:
        ConfigError: If the key has characters that a header can't have.
    """

    __slots__ = ("__weakref__", "_api_key", "_headers")

    def __init__(
        self,
        api_key: ApiKey,
        *,
        organization: str | None = None,
        project: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        if isinstance(api_key, str) and api_key.strip():
            checked_key(api_key)
        self._api_key = api_key
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
        return {"Authorization": f"Bearer {checked_key(key)}", **self._headers}


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
        ConfigError: If it is empty or not valid in a header. The message does not repeat the key.
    """
    # A key read from a file often ends with a newline, which a header can't have.
    sound = key.strip() if isinstance(key, str) else ""
    if not sound:
        raise ConfigError(
            "the api_key is empty, or its function returned no key; expected a non-empty string"
        )
    if not (sound.isprintable() and sound.isascii()):
        raise ConfigError(
            "the api_key has a line break or another character that an HTTP header can't have; "
            "expected one line of printable ASCII"
        )
    return sound
