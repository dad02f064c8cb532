"""Redaction: what a host says of a request, without the credentials that the request had.

A misconfigured gateway, or an address that is not the intended one, may repeat a request's headers
in its refusal; from there they would reach exceptions and logs.
"""

import re
from collections.abc import Mapping
from dataclasses import replace

from rtllm.retry.faults import Fault

_SECRETS = re.compile("auth|key|token|secret|cookie", re.IGNORECASE)
"""What the names of headers have in them that hold a secret."""
_SHORTEST = 8
"""Characters of a value at least: a shorter one may be a word of the host's sentence."""


def redact(fault: Fault, headers: Mapping[str, str]) -> Fault:
    """Replace the credentials of a request in what its host says.

    Args:
        fault: What the host says.
        headers: The request's headers.
    """
    message, said = fault.message, fault.said
    for name, value in headers.items():
        if _SECRETS.search(name):
            for secret in (value, value.partition(" ")[2]):
                if len(secret) >= _SHORTEST:
                    message, said = message.replace(secret, "…"), said.replace(secret, "…")
    return replace(fault, message=message, said=said)
