"""Redaction: removes a request's credentials from the words of its host.

A misconfigured gateway, or a host at a wrong address, may repeat a request's headers or its URL
in an error. From there they would get into exceptions and logs. So each fault is redacted as soon
as it is known: the transport does so with those that it finds itself, the engine with those that
it reads in a response.
"""

import html
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from rtllm.retry.faults import Fault

_SECRETS = re.compile("auth|key|token|secret|cookie", re.IGNORECASE)
"""Parts of the names of headers and query parameters with secrets."""
_SHORTEST = 8
"""Minimum characters of a secret; a shorter value may be a word of the host's sentence."""
_ENCODED = re.compile(
    r"%(?:25)*(?P<url>[0-9a-f]{2})|\\+u00(?P<json>[0-9a-f]{2})"
    r"|(?P<page>&(?:#\d{1,3}|#x[0-9a-f]{2}|amp|apos|gt|lt|quot);)|\\+|.",
    re.IGNORECASE | re.DOTALL,
)
"""A character as URLs, JSON and web pages write it, however often it was encoded."""


def without_secrets(url: str) -> str:
    """Return a URL without its query, fragment, user and password."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


class Secrets:
    """The credentials of a request, which no error of its host may show.

    Args:
        values: The credentials; those that are too short are ignored.
    """

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._values = tuple({value for value in values if len(value) >= _SHORTEST})

    def __repr__(self) -> str:
        return f"<Secrets: {len(self._values)}>"

    @classmethod
    def of_request(cls, url: str, headers: Mapping[str, str]) -> "Secrets":
        """Return the credentials of a request.

        Args:
            url: The request's URL; its query may hold a key.
            headers: The request's headers.
        """
        named = (*headers.items(), *parse_qsl(urlsplit(url).query))
        values = [value for name, value in named if _SECRETS.search(name)]
        return cls((*values, *(value.partition(" ")[2] for value in values)))

    def redact(self, fault: Fault) -> Fault:
        """Replace the credentials in a fault."""
        if not self._values:
            return fault
        decoded = (_decode(value)[0] for value in self._values)
        secrets = [secret for secret in decoded if len(secret) >= _SHORTEST]
        return replace(
            fault,
            message=_without(secrets, fault.message),
            code=fault.code and _without(secrets, fault.code),
            param=fault.param and _without(secrets, fault.param),
            request_id=fault.request_id and _without(secrets, fault.request_id),
            body_text=_without(secrets, fault.body_text),
        )


NO_SECRETS = Secrets()


def _without(secrets: Iterable[str], text: str) -> str:
    """Replace decoded secrets in a text."""
    plain, starts = _decode(text)
    parts, end = [], 0
    for first, last in sorted(span for secret in secrets for span in _find(secret, plain)):
        if starts[first] >= end:  # else it overlaps with the one before: "Bearer …" holds the key
            parts += [text[end : starts[first]], "…"]
        end = max(end, starts[last])
    return "".join((*parts, text[end:]))


def _find(secret: str, text: str) -> Iterator[tuple[int, int]]:
    """Yield where a text has a secret, or its beginning if the text was cut there."""
    at = text.find(secret[:_SHORTEST])
    while at >= 0:
        end = at + _SHORTEST
        while end < len(text) and text[at : end + 1] == secret[: end + 1 - at]:
            end += 1
        # A remark in brackets may follow the cut.
        if end - at == len(secret) or end == len(text) or text.startswith(" (", end):
            yield at, end
        at = text.find(secret[:_SHORTEST], at + 1)


def _decode(text: str) -> tuple[str, list[int]]:
    """Decode what is encoded in a text, for a comparison.

    Backslashes are left out and pluses become spaces, since they may stand for that.

    Returns:
        The characters, and where each of them starts in the text, and where it ends.
    """
    plain: list[str] = []
    starts: list[int] = []
    for found in _ENCODED.finditer(text):
        code = found["url"] or found["json"]
        character = found[0] if code is None else chr(int(code, 16))
        if found["page"] is not None:
            character = html.unescape(found[0])[:1]
        if character.strip("\\"):
            plain.append(" " if character == "+" else character)
            starts.append(found.start())
    return "".join(plain), [*starts, len(text)]
