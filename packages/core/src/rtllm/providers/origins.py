"""Origins of URLs, and redirects: followed only within the origin that the user named."""

from urllib.parse import urljoin, urlsplit

KEEPS_BODY = (307, 308)
"""The statuses after which a POST is sent again unchanged (RFC 9110)."""

_SECURE = ("https", "wss")
_PLAIN = ("http", "ws")


def same_origin(one: str, other: str) -> bool:
    """Whether two URLs have the same host and port."""
    return _host_and_port(one) == _host_and_port(other)


def stays_at_origin(url: str, location: str, *, may_upgrade: bool = False) -> bool:
    """Whether a redirect leads to the same host and port, with TLS as before.

    Args:
        url: The URL that was asked.
        location: The redirect's ``Location``, which may be relative.
        may_upgrade: Whether it may also lead from HTTP to HTTPS on the same host's usual ports.
    """
    goal = urljoin(url, location)
    was, goes = urlsplit(url).scheme, urlsplit(goal).scheme
    try:
        if (was in _SECURE and goes in _SECURE) or (was in _PLAIN and goes in _PLAIN):
            return same_origin(url, goal)
        (host, port), (new_host, new_port) = _host_and_port(url), _host_and_port(goal)
    except ValueError:  # a port that is not a number
        return False
    is_upgrade = (was, port, goes, new_port) == ("http", 80, "https", 443)
    return may_upgrade and is_upgrade and host == new_host


def _host_and_port(url: str) -> tuple[str | None, int]:
    parts = urlsplit(url)
    return parts.hostname, parts.port or (443 if parts.scheme in _SECURE else 80)
