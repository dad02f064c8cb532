"""Judgements about the way to a host: its proxy, its name, its certificate, and the clock."""

from dataclasses import dataclass

from rtllm.doctor.judgements.findings import Finding, differs, fails, holds, not_checked

MAX_SKEW = 30.0
"""Seconds that the clock may be off: the host's time is known to a second, and is a little old."""

_UNKNOWN_ISSUER = (2, 18, 19, 20, 21)
_WRONG_TIME = (9, 10)
_WRONG_NAME = (62, 64)


@dataclass(frozen=True, slots=True)
class TlsFailure:
    """A TLS connection that could not be opened.

    Attributes:
        reason: Why, in OpenSSL's words.
        verify_code: OpenSSL's number of a certificate's error; None if it was another error.
    """

    reason: str
    verify_code: int | None = None


def judge_proxy(proxy: str | None, refusal: str | None = None) -> Finding:
    """Judge the proxy.

    Args:
        proxy: Its host and port; None without one.
        refusal: Why it does not let connections through; None if it does, or is not known to.
    """
    asked = "the proxy= keyword, the client, HTTPS_PROXY and NO_PROXY"
    if proxy is None:
        return holds("proxy", asked, "no proxy", "connections are direct")
    if refusal is None:
        return holds("proxy", asked, proxy, "connections go through it, the WebSocket too")
    meaning = "no turn reaches the host through it"
    if "407" in refusal:
        meaning += "; its URL lacks the right user and password"
        return fails("proxy", asked, refusal, meaning, 'proxy="http://USER:PASSWORD@HOST:PORT"')
    return fails("proxy", asked, refusal, meaning, "NO_PROXY=HOST, or proxy= with another one")


def judge_name(name: str, count: int, reason: str | None = None) -> Finding:
    """Judge whether a name is known.

    Args:
        name: The name that was looked up.
        count: How many addresses it has.
        reason: Why it has none.
    """
    asked = f"the addresses of {name}"
    if count:
        return holds("dns", asked, f"{count} found", "the name is known here")
    meaning = "no turn reaches the host: the name is wrong, or this computer has no DNS"
    return fails("dns", asked, reason or "none", meaning, "base_url=")


def judge_connection(place: str, seconds: float | None, reason: str = "") -> Finding:
    """Judge whether a connection is accepted.

    Args:
        place: The host and port.
        seconds: How long it took; None if it failed.
        reason: Why it failed.
    """
    asked = f"a connection to {place}"
    if seconds is not None:
        return holds("connection", asked, f"open after {seconds:.2f} s", "the host is reachable")
    meaning = "no turn reaches the host: another port, a firewall, or it is not running"
    return fails("connection", asked, reason, meaning, "base_url=")


def judge_tls(failure: TlsFailure | None, shown: str = "") -> Finding:
    """Judge the certificate.

    Args:
        failure: Why TLS failed; None if it did not.
        shown: The version of TLS, and until when the certificate is valid.
    """
    asked = "the certificate, checked as connections check it"
    if failure is None:
        return holds("tls", asked, shown, "the host is who it says it is")
    code = failure.verify_code
    if code in _UNKNOWN_ISSUER:
        meaning = "its issuer is not trusted here; a company's proxy often has its own authority"
        return fails("tls", asked, failure.reason, meaning, "SSL_CERT_FILE=/path/of/authority.pem")
    if code in _WRONG_TIME:
        meaning = "the certificate is not valid now, or this computer's clock is wrong"
        return fails("tls", asked, failure.reason, meaning)
    if code in _WRONG_NAME:
        meaning = "the certificate is for another host: the address is wrong, or intercepted"
        return fails("tls", asked, failure.reason, meaning, "base_url=")
    meaning = "no encrypted connection is possible; is the port one of HTTPS?"
    return fails("tls", asked, failure.reason, meaning, "base_url=")


def judge_plain(is_local: bool) -> Finding:
    """Judge an address without TLS."""
    asked = "the scheme of the address"
    if is_local:
        return holds("tls", asked, "http, on this computer", "nothing leaves it unencrypted")
    meaning = "the key and the caller's words are readable on the way"
    return differs("tls", asked, "http", meaning, "base_url=https://…")


def judge_clock(skew: float | None) -> Finding:
    """Judge this computer's clock.

    Args:
        skew: The host's time minus this computer's, in seconds; None if it is not known.
    """
    asked = "the `Date` of a response"
    if skew is None:
        return not_checked("clock", asked, "the host sent no date")
    shown = f"{abs(skew):.0f} s {'behind' if skew > 0 else 'ahead of'} the host's"
    if abs(skew) <= MAX_SKEW:
        return holds("clock", asked, f"within {MAX_SKEW:.0f} s", "dates are understood")
    meaning = (
        "certificates, Entra tokens, and waits until a date are misjudged; "
        "synchronize the clock (NTP)"
    )
    return differs("clock", asked, shown, meaning)
