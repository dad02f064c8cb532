"""The examples: with a wrong key, no network or an unknown model they end with one sentence."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import typer

from rtllm.simulator import Simulator
from support.examples import loaded

BOTH = ["livekit", "videosdk"]


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "AZURE_OPENAI_ENDPOINT", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="module")
def service() -> Iterator[Simulator]:
    """A simulator on another loop, which accepts the key ``good``."""
    ready, done = threading.Event(), threading.Event()
    found: list[Simulator] = []

    def serve() -> None:
        async def run() -> None:
            async with Simulator(api_key="good") as simulator:
                found.append(simulator)
                ready.set()
                await asyncio.to_thread(done.wait)

        asyncio.run(run())

    server = threading.Thread(target=serve)
    server.start()
    assert ready.wait(20)
    yield found[0]
    done.set()
    server.join()


def sentence_of(name: str, capsys: pytest.CaptureFixture[str], model: str = "gpt-5.6-luna") -> str:
    """What a failing example writes on its standard error."""
    options = {"deployment": None} if "azure" in name else {}
    if name == "livekit/azure.py":
        options["entra"] = None
    module = loaded(name)
    began = time.monotonic()
    with pytest.raises(typer.Exit) as ended:
        module.main(model, **options)
    assert ended.value.exit_code == 1
    assert time.monotonic() - began < 15
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "Traceback" not in said
    return said


@pytest.mark.parametrize("framework", BOTH)
def test_a_wrong_key(
    framework: str,
    service: Simulator,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "bad-key-1")
    monkeypatch.setenv("OPENAI_BASE_URL", service.base_url)
    said = sentence_of(f"{framework}/conversation.py", capsys)
    assert "Incorrect API key" in said
    assert "status 401" in said


@pytest.mark.parametrize("framework", BOTH)
def test_an_unknown_model(
    framework: str,
    service: Simulator,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "good")
    monkeypatch.setenv("OPENAI_BASE_URL", service.base_url)
    said = sentence_of(f"{framework}/conversation.py", capsys, "nothing-5")
    assert "`nothing-5` does not exist" in said


@pytest.mark.parametrize("framework", BOTH)
@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1:9/v1", "127.0.0.1:9/v1/responses: connection refused"),
        ("https://nowhere.invalid/v1", "the host name can't be resolved"),
        ("127.0.0.1:9/v1", "expected for example 'https://api.openai.com/v1'"),
    ],
)
def test_no_connection(
    framework: str,
    url: str,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "any")
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    assert reason in sentence_of(f"{framework}/conversation.py", capsys)


@pytest.mark.parametrize("framework", BOTH)
def test_a_host_that_never_answers(
    framework: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("OPENAI_API_KEY", "any")
        monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{silent.getsockname()[1]}/v1")
        said = sentence_of(f"{framework}/conversation.py", capsys)
    assert "no response within 8 s" in said


@pytest.mark.parametrize("framework", BOTH)
def test_a_wrong_key_on_azure(
    framework: str,
    service: Simulator,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "bad-key-1")
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", service.azure_endpoint)
    said = sentence_of(f"{framework}/azure.py", capsys)
    assert "status 401" in said


@pytest.mark.parametrize("framework", BOTH)
def test_an_endpoint_without_a_scheme_on_azure(
    framework: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "any")
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "my-resource.openai.azure.com")
    said = sentence_of(f"{framework}/azure.py", capsys)
    assert "azure_endpoint 'my-resource.openai.azure.com' is not a valid URL" in said
