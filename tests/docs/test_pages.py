"""Every page: links lead somewhere, snippets run, commands name what is there."""

from __future__ import annotations

import ast
import asyncio
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rtllm_videosdk import OpenAILLM

ROOT = Path(__file__).parents[2]
FOLDERS = (".", "docs", "packages/*", "tests")
PAGES = sorted(path for folder in FOLDERS for path in ROOT.glob(f"{folder}/*.md"))
NAMES = [path.relative_to(ROOT).as_posix() for path in PAGES]

_LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def _without_blocks(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def _anchors(text: str) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    headings = re.findall(r"^#+ (.*)$", _without_blocks(text), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    page = ROOT / name
    broken = []
    for target in _LINK.findall(_without_blocks(page.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        found = file.exists() and (not anchor or anchor in _anchors(file.read_text()))
        if not found:
            broken.append(target)
    assert broken == []


def test_the_readme_leads_to_every_page() -> None:
    linked = set(_LINK.findall((ROOT / "README.md").read_text()))
    expected = {n for n in NAMES if n.startswith("docs/")} | {"CONTRIBUTING.md", "SECURITY.md"}
    assert expected - {target.partition("#")[0] for target in linked} == set()


# -- snippets -------------------------------------------------------------------------------------


def _shown(*_: Any, **__: Any) -> None:
    """Placeholder for a framework's class whose arguments a snippet omits."""


PRELUDES: dict[str, dict[str, Any]] = {
    "README.md": {"AgentSession": _shown, "Pipeline": _shown},
    "docs/hosts.md": {"OpenAILLM": OpenAILLM},
    "packages/videosdk_adapter/README.md": {"Pipeline": _shown},
}
"""What a reader of a page has before its first snippet."""

WITH_CODE = [n for n in NAMES if "```python\n" in (ROOT / n).read_text()]


@pytest.mark.parametrize("name", WITH_CODE)
def test_snippets_run(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "any")
    monkeypatch.chdir(tmp_path)  # where a snippet may write files
    names: dict[str, Any] = {"__name__": "snippet", **PRELUDES.get(name, {})}
    for language, code in _BLOCK.findall((ROOT / name).read_text()):
        if language == "python":
            _run(code, name, names)


def _run(code: str, name: str, names: dict[str, Any]) -> None:
    """Run a snippet, which may await at its top level."""
    compiled = compile(code, name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    waiting = eval(compiled, names)  # noqa: S307 - our own pages
    if waiting is not None:
        asyncio.run(waiting)


# -- commands -------------------------------------------------------------------------------------


def _commands() -> list[SimpleNamespace]:
    return [
        SimpleNamespace(page=name, line=line.strip())
        for name in NAMES
        for language, block in _BLOCK.findall((ROOT / name).read_text())
        if language == "sh"
        for line in block.splitlines()
    ]


def test_commands_name_files_and_recipes_that_are_there() -> None:
    recipes = set(re.findall(r"^([a-z-]+)[^:\n]*:", (ROOT / "justfile").read_text(), re.MULTILINE))
    missing = []
    for command in _commands():
        words = command.line.partition("#")[0].split()
        paths = [word for word in words if re.fullmatch(r"[\w.]+(/[\w.]+)+", word)]
        missing += [(command.page, path) for path in paths if not (ROOT / path).exists()]
        if words[:1] == ["just"] and words[1:2] and words[1] not in recipes:
            missing.append((command.page, command.line))
    assert missing == []


# -- citations ------------------------------------------------------------------------------------

OUTSIDE = re.compile(r"\b(?:DESIGN|PROTOCOL|PEERS|STYLE|ENGINE)\b(?!\s*=)|[Ss]ection \d+|§")
ISSUE = re.compile(r"\S+ (?:PR )?#\d{2,}")
DATA = {"providers/dialects.py", "providers/hosts.py"}
"""The tables whose sources docs/hosts.md shows."""


def test_code_cites_only_what_is_in_the_repository() -> None:
    folders = ("packages", "tests", "benchmarks", "examples", "outside")
    found = []
    for path in (path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        if path == Path(__file__) or ".venv" in path.parts:
            continue
        text = path.read_text()
        found += [(path.name, cited) for cited in OUTSIDE.findall(text)]
        if "src" in path.parts and "/".join(path.parts[-2:]) not in DATA:
            found += [(path.name, cited) for cited in ISSUE.findall(text)]
        pages = re.findall(r"(?<![\w/.])docs/\w+\.md", text)
        found += [(path.name, page) for page in pages if not (ROOT / page).exists()]
    assert found == []
