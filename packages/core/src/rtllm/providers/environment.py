"""Environment variables: all that this library reads, and when.

OpenAI's, Azure's and `CHAINING` are read when a model object is constructed, those of proxies and
certificates when a connection or an HTTP client is created. An argument takes precedence over its
variable, and so does a client that the user passes: see `resolve_provider` in
`rtllm.providers.config`, and for Azure `rtllm.providers.azure`.
"""

import os
import re
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit
from urllib.request import getproxies_environment

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

CA_FILE = "SSL_CERT_FILE"
CA_FOLDER = "SSL_CERT_DIR"

_OFF = ("off", "0", "false", "no")


def variable(name: str) -> str | None:
    """Read a variable; None if it is not set."""
    return os.environ.get(name)


def chaining_is_off() -> bool:
    """Whether the environment forbids to continue responses."""
    return (variable(CHAINING) or "").lower() in _OFF


def proxy_for(url: str) -> str | None:
    """Find the proxy for a URL in the environment.

    ``HTTPS_PROXY`` (for ``http://`` and ``ws://``: ``HTTP_PROXY``), else ``ALL_PROXY``, unless
    ``NO_PROXY`` names the host.
    """
    proxies = getproxies_environment()
    scheme = "http" if urlsplit(url).scheme in ("ws", "http") else "https"
    proxy = proxies.get(scheme) or proxies.get("all")
    if not proxy or goes_without_proxy(url):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def goes_without_proxy(url: str) -> bool:
    """Whether ``NO_PROXY`` names the host of a URL.

    Its entries are separated by commas or spaces: ``*`` for all, a host with its subdomains (also
    as ``.host`` or ``*.host``), an IP address or a range of them (``10.0.0.0/8``), each optionally
    with a port.
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".").lower()
    port = parts.port or (80 if parts.scheme in ("ws", "http") else 443)
    entries = getproxies_environment().get("no", "").lower()
    return any(_names(entry, host, port) for entry in re.split(r"[,\s]+", entries) if entry)


def _names(entry: str, host: str, port: int) -> bool:
    """Whether an entry of ``NO_PROXY`` names a host."""
    if entry == "*":
        return True
    entry = entry.partition("://")[2] or entry
    if (found := _WITH_PORT.fullmatch(entry)) is not None:
        if int(found["port"]) != port:
            return False
        entry = found["host"]
    entry = entry.strip("[]")
    try:
        return ip_address(host) in ip_network(entry, strict=False)
    except ValueError:  # a name
        name = entry.removeprefix("*").strip(".")
        return bool(name) and (host == name or host.endswith(f".{name}"))


_WITH_PORT = re.compile(r"(?P<host>\[[^]]+\]|[^:]+):(?P<port>\d{1,5})")


def certificate_places() -> tuple[str | None, str | None]:
    """Read the file and the folder of certificates that connections trust; None if not set."""
    return variable(CA_FILE) or None, variable(CA_FOLDER) or None
