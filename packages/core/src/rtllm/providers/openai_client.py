"""The address, key, headers and query of an openai client that the user passed."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from rtllm.providers.credentials import ApiKey, ask_for_key


def is_azure(client: Any) -> bool:
    """Whether a client is the SDK's for Azure."""
    return hasattr(client, "_azure_ad_token") or hasattr(client, "_azure_endpoint")


def has_token(client: Any) -> bool:
    """Whether a client for Azure uses a token or a token provider, not a key."""
    provider = getattr(client, "_azure_ad_token_provider", None)
    return callable(provider) or bool(getattr(client, "_azure_ad_token", None))


def root_of(client: Any) -> str | None:
    """Return the API's root on a client's host, which the WebSocket's URL is derived from."""
    base_url = getattr(client, "base_url", None)
    if base_url is None:
        return None
    return v1_root(str(base_url)) if is_azure(client) else str(base_url)


def v1_root(address: str) -> str:
    """Return the root of Azure's v1 API on the host of a URL; only v1 has the WebSocket.

    The path before ``/openai`` is kept, because a gateway may have its own.
    """
    before, found, _ = address.rstrip("/").partition("/openai/")
    if not found:
        before = before.removesuffix("/openai")
    return f"{before}/openai/v1"


def key_of(client: Any) -> ApiKey | None:
    """Return a client's key or token, or the function that returns one."""
    provider = getattr(client, "_azure_ad_token_provider", None)
    if callable(provider):
        return _key_function(provider)
    if token := getattr(client, "_azure_ad_token", None):
        return str(token)
    provider = getattr(client, "_api_key_provider", None)
    if callable(provider):
        return _key_function(provider)
    key = getattr(client, "api_key", None)
    return key if isinstance(key, str) and key and " " not in key and "<" not in key else None


def _key_function(provider: Callable[[], Any]) -> Callable[[], Awaitable[str]]:
    async def provide() -> str:
        return str(await ask_for_key(provider))

    return provide


def query_of(client: Any) -> dict[str, str]:
    """Return a client's own query parameters."""
    query = texts(getattr(client, "_custom_query", None))
    if is_azure(client):
        query.pop("api-version", None)  # documented: none on the v1 path
    return query


def texts(given: Any) -> dict[str, str]:
    """Return the pairs with text values; the SDK marks unset values with objects."""
    pairs = given.items() if isinstance(given, Mapping) else ()
    return {str(k): v for k, v in pairs if isinstance(v, str)}
