"""Opening WebSockets: the connection, its handshake, and the reason of a rejected upgrade.

The engine decides when a socket is opened, and limits the time that this may take.
"""

import asyncio
import ssl
import weakref
from collections.abc import Mapping
from contextlib import AsyncExitStack
from contextvars import ContextVar
from dataclasses import dataclass
from email.utils import formatdate
from types import SimpleNamespace
from typing import Any

import aiohttp

from rtllm.content.request import Network
from rtllm.errors import ConfigError
from rtllm.providers.credentials import Credentials
from rtllm.providers.network import (
    NetworkConfig,
    checked_scheme,
    name_of,
    trusted_by_environment,
)
from rtllm.providers.origins import stays_at_origin
from rtllm.retry.faults import CLIENT_CLOSED, Fault, FaultKind, from_handshake, proxy_refused
from rtllm.retry.redaction import Secrets
from rtllm.transport.reasons import reason_of

MAX_RECEIVED = 64 * 2**20  # events repeat the whole response, tools and instructions included
_MAX_REFUSAL = 64 * 2**10
_REFUSAL_WAIT = 2.0

Socket = aiohttp.ClientWebSocketResponse


class FaultError(Exception):
    """Carries a fault through the transport as an exception.

    Attributes:
        fault: The fault.
    """

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


async def headers_of(credentials: Credentials | None) -> dict[str, str]:
    """Return the headers that authenticate a connection or a request.

    Args:
        credentials: The key or token provider; None if the client is closed.

    Raises:
        FaultError: If the provider fails.
    """
    if credentials is None:
        raise FaultError(CLIENT_CLOSED)
    try:
        return await credentials.for_handshake()
    except ConfigError as error:
        raise FaultError(Fault(FaultKind.UNAUTHORISED, str(error))) from error
    except Exception as error:  # noqa: BLE001 - the user's own code
        # The message may hold a secret; the type does not.
        message = f"the key or token function raised {type(error).__name__}"
        raise FaultError(Fault(FaultKind.UNREACHABLE, message)) from None


@dataclass(slots=True)
class _Refusal:
    status: int = 0
    headers: dict[str, str] | None = None
    body: bytes = b""


_refusal: ContextVar[_Refusal | None] = ContextVar("rtllm_refusal", default=None)


async def _read_refusal(
    _session: aiohttp.ClientSession, _ctx: SimpleNamespace, params: aiohttp.TraceRequestEndParams
) -> None:
    """Keep the body of a rejected upgrade, which aiohttp's exception does not have."""
    response, refusal = params.response, _refusal.get()
    if refusal is None or response.status == 101:
        return
    refusal.status, refusal.headers = response.status, dict(response.headers)
    try:
        async with asyncio.timeout(_REFUSAL_WAIT):
            while len(refusal.body) < _MAX_REFUSAL and not response.content.at_eof():
                refusal.body += await response.content.read(_MAX_REFUSAL - len(refusal.body))
    except (TimeoutError, aiohttp.ClientError):
        return  # status and headers are enough


async def _check_redirect(
    _session: aiohttp.ClientSession,
    _ctx: SimpleNamespace,
    params: aiohttp.TraceRequestRedirectParams,
) -> None:
    headers = params.response.headers
    if not stays_at_origin(str(params.url), headers.get("Location", "")):
        raise FaultError(from_handshake(params.response.status, dict(headers), b""))


