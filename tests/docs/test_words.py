"""The project's words: none that make a reader stop, in code, pages, errors or public names."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]

AVOIDED: dict[str, str] = {
    # people that don't exist, and old words
    r"\b(no|some|every)body\b": "name the code, the caller or the user, or use the passive voice",
    r"\bwhoever\b": "the code that, the caller that",
    r"\bshall\b": "must, or the present tense",
    r"\bfor ever\b": "forever, without a limit",
    r"\b(lest|upon|anew)\b": "so that … not; on; again",
    r"(?<!there )\b(is|are|was|were|be) no (?!longer\b|more\b|reason\b|need\b|less\b)": "is not a",
    # conditions
    r"\bNone where\b": "None if",
    r"(?<=[\w,] )where (it|nothing|none|they|that) (is|are|isn't|was|has|can|may)\b": "if, when",
    # places for relations
    r"\bbesides?\b": "next to, in addition to, compared with",
    r"\bbehind\b": "after",
    r"\bstands?\b(?! for\b| ins?\b|-)": "is, is listed, occurs",
    r"\bat hand\b": "given, current",
    r"\b(in|within|out of) reach\b": "available, can be continued",
    # speech for facts and settings
    r"\btold\b": "reported, logged, passed",
    r"\b(host|service|server|user|setting|keyword|profile|option)s? (says?|said)\b": (
        "reports, sets, requires"
    ),
    r"\b(says?|said) (so|otherwise)\b": "sets it, in another form",
    r"\bwithout a word\b": "without text, without an error",
    r"\bunheard\b": "drained, not played",
    # pictures for terms
    r"\b(lent|lends?|lending)\b": "passed by the user",
    r"\bgiv(e|es|en|ing) (it |them )?up\b|\bgave (it )?up\b": "abandoned, closed, failed",
    r"\b(given|gave|gives?) out\b": "emitted",
    r"\bcure[sd]?\b": "handled by a retry",
    r"\b(booked|the books)\b": "counted, recorded in the usage",
    r"\b(go|goes|went|sent|carried) whole\b|\bwhole context": "full context",
    r"\bmade legal\b|\blegali[sz]e|\blegal (context|items?)\b": "normalized",
    r"\bsealed reasoning\b": "encrypted reasoning",
    r"\bcomes? to nothing\b|\bwhat (becomes?|became) of\b": "the outcome of",
    r"\bturn about\b": "alternating",
    r"\bleft to itself\b|\blets? go of\b": "abandoned, released",
    r"\bin person\b": "itself",
}
"""The words that are not used, as patterns, and what to write instead."""


class Allowed(NamedTuple):
    """A use that may stay.

    Attributes:
        file: The file, relative to the repository.
        text: Some of the text around the word.
        reason: Why it may stay.
    """

    file: str
    text: str
    reason: str


ALLOWED = (
    Allowed(
        "packages/core/src/rtllm/providers/dialects.py",
        "content beside calls",
        "the public name of a dialect's point, which users write in `dialect=`",
    ),
    Allowed(
        "packages/core/src/rtllm/providers/dialects.py",
        "user behind tool",
        "the public name of a dialect's point, which users write in `dialect=`",
    ),
)


class Prose(NamedTuple):
    """A piece of text that is written for people."""

    file: str
    line: int
    text: str


# -- collecting -----------------------------------------------------------------------------------


def python_files() -> list[Path]:
    """List the project's Python files, without this one."""
    folders = ("packages", "benchmarks", "examples", "outside", "tests")
    found = (file for folder in folders for file in sorted((ROOT / folder).rglob("*.py")))
    return [file for file in found if file != Path(__file__)]


def pages() -> list[Path]:
    """List the project's pages."""
    folders = (".", "docs", "packages/*", "tests")
    return sorted(page for folder in folders for page in ROOT.glob(f"{folder}/*.md"))


def has_message(node: ast.AST) -> bool:
    """Whether a node raises, logs, makes an error to be raised, or describes a CLI option."""
    if isinstance(node, ast.Raise):
        return True
    if not isinstance(node, ast.Call):
        return False
    function = node.func
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
        return function.value.id in ("logger", "logging", "log", "_log", "typer")
    name = function.id if isinstance(function, ast.Name) else ""
    return name.endswith(("Error", "Fault"))


