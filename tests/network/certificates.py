"""Certificates made at test time: a right one, one of another name, one that has expired."""

from __future__ import annotations

import datetime as dt
import ssl
from pathlib import Path

import trustme


class Authority:
    """A certificate authority of the tests' own.

    The methods give contexts for servers, as ``Relay(tls=…)`` takes them.
    """

    def __init__(self) -> None:
        self._authority = trustme.CA()

    def right(self, *names: str) -> ssl.SSLContext:
        """A certificate for this machine's loopback addresses, and for other names."""
        return self._server(self._authority.issue_cert("127.0.0.1", "localhost", "::1", *names))

    def wrong_name(self) -> ssl.SSLContext:
        """A certificate that is valid, but for another host."""
        return self._server(self._authority.issue_cert("elsewhere.example"))

    def expired(self) -> ssl.SSLContext:
        """A certificate with the right name whose time is over."""
        now = dt.datetime.now(dt.UTC)
        return self._server(
            self._authority.issue_cert(
                "127.0.0.1",
                "localhost",
                not_before=now - dt.timedelta(days=2),
                not_after=now - dt.timedelta(days=1),
            )
        )

    def trusting(self) -> ssl.SSLContext:
        """A context for clients that trust this authority only."""
        context = ssl.create_default_context()
        self._authority.configure_trust(context)
        return context

    def write(self, path: Path) -> Path:
        """Write the authority's certificate as PEM, for ``SSL_CERT_FILE`` and the like."""
        self._authority.cert_pem.write_to_path(str(path))
        return path

    @staticmethod
    def _server(certificate: trustme.LeafCert) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        certificate.configure_cert(context)
        return context
