"""Error bodies of any form: their sentence, their code, and the field that they name.

Hosts answer with an object, an object in a list, a text, a web page, or a list of details; some
encode one of these as text in another. *Seen*: each form is noted next to its code.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

LONGEST = 4000
"""How many characters of a body are kept: enough for every sentence that was seen."""
WEB_PAGE = "a web page (HTML)"
"""The prefix of the text taken from a web page."""
_DEEPEST = 6

_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_TAGS = re.compile(r"<(script|style)\b.*?</\1>|<[^>]+>", re.IGNORECASE | re.DOTALL)
_SENTENCES = (
    *("message", "msg", "status_msg", "detail", "faultstring", "error_description", "error"),
    *("title", "reason", "Message", "errorMessage", "error_msg", "text"),
)
_WAITS = ("retryDelay", "retry_after", "retryAfter", "retry_after_seconds")
"""Fields with a wait in seconds, as a number or as Google's ``"43s"``."""
_CODES = ("code", "type", "object", "status", "error_type", "url", "ctx")
"""Fields that are not part of a body's text."""
_NAMES = ("code", "type", "param", "status")


def error_object(body: object) -> dict[str, Any]:
    """Read the error in a body.

    Args:
        body: The body, decoded if it is JSON, else its text.

    Returns:
        ``message``, ``code``, ``type``, ``param``, ``status`` and ``retry_after`` if the body has
        them, and ``body_text``: its full text, for searching words. Empty if the body has no text.
    """
    if isinstance(body, Mapping) and isinstance(body.get("body_text"), str):
        return dict(body)  # already read
    found: dict[str, Any] = {}
    _collect(body, found, 0)
    text = _as_text(body)
    if text:
        found["body_text"] = text[:LONGEST]
    return found


def with_status(body: object, fallback: str) -> dict[str, Any]:
    """Read the error in a body; add a message with the status if the body has no text.

    Args:
        body: The body, decoded.
        fallback: A message that names what was rejected, and the status.
    """
    error = error_object(body)
    message = error.get("message")
    if not message:
        error["message"] = fallback
    elif str(message).startswith(WEB_PAGE):
        error["message"] = f"{fallback} and {message}"
    return error


def read_body(data: bytes | str) -> object:
    """Decode a body as JSON, else return its text; of a web page only the readable part."""
    text = data if isinstance(data, str) else data.decode(errors="replace")
    text = text.removeprefix("\ufeff").strip()
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return readable(text)


def is_web_page(text: str) -> bool:
    """Whether a text is a web page."""
    return text.lstrip()[:200].lower().startswith(("<!doctype html", "<html", "<head", "<?xml"))


def readable(text: str) -> str:
    """Return the readable part of a text: of a web page its title, else its words."""
    if not is_web_page(text):
        return text[:LONGEST]
    title = _TITLE.search(text)
    words = title[1] if title is not None else _TAGS.sub(" ", text)
    return f"{WEB_PAGE}: {' '.join(words.split())[:200]}"


def _collect(body: object, found: dict[str, Any], depth: int) -> None:
    """Collect the parts of an error; outer values win, except for the message."""
    if depth > _DEEPEST:
        return
    if isinstance(body, str):
        _collect_text(body, found, depth)
    elif isinstance(body, Mapping):
        _collect_object(body, found, depth)
    elif isinstance(body, Sequence) and not isinstance(body, bytes):
        _collect_list(body, found, depth)


def _collect_text(text: str, found: dict[str, Any], depth: int) -> None:
    inner = _packed(text)
    if inner is not None:  # seen: Azure's Foundry encodes a list of details in the message
        _collect(inner, found, depth + 1)
    if text.strip():
        found.setdefault("message", text.strip()[:LONGEST])