def strings(node: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the string literals inside a node, with their lines."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
            yield inner.lineno, inner.value


def names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the public names that modules and classes define, and their parameters, as words."""
    found: list[tuple[int, str]] = []
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name, args=of) | ast.AsyncFunctionDef(name=name, args=of):
                parameters = (*of.posonlyargs, *of.args, *of.kwonlyargs)
                if not name.startswith("_"):
                    found += ((node.lineno, name) for name in (name, *(p.arg for p in parameters)))
            case ast.ClassDef(name=name):
                found.append((node.lineno, name))
            case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
                if node.col_offset == 0 or isinstance(node, ast.AnnAssign):
                    found.append((node.lineno, name))
            case _:
                pass
    for line, name in found:
        if not name.startswith("_"):
            yield line, re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).replace("_", " ")


def prose_of_python(source: str, *, is_package: bool) -> Iterator[tuple[int, str]]:
    """Yield docstrings, comments and names of tests; of a package messages and public names."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))):
                yield node.lineno, text
            case _:
                pass
        if is_package and has_message(node):
            yield from strings(node)
    if is_package:
        yield from names(tree)
    else:
        yield from sentences_of_tests(tree)
    yield from comments(source)


def sentences_of_tests(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the names of tests, as sentences."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                if name.startswith("test_"):
                    yield node.lineno, name.replace("_", " ")
            case _:
                pass


def comments(source: str) -> Iterator[tuple[int, str]]:
    """Yield comments; those on adjacent lines are joined."""
    joined: list[str] = []
    first = last = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        if joined and token.start[0] != last + 1:
            yield first, " ".join(joined)
            joined = []
        last = token.start[0]
        first = first if joined else last
        joined.append(token.string.lstrip("# "))
    if joined:
        yield first, " ".join(joined)


def prose_of_page(text: str) -> Iterator[tuple[int, str]]:
    """Yield the paragraphs of a page, without its code blocks."""
    is_code, paragraph, first = False, list[str](), 0
    for number, line in enumerate([*text.splitlines(), ""], 1):
        if line.lstrip().startswith("```"):
            is_code = not is_code
        elif line.strip() and not is_code:
            first = first if paragraph else number
            paragraph.append(line)
            continue
        if paragraph:
            yield first, " ".join(paragraph)
            paragraph = []


def one_line(file: str, pieces: Iterable[tuple[int, str]]) -> Iterator[Prose]:
    """Put each piece of a file on one line, so that phrases are found across line breaks."""
    for line, text in pieces:
        yield Prose(file, line, " ".join(text.split()))


@cache
def suspects() -> tuple[Prose, ...]:
    """Collect the prose of the files that have an avoided word anywhere, be it in code."""
    any_word = re.compile(r"\b(?:" + "|".join(AVOIDED).lower() + ")")
    found: list[Prose] = []
    for file in (*python_files(), *pages()):
        text = file.read_text()
        words = re.sub(r"[^\w']+|_|(?<=[a-z])(?=[A-Z])", " ", text).lower()
        if any_word.search(words):
            name = file.relative_to(ROOT).as_posix()
            is_package = name.startswith("packages")
            is_page = file.suffix == ".md"
            pieces = (
                prose_of_page(text) if is_page else prose_of_python(text, is_package=is_package)
            )
            found += one_line(name, pieces)
    return tuple(found)


def uses(pattern: str, prose: Iterable[Prose]) -> Iterator[tuple[Prose, str]]:
    """Find the uses of a word, each with the text around it."""
    word = re.compile(pattern, re.IGNORECASE)
    for piece in prose:
        for match in word.finditer(piece.text):
            yield piece, piece.text[max(0, match.start() - 40) : match.end() + 40]


# -- tests ----------------------------------------------------------------------------------------


def test_no_avoided_word_is_used() -> None:
    allowed = dict.fromkeys(ALLOWED, False)
    found: list[str] = []
    for pattern, better in AVOIDED.items():
        for piece, around in uses(pattern, suspects()):
            reasons = [a for a in ALLOWED if a.file == piece.file and a.text in around]
            allowed.update(dict.fromkeys(reasons, True))
            if not reasons:
                found.append(f"{piece.file}:{piece.line}: write {better!r} in {around!r}")
    assert not found, "\n".join(found)
    unused = [a for a, is_used in allowed.items() if not is_used]
    assert not unused, "remove these from `ALLOWED`"


def test_few_uses_are_allowed() -> None:
    assert len(ALLOWED) <= 20
    assert all(a.reason for a in ALLOWED)


@pytest.mark.parametrize(
    "source",
    [
        '"""Nobody reads it."""',
        "x = 1  # nobody reads it",
        'def f():\n    """Read.\n\n    Returns:\n        What nobody reads.\n    """',
        'x: int\n"""What nobody reads."""',
        'raise ValueError(f"nobody reads {name}")',
        'logger.warning("nobody reads %s", name)',
        'x = typer.Option(help="Nobody reads it.")',
        "def nobody_reads(): ...",
        "def reads(nobody): ...",
        "class NobodyReads: ...",
        "class Reads:\n    nobody: str",
    ],
)
def test_a_word_is_found_in_code(source: str) -> None:
    prose = one_line("a.py", prose_of_python(source, is_package=True))
    assert list(uses(r"\bnobody\b", prose))


def test_a_word_is_found_in_a_page() -> None:
    page = (
        "# Title\n\nA paragraph that lasts for\never.\n\n```python\nnobody = 1\n```\n\n| behind |\n"
    )
    prose = list(one_line("a.md", prose_of_page(page)))
    assert [piece.line for piece, _ in uses(r"\bfor ever\b|\bnobody\b|\bbehind\b", prose)] == [
        3,
        10,
    ]