class WebSocketOpener:
    """Opens WebSockets on one event loop.

    Args:
        credentials: Called at each handshake; they are gone once the client is.
        config: The network settings of the client.
    """

    def __init__(self, credentials: weakref.ref[Credentials], config: NetworkConfig) -> None:
        self._credentials = credentials
        self._config = config
        self._trusted: ssl.SSLContext | None = None

    async def open(
        self, url: str, network: Network, closing: AsyncExitStack
    ) -> tuple[Socket, Secrets]:
        """Open a WebSocket; a key of Azure's is tried in both headers.

        Each WebSocket has a session of its own. That costs little next to a handshake, and leaves
        nothing to close after the last one.

        Args:
            url: The full URL.
            network: The network settings.
            closing: Closes the session, also if the WebSocket can't be opened.

        Returns:
            The socket, and the credentials that its host knows.

        Raises:
            FaultError: If it can't be opened.
        """
        session = await closing.enter_async_context(_session_for(network))
        headers = await self._headers()
        try:
            socket = await self._connect(session, url, network, headers)
            return socket, Secrets.of_request(url, headers)
        except FaultError as error:
            credentials = self._credentials()
            if error.fault.status != 401 or credentials is None:
                raise
            others, rejected = credentials.with_other_header(), error
        if others is None:
            raise rejected
        try:
            socket = await self._connect(session, url, network, others)
        except FaultError:
            raise rejected from None
        credentials.keep_other_header()
        return socket, Secrets.of_request(url, others)

    async def _connect(
        self,
        session: aiohttp.ClientSession,
        url: str,
        network: Network,
        headers: Mapping[str, str],
    ) -> Socket:
        try:
            proxy = self._config.proxy_for(url, network.proxy)
            via = name_of(checked_scheme(proxy)) if proxy else ""
            tls = await self._tls_for(url, network.connector)
        except ConfigError as error:
            raise FaultError(Fault(FaultKind.FORBIDDEN, str(error))) from None
        refusal = _Refusal()
        token = _refusal.set(refusal)
        try:
            return await session.ws_connect(
                url,
                headers=headers,
                autoping=False,  # the reader answers pings, so that the engine notices them
                max_msg_size=MAX_RECEIVED,
                proxy=proxy,
                ssl=tls,
                timeout=aiohttp.ClientWSTimeout(ws_close=1.0),
            )
        # No cause is chained: aiohttp's exceptions hold the request's headers and a proxy's
        # password.
        except aiohttp.WSServerHandshakeError as error:
            if via and error.status == 407:
                raise FaultError(proxy_refused(via, 407)) from None
            fault = from_handshake(error.status, dated(refusal.headers), refusal.body)
            raise FaultError(Secrets.of_request(url, headers).redact(fault)) from None
        except aiohttp.ClientConnectorCertificateError as error:
            message = f"the certificate is not trusted: {error.certificate_error}"
            raise FaultError(Fault(FaultKind.FORBIDDEN, message)) from None
        except ssl.SSLError as error:
            reason = getattr(error, "reason", None) or _why(error)
            message = f"TLS failed: {reason}"
            raise FaultError(Fault(FaultKind.FORBIDDEN, message)) from None
        except aiohttp.ClientHttpProxyError as error:
            raise FaultError(proxy_refused(via, error.status, error.message)) from None
        except aiohttp.ClientProxyConnectionError as error:
            message = f"no connection to the proxy {via} ({_why(error)})"
            raise FaultError(Fault(FaultKind.UNREACHABLE, message)) from None
        except (aiohttp.ClientError, OSError, RuntimeError) as error:
            # aiohttp raises RuntimeError if the session's event loop or connector is closed
            raise FaultError(Fault(FaultKind.UNREACHABLE, _why(error))) from None
        except (ValueError, TypeError, UnicodeError) as error:
            # an address or a header that can't be encoded
            reason = type(error).__name__
            message = f"no connection: the URL or a header can't be encoded for the wire ({reason})"
            raise FaultError(Fault(FaultKind.FORBIDDEN, message)) from None
        finally:
            _refusal.reset(token)

    async def _headers(self) -> dict[str, str]:
        return await headers_of(self._credentials())

    async def _tls_for(self, url: str, connector: object) -> Any:
        """Return the TLS settings of a connection, as aiohttp takes them: True for the connector's.

        In order: those of a passed openai client, those of a passed connector, the certificates
        that the environment names, aiohttp's own.
        """
        if not url.startswith("wss:"):
            return True
        if (tls := self._config.tls) is not None:
            tls.set_alpn_protocols(["http/1.1"])  # an HTTP/2 client offers h2
            return tls
        if getattr(connector, "_ssl", True) is not True or not self._config.uses_environment:
            return True
        if self._trusted is None:
            self._trusted = await asyncio.to_thread(trusted_by_environment)
        return True if self._trusted is None else self._trusted


def dated(headers: Mapping[str, str] | None) -> dict[str, str]:
    """Lowercase header names, and add the time: a ``retry-after`` date is relative to it."""
    known = {name.lower(): value for name, value in (headers or {}).items()}
    return {"date": formatdate(usegmt=True), **known}


def _session_for(network: Network) -> aiohttp.ClientSession:
    """Create a session with the trust store of a given connector.

    Its own connector has no limit. The engine limits the number of connections; a limit of the
    connector would only delay them.
    """
    connector = network.connector
    if not isinstance(connector, aiohttp.BaseConnector | None):
        kind = type(connector).__name__
        message = f"the network's connector is {kind}; expected one of aiohttp"
        raise FaultError(Fault(FaultKind.FORBIDDEN, message))
    if connector is not None and connector.closed:
        connector = None
    trace = aiohttp.TraceConfig()
    trace.on_request_end.append(_read_refusal)
    trace.on_request_redirect.append(_check_redirect)
    own = _unlimited(connector)
    return aiohttp.ClientSession(
        connector=own,
        connector_owner=own is not connector,
        trace_configs=[trace],
        cookie_jar=aiohttp.DummyCookieJar(),
    )


def _unlimited(connector: aiohttp.BaseConnector | None) -> aiohttp.BaseConnector:
    """Create a connector without a limit, with the trust store of a given one.

    *Seen* in aiohttp 3.10 to 3.14: the trust store is in ``_ssl``, without a public accessor.
    """
    if connector is None:
        return aiohttp.TCPConnector(limit=0)
    if type(connector) is aiohttp.TCPConnector:
        return aiohttp.TCPConnector(limit=0, ssl=getattr(connector, "_ssl", True))
    return connector


def _why(error: Exception) -> str:
    """Describe an exception without its address and headers."""
    return reason_of(error) or f"no connection ({type(error).__name__})"
