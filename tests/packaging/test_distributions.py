"""The three distributions: one version, the same pins, and what they promise."""

import importlib
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import rtllm

ROOT = Path(__file__).parents[2]
PACKAGES = ("core", "livekit_adapter", "videosdk_adapter")


def project(package: str) -> dict[str, Any]:
    text = (ROOT / "packages" / package / "pyproject.toml").read_text()
    table: dict[str, Any] = tomllib.loads(text)["project"]
    return table


def test_every_pin_between_our_distributions_is_the_version() -> None:
    pins = [
        requirement
        for package in PACKAGES
        for requirement in (
            *project(package)["dependencies"],
            *(
                r
                for extra in project(package).get("optional-dependencies", {}).values()
                for r in extra
            ),
        )
        if requirement.startswith("rtllm")
    ]
    assert len(pins) == 4
    assert all(pin.endswith(f"=={rtllm.__version__}") for pin in pins), pins


def test_the_three_share_python_versions_and_licence() -> None:
    tables = [project(package) for package in PACKAGES]
    assert {table["requires-python"] for table in tables} == {">=3.11,<3.14"}
    assert {table["license"] for table in tables} == {"Apache-2.0"}
    for package in PACKAGES:
        assert (ROOT / "packages" / package / "LICENSE").read_bytes() == (
            ROOT / "LICENSE"
        ).read_bytes()


def test_each_dependency_says_what_it_is_for() -> None:
    for package in PACKAGES:
        lines = (ROOT / "packages" / package / "pyproject.toml").read_text().splitlines()
        start = lines.index("dependencies = [")
        for line in lines[start + 1 : lines.index("]", start)]:
            assert "rtllm==" in line or "#" in line, line


@pytest.mark.parametrize(
    "name",
    [
        "rtllm",
        "rtllm.adapters",
        "rtllm.doctor",
        "rtllm.otel",
        "rtllm.simulator",
        "rtllm.testing",
        "rtllm.trace",
        "rtllm.usage",
        "rtllm_livekit",
        "rtllm_livekit.testing",
        "rtllm_videosdk",
    ],
)
def test_public_names_exist_and_are_sorted(name: str) -> None:
    module = importlib.import_module(name)
    assert list(module.__all__) == sorted(
        module.__all__, key=lambda n: (not n.isupper(), not n[0].isupper(), n)
    )
    assert all(hasattr(module, public) for public in module.__all__)


@pytest.mark.parametrize("package", ["rtllm", "rtllm_livekit", "rtllm_videosdk"])
def test_each_distribution_is_marked_as_typed(package: str) -> None:
    module = importlib.import_module(package)
    assert (Path(str(module.__file__)).parent / "py.typed").exists()


@pytest.mark.parametrize(
    ("package", "sdk"),
    [
        ("rtllm_livekit", "livekit.agents"),
        ("rtllm_videosdk", "videosdk.agents"),
        ("rtllm.otel", "opentelemetry"),
    ],
)
def test_an_adapter_without_its_sdk_names_the_extra(package: str, sdk: str) -> None:
    hide = (
        "import sys, importlib.abc\n"
        "class Hide(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {sdk!r}: raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Hide())\n"
        f"import {package}\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", hide], capture_output=True, text=True, check=False, timeout=50
    )
    assert f"pip install 'rtllm[{package.removeprefix('rtllm')[1:]}]'" in result.stderr
