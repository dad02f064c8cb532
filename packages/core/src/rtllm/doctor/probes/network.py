"""Probe of the network to a host, step by step: its proxy, its name, a connection, and TLS.

It opens one connection of its own and sends nothing that costs tokens.
"""

import asyncio
import base64
import ssl
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import SplitResult, unquote, urlsplit

from rtllm.doctor.judgements.findings import Finding
from rtllm.doctor.judgements.network import (
    TlsFailure,
    judge_connection,
    judge_name,
    judge_plain,
    judge_proxy,
    judge_tls,
)
from rtllm.doctor.target import Target
from rtllm.errors import ConfigError
from rtllm.providers.network import checked_scheme, name_of, trusted_by_environment
from rtllm.transport.reasons import reason_of

LIMIT = 7.0
"""Seconds for each step."""
_MAX_HEAD = 64 * 2**10
_PORTS = {"ws": 80, "http": 80, "wss": 443, "https": 443}


class _StepError(Exception):
    """A step failed; the finding tells why."""

    def __init__(self, finding: Finding) -> None:
        super().__init__()
        self.finding = finding


@dataclass(frozen=True, slots=True)
class _Place:
    """Where to connect to."""

    host: str
    port: int
    is_encrypted: bool

    @classmethod
    def of(cls, parts: SplitResult) -> "_Place":
        return cls(
            parts.hostname or "",
            parts.port or _PORTS[parts.scheme],
            parts.scheme in ("wss", "https"),
        )

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


async def probe_network(target: Target) -> list[Finding]:
    """Examine the network to a host step by step, until a step fails."""
    findings: list[Finding] = []
    try:
        async with asyncio.timeout(4 * LIMIT):
            await _examine(target, findings)
    except _StepError as error:
        findings.append(error.finding)
    except TimeoutError:
        place = _Place.of(urlsplit(target.endpoint.url))
        findings.append(judge_connection(str(place), None, f"not within {4 * LIMIT:.0f} s"))
    return findings


async def _examine(target: Target, findings: list[Finding]) -> None:
    """Take the steps, and add what each one found."""
    place = _Place.of(urlsplit(target.endpoint.url))
    proxy = _proxy_of(target)
    through = _Place.of(urlsplit(proxy)) if proxy else None
    shown = name_of(proxy) if proxy else None
    first = through or place
    findings.append(await _look_up(first))
    reader, writer = await _connect(first, findings)
    try:
        if through is not None and through.is_encrypted:
            await _encrypt(writer, through, await _trust(target))
        if proxy and place.is_encrypted:
            await _open_tunnel(reader, writer, proxy, place)
        findings.insert(0, judge_proxy(shown))
        if not place.is_encrypted:
            findings.append(judge_plain(_is_local(place.host)))
            return
        findings.append(await _encrypt(writer, place, await _trust(target)))
    finally:
        writer.close()
        with suppress(Exception):  # the other side may be gone
            await asyncio.wait_for(writer.wait_closed(), 1.0)


def _proxy_of(target: Target) -> str | None:
    try:
        proxy = target.network.proxy_for(target.endpoint.url)
        return checked_scheme(proxy) if proxy else None
    except ConfigError as error:
        raise _StepError(judge_proxy("", str(error))) from None


def _is_local(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def _look_up(place: _Place) -> Finding:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(LIMIT):
            found = await loop.getaddrinfo(place.host, place.port, type=1)
    except TimeoutError:
        raise _StepError(judge_name(place.host, 0, f"no answer in {LIMIT:.0f} s")) from None
    except (OSError, UnicodeError) as error:
        raise _StepError(judge_name(place.host, 0, reason_of(error) or str(error))) from None
    return judge_name(place.host, len(found))


async def _connect(
    place: _Place, findings: list[Finding]
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        async with asyncio.timeout(LIMIT):
            streams = await asyncio.open_connection(place.host, place.port)
    except TimeoutError:
        why = f"no answer in {LIMIT:.0f} s"
        raise _StepError(judge_connection(str(place), None, why)) from None
    except OSError as error:
        why = reason_of(error) or str(error)
        raise _StepError(judge_connection(str(place), None, why)) from None
    findings.append(judge_connection(str(place), loop.time() - began))
    return streams


async def _open_tunnel(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, proxy: str, place: _Place
) -> None:
    """Ask a proxy for a connection to the host."""
    parts = urlsplit(proxy)
    lines = [f"CONNECT {place} HTTP/1.1", f"Host: {place}"]
    if parts.username is not None:
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        lines.append(f"Proxy-Authorization: Basic {base64.b64encode(user.encode()).decode()}")
    writer.write("\r\n".join([*lines, "", ""]).encode())
    shown = name_of(proxy)
    try:
        async with asyncio.timeout(LIMIT):
            head = await reader.readuntil(b"\r\n\r\n")
    except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        raise _StepError(judge_proxy(shown, f"{shown} did not answer CONNECT")) from None
    words = head[:_MAX_HEAD].partition(b"\r\n")[0].decode(errors="replace").split(" ", 2)
    status = words[1] if len(words) > 1 else "none"
    if not status.startswith("2"):
        why = f"{shown} refused the connection with status {' '.join(words[1:])}"
        raise _StepError(judge_proxy(shown, why))


async def _trust(target: Target) -> ssl.SSLContext:
    """Return the TLS settings of a connection, as the library chooses them."""
    network = target.network
    if network.tls is not None:
        return network.tls
    try:
        if network.uses_environment:
            known = await asyncio.to_thread(trusted_by_environment)
            if known is not None:
                return known
    except ConfigError as error:
        raise _StepError(judge_tls(TlsFailure(str(error)))) from None
    return await asyncio.to_thread(ssl.create_default_context)


async def _encrypt(writer: asyncio.StreamWriter, place: _Place, context: ssl.SSLContext) -> Finding:
    """Begin TLS on an open connection."""
    try:
        async with asyncio.timeout(LIMIT):
            await writer.start_tls(context, server_hostname=place.host)
    except ssl.SSLCertVerificationError as error:
        failure = TlsFailure(error.verify_message, error.verify_code)
    except ssl.SSLError as error:
        failure = TlsFailure(error.reason or "TLS failed")
    except TimeoutError:
        failure = TlsFailure(f"no answer in {LIMIT:.0f} s")
    except OSError as error:
        failure = TlsFailure(reason_of(error) or str(error) or "the connection was closed")
    else:
        opened = writer.get_extra_info("ssl_object")
        until = (opened.getpeercert() or {}).get("notAfter", "an unknown date")
        return judge_tls(None, f"{opened.version()}, valid until {until}")
    raise _StepError(judge_tls(failure))
