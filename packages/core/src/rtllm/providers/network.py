"""Network of new connections: their proxy, and the certificates that they trust."""

import base64
import binascii
import ssl
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

from rtllm.errors import ConfigError
from rtllm.providers import environment

_SCHEMES = ("http", "https")
_EXAMPLE = "'http://user:password@proxy.example:3128'"

PROXY_OF_CLIENT = (
    "proxy and client are both set, but client sends the HTTP requests; set the proxy of its "
    "http_client instead"
)


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """The network settings of a client.

    Attributes:
        proxy: The URL of the proxy; None for the environment's, if that is used.
        tls: The TLS settings of the connections; None for the default ones.
        uses_environment: Whether the environment's proxy and certificates are used.
    """

    proxy: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    uses_environment: bool = True

    def proxy_for(self, url: str, requested: str | None = None) -> str | None:
        """Find the proxy for a URL: this client's, else that of a request, else the environment's.

        Args:
            url: The URL.
            requested: The proxy of a request's network settings; ``NO_PROXY`` applies to it,
                because frameworks read it from the environment.
        """
        if self.proxy or not self.uses_environment:
            return self.proxy
        if requested:
            return None if environment.goes_without_proxy(url) else requested
        return environment.proxy_for(url)


def checked_proxy(proxy: str | None) -> str | None:
    """Check the URL of a proxy. No message repeats its user and password.

    Raises:
        ConfigError: If it is not the URL of an HTTP proxy.
    """
    if proxy is None:
        return None
    wanted = f"expected None or a URL with the scheme http or https, for example {_EXAMPLE}"
    if not isinstance(proxy, str):
        raise ConfigError(f"proxy is of type {type(proxy).__name__}; {wanted}")
    try:
        parts = urlsplit(proxy.strip())
        _ = parts.port
    except ValueError:
        raise ConfigError(f"proxy is not a valid URL; {wanted}") from None
    if "://" not in proxy:
        raise ConfigError(f"proxy has no scheme; {wanted}")
    if parts.scheme not in _SCHEMES:
        raise ConfigError(f"proxy has the scheme {parts.scheme!r}; {wanted}")
    if not parts.hostname:
        raise ConfigError(f"proxy names no host; {wanted}")
    return proxy.strip()


def checked_scheme(proxy: str) -> str:
    """Check that a WebSocket can use a proxy from the environment or from an openai client.

    Raises:
        ConfigError: If it is not an HTTP proxy.
    """
    scheme = proxy.partition("://")[0]
    if scheme not in _SCHEMES:
        raise ConfigError(
            f"the proxy {name_of(proxy)} has the scheme {scheme!r}, which the WebSocket can't use; "
            "pass proxy= with an http or https URL, or name the host in NO_PROXY"
        )
    return proxy


def name_of(proxy: str) -> str:
    """Return the host and the port of a proxy, which messages may show."""
    return urlsplit(proxy).netloc.rpartition("@")[2]


def trusted_by_environment() -> ssl.SSLContext | None:
    """Load the certificates that ``SSL_CERT_FILE``, else ``SSL_CERT_DIR``, names; may take a while.

    None if neither is set.

    Raises:
        ConfigError: If they can't be loaded.
    """
    file, folder = environment.certificate_places()
    name, place = (environment.CA_FILE, file) if file else (environment.CA_FOLDER, folder)
    if not place:
        return None
    try:
        if file:
            return ssl.create_default_context(cafile=file)
        return ssl.create_default_context(capath=folder)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        why = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            f"{name} is {place!r}, from which no certificates can be loaded ({why}); expected "
            "the path of certificates in PEM format"
        ) from None


def network_of(client: Any, url: str) -> NetworkConfig | None:
    """Read the proxy and the TLS settings that an openai client uses for a URL.

    *Seen*: in httpx 0.28 and httpx2 2.16 they are in private attributes. None if they can't be
    read, for example from a transport of the user's.
    """
    http = getattr(client, "_client", None)
    try:
        pool = http._transport_for_url(type(http.base_url)(url))._pool  # type: ignore[union-attr]
        tls, proxy = pool._ssl_context, _proxy_of(pool)
    except Exception:  # noqa: BLE001 - any object may be passed as a client
        return None
    if not isinstance(tls, ssl.SSLContext):
        return None
    return NetworkConfig(proxy, tls, uses_environment=False)


def _proxy_of(pool: Any) -> str | None:
    """Return the URL of the proxy that a connection pool uses, with its user and password."""
    url = getattr(pool, "_proxy_url", None)
    if url is None:
        return None
    scheme, host = url.scheme.decode(), url.host.decode()
    host = f"[{host}]" if ":" in host else host
    port = f":{url.port}" if url.port else ""
    headers = {name.lower(): value for name, value in getattr(pool, "_proxy_headers", None) or ()}
    return f"{scheme}://{_user_in(headers.get(b'proxy-authorization', b''))}{host}{port}"


def _user_in(authorization: bytes) -> str:
    """Return the user and the password of a header, as they are written in a URL."""
    kind, _, value = authorization.partition(b" ")
    if kind.lower() != b"basic":
        return ""
    try:
        user, _, password = base64.b64decode(value).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return ""
    return f"{quote(user, safe='')}:{quote(password, safe='')}@"
