"""What each package may do, read from the code itself: import-linter sees imports, not uses."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import rtllm
import rtllm_livekit
import rtllm_videosdk

CORE = Path(rtllm.__file__).parent
PURE = (
    "codec",
    "content",
    "context",
    "doctor/judgements",
    "engine",
    "parameters",
    "retry",
    "scheduling",
    "tools",
    "trace",
    "trace_view",
)
IO = {"aiohttp", "asyncio", "openai", "os", "random", "socket", "time"}

CLASSIFIERS = {
    "engine/rejection_analysis.py",
    "transport/websocket_connect.py",
    "transport/http_faults.py",
}
"""What names a fault, from a library's exceptions or from what was asked."""

READS_BODIES = {"retry/error_bodies.py"}
"""What reads the bodies of errors, which may be anything."""

WITHOUT_JSON = (
    "adapters",
    "client",
    "content",
    "context",
    "engine",
    "instrumentation",
    "providers",
    "retry",
    "scheduling",
    "trace",
    "transport",
)
"""JSON is looked at in ``codec``; the subject of ``tools`` is JSON schemas."""


def sources(*packages: str) -> Iterator[tuple[str, ast.Module]]:
    for package in packages:
        for path in sorted((CORE / package).rglob("*.py")):
            yield path.relative_to(CORE).as_posix(), ast.parse(path.read_text())


def imports_of(module: ast.Module) -> Iterator[str]:
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module


def is_for_types_only(module: ast.Module, name: str) -> bool:
    blocks = [n for n in module.body if isinstance(n, ast.If)]
    guarded = [b for b in blocks if "TYPE_CHECKING" in ast.unparse(b.test)]
    return any(name in imports_of(ast.Module(b.body, [])) for b in guarded)


def attributes_of(module: ast.Module) -> Iterator[str]:
    for node in ast.walk(module):
        if isinstance(node, ast.Attribute):
            yield ast.unparse(node)


@pytest.mark.parametrize("package", PURE)
def test_a_pure_package_does_no_io_and_has_no_clock_and_no_chance(package: str) -> None:
    found = [
        (path, name)
        for path, module in sources(package)
        for name in imports_of(module)
        if name.split(".")[0] in IO and not is_for_types_only(module, name)
    ]
    assert found == []


def test_only_the_policy_and_the_classifiers_decide_by_kind_of_fault() -> None:
    packages = [p.name for p in CORE.iterdir() if p.is_dir() and p.name != "retry"]
    found = [
        (path, name)
        for path, module in sources(*packages)
        for name in attributes_of(module)
        if name.startswith("FaultKind.")
        and path not in CLASSIFIERS
        and not path.startswith("simulator")
    ]
    assert found == []


@pytest.mark.parametrize("package", WITHOUT_JSON)
def test_json_is_looked_at_in_the_codec_only(package: str) -> None:
    found = [
        (path, name)
        for path, module in sources(package)
        for name in (*imports_of(module), *attributes_of(module))
        if name in ("json", "msgspec.json") or name.startswith(("json.", "msgspec.json."))
        if path not in READS_BODIES
    ]
    assert found == []


def test_the_runtime_is_short_enough_to_be_read_in_one_sitting() -> None:
    for name in ("runtime", "websocket", "http"):
        lines = (CORE / "transport" / f"{name}.py").read_text().splitlines()
        assert len(lines) < 300, name


LONGEST = 60
"""Lines of a function, without its signature and its docstring, that can be read at a glance."""


def lines_of_functions(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
            has_docstring = ast.get_docstring(node) is not None and len(node.body) > 1
            yield node.name, node.end_lineno - node.body[has_docstring].lineno + 1


def test_no_function_scrolls() -> None:
    found = [
        (path.name, *function)
        for package in (rtllm, rtllm_livekit, rtllm_videosdk)
        for path in sorted(Path(package.__path__[0]).rglob("*.py"))
        for function in lines_of_functions(path)
        if function[1] > LONGEST
    ]
    assert found == []


READS_ENVIRONMENT = {"environ", "getenv", "getproxies", "getproxies_environment"}


def names_in(module: ast.Module) -> Iterator[str]:
    for node in ast.walk(module):
        match node:
            case ast.Attribute():
                yield node.attr
            case ast.Name():
                yield node.id
            case ast.alias():
                yield node.name


def test_one_module_reads_the_environment() -> None:
    readers = {
        path.relative_to(folder).as_posix()
        for package in (rtllm, rtllm_livekit, rtllm_videosdk)
        for folder in [Path(package.__path__[0]).parent]
        for path in folder.glob("rtllm*/**/*.py")
        if READS_ENVIRONMENT.intersection(names_in(ast.parse(path.read_text())))
    }
    assert readers == {"rtllm/providers/environment.py"}
