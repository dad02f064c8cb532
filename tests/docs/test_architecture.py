"""docs/architecture.md, docs/protocol.md and docs/security.md name what is in the code."""

from __future__ import annotations

import importlib
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

import rtllm
import rtllm_livekit
import rtllm_videosdk
from rtllm.engine import attempts, connection, connections, turn
from rtllm.providers import environment
from rtllm.providers.hosts import PROFILES, HostProfile
from rtllm.scheduling import connection_pool

ROOT = Path(__file__).parents[2]
CORE = Path(rtllm.__path__[0])
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
WIRE = (ROOT / "docs" / "protocol.md").read_text()
SECURITY = (ROOT / "docs" / "security.md").read_text()
FRAMEWORKS = (ROOT / "docs" / "frameworks.md").read_text()


def _resolves(dotted: str) -> bool:
    """Whether a dotted name is a module, or something in one."""
    parts = dotted.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:end]))
        except ImportError:
            continue
        for name in parts[end:]:
            if not hasattr(found, name):
                return False
            found = getattr(found, name)
        return True
    return False


@pytest.mark.parametrize("text", [ARCHITECTURE, WIRE, SECURITY, FRAMEWORKS])
def test_every_dotted_name_is_there(text: str) -> None:
    names = set(re.findall(r"`((?:rtllm|rtllm_livekit|rtllm_videosdk)(?:\.\w+)+)`", text))
    assert [name for name in sorted(names) if not _resolves(name)] == []


def _ways() -> list[tuple[str, str]]:
    """Each step of the two ways, with the modules that its row names."""
    rows = re.findall(
        r"^\| (?:↓ )?((?:`[^`]+`(?:, )?)+) \| [^|]+ \| (.+) \|$", ARCHITECTURE, re.MULTILINE
    )
    return [(step, where) for names, where in rows for step in re.findall("`([^`]+)`", names)]


def test_each_step_of_the_two_ways_is_in_the_modules_that_its_row_names() -> None:
    steps = [(step, where) for step, where in _ways() if "`rtllm" in where]
    assert len(steps) > 20
    missing = []
    for step, where in steps:
        modules = re.findall("`([^`]+)`", where)
        names = [step.split(".")]
        framework = step in ("ChatChunk", "LLMResponse")
        if not framework and not any(
            _resolves(".".join([module, *name])) for module in modules for name in names
        ):
            missing.append(step)
    assert missing == []


def test_each_path_of_the_page_is_there() -> None:
    paths = re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.py)`", ARCHITECTURE)
    assert paths
    assert [p for p in paths if not ((CORE / p).exists() or (ROOT / p).exists())] == []


def test_the_layers_are_those_that_import_linter_holds() -> None:
    held = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = [n for n in held["contracts"][0]["layers"] if n != "_version"]
    drawn = ARCHITECTURE.split("## Layers")[1].split("```")[1].strip().splitlines()
    assert [re.split(r"  +", line)[0].strip() for line in drawn] == layers


def test_the_states_are_those_of_the_tables() -> None:
    drawn = ARCHITECTURE.split("## The engine")[1].split("```")[1]
    changes = {
        (before, after)
        for table in (connection.TRANSITIONS, turn.TRANSITIONS)
        for before, states in table.items()
        for after in states
    }
    arrows = set(re.findall(r"(?=\b(\w+) ─▶ (\w+))", drawn))
    assert len(arrows) > 7
    assert arrows - changes == set()
    assert {state for state, _ in changes} - set(re.findall(r"\w+", drawn)) == set()


def test_the_wires_numbers_are_the_codes() -> None:
    assert connection_pool.ACTIVE_PER_CONNECTION == 8
    assert connection_pool.ROTATE_AT == 11 / 12
    assert connection_pool.MAX_CONNECTIONS == 512
    assert connections.PING_AFTER == 20.0
    assert attempts.END_SILENCE == 0.5
    assert HostProfile("any").max_frame == 16 * 2**20 - 1
    assert PROFILES["vercel"].max_frame == 4 * 2**20 - 1
    for named in ("0.5 s of silence", "after 20 s", "512 connections", "eleven twelfths"):
        assert named in WIRE


def test_every_keyword_of_the_open_questions_is_one() -> None:
    rows = WIRE.split("## Open questions")[1].splitlines()
    cells = [row.rpartition(" | ")[2] for row in rows if row.startswith("| ")]
    named = {name.partition("=")[0] for cell in cells for name in re.findall("`([^`]+)`", cell)}
    known = {
        *rtllm_livekit.LLM.__init__.__annotations__,
        *rtllm_videosdk.OpenAILLM.__init__.__annotations__,
        *rtllm_livekit.LLM.with_azure.__annotations__,
        environment.CHAINING,
    }
    assert named - known == set()


def test_the_security_page_names_every_variable() -> None:
    ours = {value for name, value in vars(environment).items() if name.isupper() and name[0] != "_"}
    assert {name for name in ours if f"`{name}`" not in SECURITY} == set()


def test_the_security_page_names_every_dependency() -> None:
    for package in ("core", "livekit_adapter", "videosdk_adapter"):
        project = tomllib.loads((ROOT / "packages" / package / "pyproject.toml").read_text())
        needs = [re.split("[>=]", one)[0] for one in project["project"]["dependencies"]]
        assert f"| `{project['project']['name']}` | {', '.join(needs)} |" in SECURITY


def test_the_security_page_names_tests_that_are_there() -> None:
    files = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    named = set(re.findall(r"(?:\w+/)*(test_\w+\.py)", SECURITY))
    assert named - files == set()
    folders = set(re.findall(r"`(tests/\w+)`", SECURITY + ARCHITECTURE + FRAMEWORKS))
    assert [folder for folder in folders if not (ROOT / folder).is_dir()] == []
