"""Redaction: removes a request's credentials from the error text of a host.

A misconfigured gateway, or a host at a wrong address, may repeat a request's headers in a
rejection. From there they would get into exceptions and logs.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import urlsplit, urlunsplit

from rtllm.retry.faults import Fault

_SECRETS = re.compile("auth|key|token|secret|cookie", re.IGNORECASE)
"""Parts of the names of headers with secrets."""
_SHORTEST = 8
"""Minimum characters of a secret; a shorter value may be a word of the host's sentence."""


def without_secrets(url: str) -> str:
    """Return a URL without its query, fragment, user and password."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def redact(fault: Fault, headers: Mapping[str, str]) -> Fault:
    """Replace the credentials of a request in the fault that its host reports.

    Args:
        fault: The fault.
        headers: The request's headers.
    """
    message, body_text = fault.message, fault.body_text
    for name, value in headers.items():
        if _SECRETS.search(name):
            for secret in (value, value.partition(" ")[2]):
                if len(secret) >= _SHORTEST:
                    message, body_text = (
                        message.replace(secret, "…"),
                        body_text.replace(secret, "…"),
                    )
    return replace(fault, message=message, body_text=body_text)
