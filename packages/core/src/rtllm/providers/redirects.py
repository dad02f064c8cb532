"""Redirects: followed only within the origin that the user named, so that nothing leaks."""

from urllib.parse import urljoin, urlsplit

KEEPS_BODY = (307, 308)
"""The statuses after which a POST is sent again unchanged (RFC 9110)."""

_PORTS = {"http": 80, "https": 443}


def stays_at_origin(url: str, location: str, *, may_upgrade: bool = False) -> bool:
    """Whether a redirect leads to the same scheme, host and port.

    Args:
        url: The URL that was asked.
        location: The redirect's ``Location``, which may be relative.
        may_upgrade: Whether it may also lead from HTTP to HTTPS on the same host's usual ports.
    """
    try:
        was, goes = _origin(url), _origin(urljoin(url, location))
    except ValueError:  # a port that is not a number
        return False
    return was == goes or (
        may_upgrade and was == ("http", goes[1], 80) and goes == ("https", was[1], 443)
    )


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
    return scheme, parts.hostname, parts.port or _PORTS.get(scheme)
