"""The openai clients that requests over HTTP go through."""

from collections.abc import Callable
from typing import Any

from rtllm.providers.hosts import Endpoint

MakeClient = Callable[[str | None], Any]
"""Gives an ``AsyncOpenAI``, or what is shaped like one, for the address of a proxy or None."""


class HttpClients:
    """The openai clients of one runtime: one for each proxy, made when it is needed first.

    They may hold functions of whoever owns this library's client, such as a token provider. So
    that client alone holds this object: a runtime, which its finalizer and the event loop
    reach, knows it by a weak reference.

    Args:
        make: Gives a client.
        owned: Whether those clients are ours to close.
    """

    def __init__(self, make: MakeClient, *, owned: bool) -> None:
        self._make = make
        self._made: dict[str | None, Any] = {}
        self.owned = owned

    def get(self, proxy: str | None = None) -> Any:
        """The client for a proxy."""
        if proxy not in self._made:
            self._made.setdefault(proxy, self._make(proxy))
        return self._made[proxy]

    def made(self, proxy: str | None) -> Any:
        """The client for a proxy, None if it isn't made yet."""
        return self._made.get(proxy)


def patient_http(proxy: str | None = None) -> Any:
    """An HTTP client that keeps connections over the pauses of a conversation."""
    import openai  # noqa: PLC0415 - slow to import

    limits = type(openai.DEFAULT_CONNECTION_LIMITS)(
        max_connections=50, max_keepalive_connections=50, keepalive_expiry=120
    )
    # Redirects aren't followed: the caller's words and the user's headers would go along.
    return openai.DefaultAsyncHttpxClient(limits=limits, proxy=proxy, follow_redirects=False)


def make_client(endpoint: Endpoint, proxy: str | None) -> Any:
    """An openai client for a host; keys come with each request.

    It follows no redirect, since headers of the user's would go along.
    """
    import openai  # noqa: PLC0415 - slow to import

    client = openai.AsyncOpenAI(
        api_key="sent with each request",
        base_url=endpoint.http_base,
        default_query=endpoint.query,
        max_retries=0,
        http_client=patient_http(proxy),
    )
    _ = client.responses  # imports what it needs
    return client
