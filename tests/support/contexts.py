"""What a model sees, as values that compare: the one reading of items for all oracles.

A *unit* is one of

* ``("message", role, phase, parts)``, its parts ``("text", text)`` or ``("image", url, detail)``,
  texts in a row as one;
* ``("call", call_id, name, arguments)``, the arguments by value;
* ``("output", call_id, text)``;
* ``("hidden", type, token)``, what the service wrote and no framework records.

It shares nothing with the packages' own conversion, outlines and comparisons.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

Unit: TypeAlias = tuple[Any, ...]
Items: TypeAlias = Sequence[Mapping[str, Any]]

NO_RESULT = "no result: interrupted or failed"
"""The output of a call that has none in the framework's context."""

# -- units -----------------------------------------------------------------------------------------


def message(role: str, text: str, phase: str | None = None) -> Unit:
    """A message of one text."""
    return ("message", role, phase, (("text", text),))


def unit_of(item: Mapping[str, Any], *, phases: bool = True) -> Unit:
    """Read an entry of ``input``, or of what the journal says that the model saw.

    Args:
        item: The entry.
        phases: Whether a message's phase counts.
    """
    match item.get("type", "message"):
        case "message":
            phase = item.get("phase") if phases else None
            return ("message", item["role"], phase, _parts(item.get("content") or ""))
        case "function_call":
            return ("call", item["call_id"], item["name"], by_value(item["arguments"]))
        case "function_call_output":
            return ("output", item["call_id"], _text(item["output"]))
        case kind:
            return ("hidden", kind, str(item.get("encrypted_content") or item.get("output")))


def visible(items: Items) -> list[Unit]:
    """The units that a framework records; what it doesn't must be reasoning."""
    units = [unit_of(item) for item in items]
    strange = {unit[1] for unit in units if unit[0] == "hidden"} - {"reasoning"}
    assert not strange, f"items of the types {strange}"
    return list(filter(is_visible, units))


def by_value(arguments: str) -> str:
    """Arguments by value: their JSON in one spelling, or as they are if broken or too deep."""
    try:
        return json.dumps(json.loads(arguments), sort_keys=True)
    except (ValueError, RecursionError):
        return arguments


def merged(parts: Iterable[tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
    """Parts in which texts in a row are one."""
    made: list[tuple[str, ...]] = []
    for part in parts:
        if part[0] == "text" and made and made[-1][0] == "text":
            made[-1] = ("text", made[-1][1] + part[1])
        else:
            made.append(part)
    return tuple(made)


def _parts(content: Any) -> tuple[tuple[str, ...], ...]:
    if isinstance(content, str):
        return (("text", content),)
    return merged(_part(part) for part in content)


def _part(part: Mapping[str, Any]) -> tuple[str, ...]:
    if part.get("type") == "input_image":
        return ("image", part["image_url"], part.get("detail", "auto"))
    return ("text", part.get("text") or part.get("refusal") or "")


def _text(content: Any) -> str:
    return content if isinstance(content, str) else text_of_parts(_parts(content))


def text_of_parts(parts: Iterable[tuple[str, ...]]) -> str:
    """The text of a message's parts."""
    return "".join(part[1] for part in parts if part[0] == "text")


def text_of(unit: Unit) -> str:
    """The text of a message."""
    return text_of_parts(unit[3])


def pictures_of(unit: Unit) -> list[str]:
    """The URLs of a message's pictures."""
    return [part[1] for part in unit[3] if part[0] == "image"]


def is_visible(unit: Unit) -> bool:
    """Whether a framework records such items."""
    kind: str = unit[0]
    return kind != "hidden"


def is_system(unit: Unit) -> bool:
    """Whether it is a message of the system, or of the developer."""
    return unit[0] == "message" and unit[1] in ("system", "developer")


def is_said(unit: Unit) -> bool:
    """Whether the assistant said it."""
    return unit[:2] == ("message", "assistant")


def is_empty(unit: Unit) -> bool:
    """Whether it is a message with nothing in it."""
    return unit[0] == "message" and not any(part[1] for part in unit[3])


def split_lead(units: Sequence[Unit]) -> tuple[list[str], list[Unit]]:
    """The leading system texts, and what follows them."""
    count = next((n for n, unit in enumerate(units) if not is_system(unit)), len(units))
    return [text_of(unit) for unit in units[:count]], list(units[count:])


def joined(units: Iterable[Unit], between: str = " ") -> list[Unit]:
    """Units in which what the assistant said in a row, in one phase, is one message."""
    made: list[Unit] = []
    for unit in units:
        if is_said(unit) and made and made[-1][:3] == unit[:3] and not _has_images(made[-1], unit):
            made[-1] = message(unit[1], f"{text_of(made[-1])}{between}{text_of(unit)}", unit[2])
        else:
            made.append(unit)
    return made


def without_blanks(unit: Unit) -> Unit:
    """The unit, with no blanks in what the assistant said: they differ where texts are merged."""
    return message(unit[1], "".join(text_of(unit).split()), unit[2]) if is_said(unit) else unit


def _has_images(*units: Unit) -> bool:
    return any(pictures_of(unit) for unit in units)


# -- how they compare ------------------------------------------------------------------------------


def canonical(units: Iterable[Unit], *, rounds: bool = False) -> tuple[Unit, ...]:
    """Units in the order that compares: each run of calls and outputs is a set.

    Args:
        units: The units; what is hidden is left out.
        rounds: Whether a call that follows an output begins another run.
    """
    made: list[Unit] = []
    run: list[Unit] = []
    for unit in units:
        kind = unit[0]
        if run and (kind == "message" or (rounds and kind == "call" and run[-1][0] == "output")):
            made += sorted(run)
            run = []
        if kind == "message":
            made.append(unit)
        elif kind != "hidden":
            run.append(unit)
    made += sorted(run)
    return tuple(made)


def begins_with(whole: Sequence[Unit], known: Sequence[Unit]) -> bool:
    """Whether a context begins with what is known, both canonical: its last run may be longer."""
    count = len(known)
    if tuple(whole[:count]) == tuple(known):
        return True
    at = count
    while at and known[at - 1][0] != "message":
        at -= 1
    end = at
    while end < len(whole) and whole[end][0] != "message":
        end += 1
    return tuple(whole[:at]) == tuple(known[:at]) and not (
        Counter(known[at:]) - Counter(whole[at:end])
    )


def unpaired(units: Iterable[Unit]) -> set[str]:
    """The calls that have no output before the next message, or an output without a call."""
    open_calls: set[str] = set()
    for unit in units:
        kind = unit[0]
        if kind == "call":
            open_calls.add(unit[1])
        elif kind == "output":
            if unit[1] not in open_calls:
                return {unit[1]}
            open_calls.remove(unit[1])
        elif kind == "message" and open_calls:
            return open_calls
    return open_calls
