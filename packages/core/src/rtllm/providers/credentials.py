"""Credentials: kept apart from everything that is printed, logged or dumped."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping

from rtllm.errors import ConfigError

ApiKey = str | Callable[[], str | Awaitable[str]]
"""A key, or a function that is asked for one at each handshake."""


class Credentials:
    """What a handshake proves its right with.

    The function may belong to whoever owns the client, so the client alone holds this object:
    what the event loop holds knows it by a weak reference.

    Args:
        api_key: The key or token, or a function, plain or async, that gives one.
        organization: OpenAI organisation, sent as a header.
        project: OpenAI project, sent as a header.
        headers: More headers; they win over the others.

    Raises:
        ConfigError: If the key holds what no header may.
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
        """Whether the next handshake may have another key."""
        return callable(self._api_key)

    async def for_handshake(self) -> dict[str, str]:
        """The headers of a handshake, with a key asked for anew.

        Raises:
            ConfigError: If the function gave no key.
        """
        key = self._api_key
        if callable(key):
            key = await ask_for_key(key)
        return {"Authorization": f"Bearer {checked_key(key)}", **self._headers}


async def ask_for_key(provide: Callable[[], str | Awaitable[str]]) -> str:
    """Ask a function for a key; a plain one may block, so it runs in a thread."""
    is_async = inspect.iscoroutinefunction(provide) or inspect.iscoroutinefunction(
        getattr(provide, "__call__", None)  # noqa: B004 - an object with an async call
    )
    given = provide() if is_async else await asyncio.to_thread(provide)
    return await given if inspect.isawaitable(given) else given


def checked_key(key: object) -> str:
    """A key as a header takes it.

    Raises:
        ConfigError: If there is none, or it holds what no header may; the key is not repeated.
    """
    # A key read from a file mostly ends in a newline, which no header may hold.
    sound = key.strip() if isinstance(key, str) else ""
    if not sound:
        raise ConfigError("the api_key function gave no key; expected a non-empty string")
    if not (sound.isprintable() and sound.isascii()):
        raise ConfigError(
            "the api_key holds a line end or another character that no HTTP header may hold; "
            "expected one line of printable ASCII"
        )
    return sound
