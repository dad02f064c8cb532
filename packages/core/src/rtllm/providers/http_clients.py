"""HTTP clients of the openai SDK."""

from collections.abc import Callable, Generator
from importlib import import_module
from typing import Any

from rtllm.providers import environment
from rtllm.providers.credentials import KeyHeader, KeyHeaders, key_header, other_header
from rtllm.providers.hosts import Endpoint
from rtllm.providers.network import trusted_by_environment
from rtllm.providers.origins import KEEPS_BODY, stays_at_origin

MakeClient = Callable[[str | None], Any]
"""Creates an ``AsyncOpenAI``, or an object with the same interface.

Its argument is the URL of the proxy in a request's network settings, or None.
"""


class HttpClients:
    """The openai clients of one runtime: one for each proxy, created on first use.

    They may hold functions of the client's owner, such as a token provider. So only the client
    holds this object, and the runtime refers to it weakly, since the event loop holds the runtime.

    Args:
        make: Creates a client.
        is_owned: Whether those clients must be closed here.
    """

    def __init__(self, make: MakeClient, *, is_owned: bool) -> None:
        self._make = make
        self._clients: dict[str | None, Any] = {}
        self.is_owned = is_owned

    def get(self, proxy: str | None = None) -> Any:
        """Return the client for a proxy; create it on first use."""
        if proxy not in self._clients:
            self._clients.setdefault(proxy, self._make(proxy))
        return self._clients[proxy]

    def made(self, proxy: str | None) -> Any:
        """Return the client for a proxy, None if it is not created yet."""
        return self._clients.get(proxy)


def patient_http(url: str, proxy: str | None = None) -> Any:
    """Create an HTTP client that keeps connections open during the pauses of a conversation.

    Args:
        url: The API's root.
        proxy: The URL of a proxy; None for the environment's.

    Raises:
        ConfigError: If the environment's certificates can't be loaded.
    """
    import openai  # noqa: PLC0415 - slow to import

    # Without limits: a request beyond them would wait there unseen until its turn's time is over.
    limits = type(openai.DEFAULT_CONNECTION_LIMITS)(
        max_connections=None, max_keepalive_connections=None, keepalive_expiry=120
    )
    trusted_by_environment()  # raises with the variable's name
    proxy = proxy or environment.proxy_for(url)
    # Without a proxy none is used: NO_PROXY means the same here and on the WebSocket.
    direct = dict.fromkeys(("http://", "https://", "all://"))
    return openai.DefaultAsyncHttpxClient(
        limits=limits,
        proxy=proxy,
        mounts=None if proxy else direct,
        follow_redirects=True,
        event_hooks={"response": [_stay_at_origin]},
    )


async def _stay_at_origin(response: Any) -> None:
    """Make a redirect to another host a plain response, which is not followed.

    The caller's words and the user's headers would be sent along.
    """
    location, asked = response.headers.get("location"), str(response.request.url)
    is_followed = response.status_code in KEEPS_BODY and stays_at_origin(
        asked, location or "", may_upgrade=True
    )
    if location is not None and not is_followed:
        del response.headers["location"]


def key_auth(http: Any, key: str, headers: KeyHeaders) -> Any:
    """Create an authentication of an HTTP client that tries both headers for a key of Azure's.

    Args:
        http: The client.
        key: The key.
        headers: Which header to try first; remembers the one that was accepted.
    """
    # The SDK works with httpx2 and httpx, and neither is a dependency of ours.
    kind = next(kind for kind in type(http).__mro__ if kind.__name__ == "AsyncClient")
    base: Any = import_module(kind.__module__.partition(".")[0]).Auth

    class KeyAuth(base):  # type: ignore[misc]  # the base class depends on the SDK's version
        """Sends a key, after a 401 once more in the other header."""

        def auth_flow(self, request: Any) -> Generator[Any, Any, None]:
            """Yield the request, perhaps twice."""
            first = headers.http
            _set_key(request, first, key)
            if (yield request).status_code != 401:
                return
            second = other_header(first)
            _set_key(request, second, key)
            if (yield request).status_code != 401:
                headers.http = second

    return KeyAuth()


def _set_key(request: Any, header: KeyHeader, key: str) -> None:
    request.headers.pop(other_header(header), None)
    request.headers.update(key_header(header, key))


def make_client(endpoint: Endpoint, proxy: str | None) -> Any:
    """Create an openai client for a host; keys come with each request.

    It follows no redirect to another host, because the user's headers would be sent along.
    """
    import openai  # noqa: PLC0415 - slow to import

    client = openai.AsyncOpenAI(
        api_key="sent with each request",
        base_url=endpoint.http_base,
        default_query=endpoint.query,
        max_retries=0,
        http_client=patient_http(endpoint.http_base, proxy),
    )
    _ = client.responses  # imports the modules that it needs
    return client
