"""The rules of the tests' own house: see `tests/README.md`."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parents[1]
FILES = sorted(TESTS.rglob("*.py"))
PACKAGES = {"livekit", "openai", "rtllm", "rtllm_livekit", "rtllm_videosdk", "videosdk"}

SABOTEURS = frozenset(
    {
        "chaos/test_laws_bite.py",
        "core/test_laws_bite.py",
        "core/test_text_laws_bite.py",
        "simulation/defects.py",
        "simulation/host_defects.py",
        "support/saboteurs.py",
    }
)
"""What breaks our code on purpose, to prove that a law bites, reaches into it."""

_HISTORY = "an application edits VideoSDK's history in place, and there is no other way to"
_PARTIAL = "VideoSDK keeps there what was heard of an answer that is cut"
_TURNS = "what VideoSDK's recogniser calls at the end of a turn, and its task"
_SETTINGS = "what VideoSDK's MCP servers set on a tool"
FRAMEWORKS_OWN = {
    "_activity": "LiveKit's recogniser speaks to a session's activity",
    "_current_generation_task": _TURNS,
    "_event_ch": "the channel of LiveKit's stream, to note what it gives out",
    "_generate_summary": "VideoSDK's own summary, during a turn",
    "_items": _HISTORY,
    "_JobContextVar": "LiveKit's job, without a worker",
    "_current_job_context": "VideoSDK's job, without a worker",
    "_on_cleanup": "the end of LiveKit's job, which removes its folder",
    "_partial_response": _PARTIAL,
    "_process_final_transcript": _TURNS,
    "_retry_on_chunk_sent": "LiveKit's own switch for retries",
    "_summarize": "LiveKit's own summary of a context",
    "_tool_info": _SETTINGS,
    "_tracer_provider": "LiveKit's tracer, to put it back",
    "_wss_url": "the stock plugin's address, which it shows nowhere else",
}
"""Private attributes of the frameworks that tests can't do without, and why."""

DURATIONS_ARE_THE_SUBJECT = frozenset(
    {
        "chaos",  # stories with pauses of their own, in virtual time
        "faults",  # turns with pauses of the caller between them, in virtual time
        "voice",  # phone calls with pauses of their own, in virtual time
    }
)
SHORT = 2.0
"""Seconds; what waits for less runs out on a slow machine."""


def named(path: Path) -> str:
    return path.relative_to(TESTS).as_posix()


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def private_of(path: Path) -> Iterator[str]:
    """Attributes with a leading underscore of anything but the object itself."""
    for node in ast.walk(tree_of(path)):
        if not isinstance(node, ast.Attribute) or not re.match(r"_[a-zA-Z]", node.attr):
            continue
        owner = node.value
        is_own = isinstance(owner, ast.Name) and owner.id in ("self", "cls")
        is_super = isinstance(owner, ast.Call) and ast.unparse(owner.func) == "super"
        if not (is_own or is_super) and node.attr != "_replace":
            yield node.attr


def test_no_test_looks_at_private_attributes() -> None:
    """What a test needs to see, a repr, a snapshot or a property shows."""
    files = [path for path in FILES if named(path) not in SABOTEURS]
    found = {named(path): set(private_of(path)) - set(FRAMEWORKS_OWN) for path in files}
    assert not {name: attributes for name, attributes in found.items() if attributes}


def test_the_exceptions_are_needed() -> None:
    used = {attribute for path in FILES for attribute in private_of(path)}
    assert set(FRAMEWORKS_OWN) <= used


def test_no_folder_has_the_name_of_a_package() -> None:
    """Else one of the two hides the other, whichever is found first."""
    assert not {path.name for path in TESTS.rglob("*") if path.is_dir()} & PACKAGES


def test_nothing_is_imported_from_tests() -> None:
    """What several modules need is in a module of its own."""
    found = {
        named(path): node.module
        for path in FILES
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ImportFrom)
        and re.search(r"\.(test_\w+|conftest)$", node.module or "")
    }
    assert not found


def test_tests_are_named_by_subject() -> None:
    functions = ast.AsyncFunctionDef | ast.FunctionDef
    nodes = [node for path in FILES for node in ast.walk(tree_of(path))]
    names = [path.stem for path in FILES] + [n.name for n in nodes if isinstance(n, functions)]
    assert not [name for name in names if re.match(r"test_\d", name)]


def seconds_of(node: ast.expr | None) -> float | None:
    value = node.value if isinstance(node, ast.Constant) else None
    return float(value) if isinstance(value, int | float) else None


def short_waits_of(path: Path) -> Iterator[str]:
    """Waits for less than `SHORT` seconds, but for the steps of a loop that polls."""
    tree = tree_of(path)
    polls = {
        id(inner)
        for loop in ast.walk(tree)
        if isinstance(loop, ast.While)
        for inner in ast.walk(loop)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        limits = {keyword.arg: keyword.value for keyword in node.keywords}
        match ast.unparse(node.func):
            case "asyncio.sleep" if id(node) not in polls:
                wait = seconds_of(node.args[0])
            case "asyncio.timeout":
                wait = seconds_of(node.args[0])
            case "asyncio.wait_for" | "asyncio.wait":
                wait = seconds_of(limits.get("timeout", node.args[-1]))
            case _:
                continue
        if wait is not None and 0 < wait < SHORT:
            yield f"{node.lineno}: {ast.unparse(node)}"


def test_no_test_waits_for_a_while() -> None:
    """A test waits for an event, or in virtual time for whole seconds."""
    files = [p for p in FILES if named(p).split("/")[0] not in DURATIONS_ARE_THE_SUBJECT]
    found = {named(path): list(short_waits_of(path)) for path in files}
    assert not {name: waits for name, waits in found.items() if waits}


def test_each_test_of_a_folder_has_a_name_of_its_own() -> None:
    functions = ast.AsyncFunctionDef | ast.FunctionDef
    names = Counter(
        (path.parent, node.name)
        for path in FILES
        for node in ast.walk(tree_of(path))
        if isinstance(node, functions) and node.name.startswith("test_")
    )
    assert not [name for (_, name), count in names.items() if count > 1]
