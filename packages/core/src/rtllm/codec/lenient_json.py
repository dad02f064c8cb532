"""Lenient JSON: parses what a strict parser rejects, as far as the meaning is clear.

Seen in hosts' JSON: halves of surrogate pairs (gateways that split text into UTF-16 units), ``NaN``
and ``Infinity`` (Python's ``json.dumps``), control characters in strings, bytes that aren't UTF-8,
and deeper nesting than a parser may recurse. Strict parsing is tried first, because it is faster.
"""

import json
import re
from typing import Any

import msgspec

DEPTH_LIMIT = 100
"""Levels of nesting that are parsed; deeper values stay JSON text."""

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

_HALF = re.compile("[\ud800-\udfff]")
_HIGH_HALF_AT_END = re.compile("[\ud800-\udbff]\\Z")
_STRUCTURE = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[{\]}]', re.DOTALL)
_ESCAPE = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|(?P<half>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)
_DIGITS_OF_AN_INT = 30


def decode(data: bytes) -> str:
    """Decode UTF-8; halves of surrogate pairs are kept, other invalid bytes are replaced."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        pass
    try:
        return data.decode(errors="surrogatepass")
    except UnicodeDecodeError:
        return data.decode(errors="replace")


def parse(data: str | bytes) -> Any:
    """Parse JSON leniently.

    Strings may hold halves of surrogate pairs; numbers that JSON doesn't have become None.

    Raises:
        ValueError: If the data isn't JSON even then.
    """
    text = (data if isinstance(data, str) else decode(data)).removeprefix("\ufeff")
    try:
        return _decoder.decode(flatten(text))
    except RecursionError as error:  # the call stack was already deep
        raise ValueError("the JSON is nested too deeply to parse") from error


def is_json(text: str) -> bool:
    """Whether a text is JSON, however deep it is nested."""
    try:
        msgspec.json.decode(text)
    except RecursionError:
        pass
    except (msgspec.DecodeError, UnicodeError):
        return False
    else:
        return True
    try:
        parse(text)
    except ValueError:
        return False
    return True


def flatten(text: str) -> str:
    """Rewrite JSON so that values beyond the depth limit are strings of their JSON text."""
    if text.count("[") + text.count("{") <= DEPTH_LIMIT:
        return text
    pieces: list[str] = []
    depth = start = 0
    for match in _STRUCTURE.finditer(text):
        match match[0]:
            case "[" | "{":
                depth += 1
                if depth == DEPTH_LIMIT + 1:
                    pieces.append(text[start : match.start()])
                    start = match.start()
            case "]" | "}":
                if depth == DEPTH_LIMIT + 1:
                    pieces.append(json.dumps(text[start : match.end()]))
                    start = match.end()
                depth -= 1
            case _:
                pass
    return "".join((*pieces, text[start:]))


def encode(value: Any) -> bytes:
    """Encode a value from `parse` as strict JSON."""
    return msgspec.json.encode(_cleaned(value))


def clean(text: str) -> str:
    """Join the halves of surrogate pairs, and replace halves without a partner."""
    if text.isascii() or _HALF.search(text) is None:
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def join(held: str, text: str) -> tuple[str, str]:
    """Append a piece of text to the surrogate half that the last piece ended with.

    Returns:
        The text that can be passed on, and the half that the next piece may complete.
    """
    if not held and text.isascii():
        return text, ""
    text = held + text
    half = _HIGH_HALF_AT_END.search(text)
    if half is None:
        return clean(text), ""
    return clean(text[:-1]), half[0]


def clean_escapes(text: str) -> str:
    """Replace the escapes of lone surrogate halves in JSON text, such as a call's arguments."""
    text = clean(text)
    if "\\ud" not in text and "\\uD" not in text:
        return text
    return _ESCAPE.sub(lambda found: "\\ufffd" if found["half"] else found[0], text)


def unwrapped(arguments: str) -> str:
    """Return a call's arguments without a second encoding: some hosts send an object in a text."""
    if not arguments.lstrip().startswith('"'):
        return arguments
    try:
        inner = msgspec.json.decode(arguments)
        is_object = isinstance(inner, str) and isinstance(msgspec.json.decode(inner), dict)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return arguments
    return inner if is_object else arguments


def _cleaned(value: Any) -> Any:
    match value:
        case str():
            return clean(value)
        case list():
            return [_cleaned(item) for item in value]
        case dict():
            return {clean(key): _cleaned(item) for key, item in value.items()}
        case _:
            return value


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _DIGITS_OF_AN_INT else float(digits)


_decoder = json.JSONDecoder(strict=False, parse_constant=lambda _: None, parse_int=_integer)