def _collect_object(body: Mapping[Any, Any], found: dict[str, Any], depth: int) -> None:
    # The inner error first, then the object around it: xAI and Kilo put the sentence in "error",
    # next to a code.
    for name in ("error", "errors", "fault", "base_resp"):
        inner = body.get(name)
        if isinstance(inner, Mapping | list):
            _collect(inner, found, depth + 1)
    for name in _NAMES:
        value = body.get(name)
        if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
            found.setdefault(name, value)
    for name in _SENTENCES:
        value = body.get(name)
        if name == "error" and isinstance(value, Mapping | list):
            continue
        if isinstance(value, str | Mapping | list) and value:
            _collect(value, found, depth + 1)
    details = body.get("details")
    if (wait := _wait_of(body, details)) is not None:
        found.setdefault("retry_after", wait)
    if isinstance(details, list) and "param" not in found:  # seen: Azure's invalid_payload
        _collect_list(details, found, depth + 1)
    reason = _inner_reason(body.get("innererror"))
    if reason and "message" in found and reason not in found["message"]:
        found["message"] = f"{found['message']} ({reason})"
    metadata = body.get("metadata")
    raw = metadata.get("raw") if isinstance(metadata, Mapping) else None
    if isinstance(raw, str) and raw and "message" in found and raw not in found["message"]:
        # seen: OpenRouter puts the provider's own answer there
        found["message"] = f"{found['message']}: {raw}"[:LONGEST]


def _wait_of(body: Mapping[Any, Any], details: object) -> str | None:
    """Return the wait that an object names in a field; seen: Gemini's is in a detail."""
    objects = [body, *(details if isinstance(details, list) else ())]
    fields = (each.get(name) for each in objects if isinstance(each, Mapping) for name in _WAITS)
    return next((str(value) for value in fields if isinstance(value, str | int | float)), None)


def _collect_list(entries: Sequence[object], found: dict[str, Any], depth: int) -> None:
    """Collect a list of details (FastAPI, Mistral), or of errors (Gemini)."""
    sentences: list[str] = []
    for entry in entries[:8]:
        if isinstance(entry, Mapping) and ("loc" in entry or "msg" in entry):
            place = _place(entry.get("loc"))
            if place:
                found.setdefault("param", place)
            said = str(entry.get("msg") or entry.get("message") or entry.get("type") or "")
            sentences.append(f"{place}: {said}" if place else said)
        elif isinstance(entry, Mapping):
            inner: dict[str, Any] = {}
            _collect(entry, inner, depth + 1)
            sentences.append(str(inner.pop("message", "")))
            for name, value in inner.items():
                found.setdefault(name, value)
        elif isinstance(entry, str):
            sentences.append(entry)
    if text := "; ".join(sentence for sentence in sentences if sentence):
        found.setdefault("message", text[:LONGEST])


def _place(loc: object) -> str:
    """Return the field that a validating server names by its path."""
    if isinstance(loc, str):
        return loc
    steps = [str(step) for step in loc] if isinstance(loc, Sequence) else []
    return ".".join(steps[1:] if steps[:1] == ["body"] else steps)


def _inner_reason(inner: object) -> str:
    """Return what Azure's inner error adds: the categories that were filtered, or its sentence."""
    if not isinstance(inner, Mapping):
        return ""
    results = inner.get("content_filter_result")
    if not isinstance(results, Mapping):
        message = inner.get("message")
        return message.strip()[:LONGEST] if isinstance(message, str) else ""
    hits = [
        f"{name}: {result.get('severity') or 'found'}"
        for name, result in results.items()
        if isinstance(result, Mapping) and (result.get("filtered") or result.get("detected"))
    ]
    return ", ".join(hits)


def _packed(text: str) -> object | None:
    """Decode the object or list that a text holds; None if it holds neither."""
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        inner = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    return inner if isinstance(inner, Mapping | list) and inner else None


def _as_text(body: object) -> str:
    return " ".join(_words_in(body, 0))[: 2 * LONGEST]


def _words_in(body: object, depth: int) -> Iterator[str]:
    if depth > 2 * _DEEPEST:
        return
    if isinstance(body, str):
        inner = _packed(body)
        yield from [body] if inner is None else _words_in(inner, depth + 1)
    elif isinstance(body, Mapping):
        for name, value in body.items():
            if name not in _CODES:
                yield from _words_in(value, depth + 1)
    elif isinstance(body, Sequence) and not isinstance(body, bytes):
        if body and all(isinstance(step, str | int) for step in body):
            yield ".".join(map(str, body))
        else:
            for value in body:
                yield from _words_in(value, depth + 1)
