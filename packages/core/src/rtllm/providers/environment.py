"""Environment variables: all that this library reads, and when.

OpenAI's, Azure's and `CHAINING` are read when a model object is constructed, the proxies' at each
handshake. An argument takes precedence over its variable, and so does a client that the user
passes. HTTP clients read the proxies' variables themselves.
"""

import os
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]  # typeshed has it not

API_KEY = "OPENAI_API_KEY"
BASE_URL = "OPENAI_BASE_URL"
ORGANIZATION = "OPENAI_ORG_ID"
PROJECT = "OPENAI_PROJECT_ID"

AZURE_ENDPOINT = "AZURE_OPENAI_ENDPOINT"
AZURE_DEPLOYMENT = "AZURE_OPENAI_DEPLOYMENT"
AZURE_API_VERSION = "OPENAI_API_VERSION"
AZURE_API_KEY = "AZURE_OPENAI_API_KEY"
AZURE_AD_TOKEN = "AZURE_OPENAI_AD_TOKEN"  # noqa: S105 - a variable's name

CHAINING = "RTLLM_CHAINING"

_OFF = ("off", "0", "false", "no")


def variable(name: str) -> str | None:
    """Read a variable; None if it is not set."""
    return os.environ.get(name)


def chaining_is_off() -> bool:
    """Whether the environment forbids to continue responses."""
    return (variable(CHAINING) or "").lower() in _OFF


def proxy_for(url: str) -> str | None:
    """Find the proxy for a WebSocket in the environment, as HTTP clients do.

    ``HTTPS_PROXY`` (for ``ws://``: ``HTTP_PROXY``), else ``ALL_PROXY``; ``NO_PROXY`` is respected.
    """
    parts = urlsplit(url)
    if proxy_bypass_environment(parts.hostname or ""):
        return None
    proxies = getproxies_environment()
    scheme = "http" if parts.scheme in ("ws", "http") else "https"
    proxy = proxies.get(scheme) or proxies.get("all")
    if not proxy:
        return None
    return proxy if "://" in proxy else f"http://{proxy}"
