"""The command as a program: its questions, its exit status, and what it leaves open."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from doctor.runs import KEY
from rtllm.doctor.simulated import simulated_host
from rtllm.simulator import Simulator

pytestmark = pytest.mark.real_time
PROGRAM = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
from rtllm.cli import main
main()
"""
ENVIRONMENT = {
    name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")
}


@dataclass
class Ran:
    status: int
    out: str
    err: str


async def start(
    options: tuple[str, ...],
    environment: Mapping[str, str],
    stdin: int = asyncio.subprocess.DEVNULL,
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM, "doctor", *options),
        stdin=stdin,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**ENVIRONMENT, **environment},
    )


async def end(process: asyncio.subprocess.Process) -> Ran:
    async with asyncio.timeout(40):
        out, err = await process.communicate()
    ran = Ran(process.returncode or 0, out.decode(), err.decode())
    assert "Traceback" not in ran.err
    assert KEY not in ran.out + ran.err
    return ran


async def doctor(*options: str, **environment: str) -> Ran:
    return await end(await start(options, environment))


async def verify(*options: str, **environment: str) -> Ran:
    return await doctor("--verify-protocol", *options, **environment)


def at(service: Simulator, *more: str) -> tuple[str, ...]:
    """The options for a simulated OpenAI."""
    known = ("--host-profile", "openai", "--model", "gpt-4.1")
    return ("--base-url", service.base_url, *known, *more)


@pytest.mark.parametrize("option", [(), ("--verify-protocol",)])
async def test_without_a_key_a_simulated_host_is_shown(
    option: tuple[str, ...],
) -> None:
    ran = await doctor(*option, "--json")
    assert ran.status == 2
    assert "There is no key (OPENAI_API_KEY is not set)" in ran.err
    assert json.loads(ran.out)["keywords"] == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--base-url", "https://h.example/v1"), "set OPENAI_API_KEY"),
        (("--azure",), "set AZURE_OPENAI_API_KEY or AZURE_OPENAI_AD_TOKEN"),
        (("--api-key-env", "MY_KEY"), "set MY_KEY"),
    ],
)
async def test_a_host_that_is_named_needs_a_key(options: tuple[str, ...], said: str) -> None:
    ran = await doctor(*options)
    assert ran.status == 2
    assert said in ran.err
    assert ran.out == ""


async def test_a_simulated_host_can_be_asked_for() -> None:
    ran = await doctor("--simulate", "--json")
    assert (ran.status, json.loads(ran.out)["keywords"]) == (0, [])


async def test_a_run_names_what_to_set_and_exits_with_1() -> None:
    async with simulated_host(api_key=KEY, no_websocket=404) as service:
        ran = await doctor(*at(service, "--yes"), OPENAI_API_KEY=KEY)
    assert ran.status == 1
    assert "Set: `use_websocket=False`." in ran.out
    assert "llm = LLM(" in ran.out
    assert "USD, genai-prices" in ran.err
    assert "USD, genai-prices" in ran.out
    assert "22 requests" in ran.err


async def test_a_wrong_key_is_a_finding() -> None:
    async with simulated_host(api_key="another") as service:
        ran = await doctor(*at(service, "--yes"), OPENAI_API_KEY=KEY)
    assert ran.status == 2
    assert "No turn can succeed: key." in ran.out


OBJECTS = f"""
from openai import AsyncOpenAI
client = AsyncOpenAI(api_key={KEY!r}, base_url="BASE")
async def token():
    return {KEY!r}
"""


@pytest.mark.parametrize(
    ("options", "status"),
    [
        (("--client", "my_agent:client"), 0),
        (("--token-provider", "my_agent:token", "--base-url", "BASE"), 0),
        (("--client", "my_agent:missing"), 2),
    ],
)
async def test_objects_of_the_users_can_be_named(
    options: tuple[str, ...], status: int, tmp_path: Path
) -> None:
    async with simulated_host(api_key=KEY) as service:
        (tmp_path / "my_agent.py").write_text(OBJECTS.replace("BASE", service.base_url))
        way = [option.replace("BASE", service.base_url) for option in options]
        known = ("--host-profile", "openai", "--model", "gpt-4.1", "--yes", "--transport", "http")
        ran = await verify(*way, *known, PYTHONPATH=str(tmp_path))
    assert ran.status == status
    assert ("can't be imported" in ran.err) is (status == 2)


async def test_a_wrong_key_is_one_sentence() -> None:
    async with simulated_host(api_key="another") as service:
        ran = await verify(*at(service, "--yes"), OPENAI_API_KEY=KEY)
    assert ran.status == 2
    assert "Incorrect API key provided. Check the key." in ran.err
    assert ran.out == ""


async def test_an_unknown_model_is_one_sentence() -> None:
    async with simulated_host() as service:
        ran = await verify(*at(service, "--yes", "--model", "gpt-0"), OPENAI_API_KEY=KEY)
    assert ran.status == 2
    assert "Check --model" in ran.err


async def test_no_network_is_one_sentence() -> None:
    async with Simulator() as service:
        closed = at(service, "--yes")
    ran = await verify(*closed, OPENAI_API_KEY=KEY)
    assert ran.status == 2
    assert "connection refused" in ran.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--base-url", "nowhere"), "base_url"),
        (("--base-url", "http://127.0.0.1:9/v1"), "pass --model"),
        (("--host-profile", "opneai"), "did you mean 'openai'?"),
    ],
)
async def test_options_that_can_not_work_are_named(options: tuple[str, ...], said: str) -> None:
    ran = await verify(*options, OPENAI_API_KEY=KEY)
    assert ran.status == 2
    assert said in ran.err


async def test_nothing_is_sent_without_a_terminal_to_ask_on() -> None:
    async with simulated_host() as service:
        ran = await verify(*at(service), OPENAI_API_KEY=KEY)
        assert service.journal.connections == []
    assert ran.status == 2
    assert "54 requests" in ran.err
    assert "pass --yes" in ran.err


@pytest.mark.skipif(sys.platform == "win32", reason="needs a terminal")
@pytest.mark.parametrize(("answer", "status", "requests"), [("n", 2, 0), ("y", 0, 51)])
async def test_it_asks_before_it_sends(answer: str, status: int, requests: int) -> None:
    own, theirs = pty.openpty()
    async with simulated_host(api_key=KEY) as service:
        process = await start(("--verify-protocol", *at(service)), {"OPENAI_API_KEY": KEY}, theirs)
        os.close(theirs)
        os.write(own, f"{answer}\n".encode())
        ran = await end(process)
        os.close(own)
        assert len(service.journal.entries) == requests
    assert ran.status == status
    assert "Send them?" in ran.err


async def test_the_key_may_be_in_another_variable() -> None:
    async with simulated_host(api_key=KEY, lanes="ignore") as service:
        options = at(service, "--yes", "--api-key-env", "MY_KEY", "--transport", "websocket")
        ran = await verify(*options, MY_KEY=KEY)
        missing = await verify(*options)
    assert ran.status == 1
    assert "Set: `lanes=False`." in ran.out
    assert missing.status == 2


async def test_a_query_is_in_no_output() -> None:
    async with simulated_host() as service:
        address = f"{service.base_url}?subscription=hidden-word"
        options = at(service, "--yes", "--transport", "http", "--base-url", address)
        ran = await verify(*options, OPENAI_API_KEY=KEY)
        assert service.journal.entries[0].query["subscription"] == "hidden-word"
    assert ran.status == 0
    assert "hidden-word" not in ran.out + ran.err


@pytest.mark.parametrize("version", [(), ("--api-version", "2025-04-01-preview")])
async def test_azure(version: tuple[str, ...]) -> None:
    async with simulated_host("azure", models=["our-own-deployment"], api_key=KEY) as service:
        ran = await verify(
            *("--azure", "--yes", *version),
            AZURE_OPENAI_ENDPOINT=service.azure_endpoint,
            AZURE_OPENAI_API_KEY=KEY,
            AZURE_OPENAI_DEPLOYMENT="our-own-deployment",
        )
    assert (ran.status, "host: `azure`" in ran.out) == (0, True)
    assert "our-own-deployment" not in ran.out + ran.err


@pytest.mark.skipif(sys.platform == "win32", reason="needs a terminal")
async def test_an_interrupt_ends_the_wait_for_an_answer() -> None:
    own, theirs = pty.openpty()
    async with simulated_host() as service:
        process = await start(at(service), {"OPENAI_API_KEY": KEY}, theirs)
        os.close(theirs)
        assert process.stderr is not None
        await process.stderr.readuntil(b"Send them?")
        process.send_signal(signal.SIGINT)
        ran = await end(process)
        os.close(own)
        assert service.journal.connections == []
    assert ran.status == 130


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--compare",),
        ("--verify-protocol", "--transport", "websocket"),
        ("--verify-protocol", "--transport", "http"),
    ],
)
async def test_an_interrupt_leaves_nothing_open(options: tuple[str, ...]) -> None:
    async with simulated_host(time_to_first=60.0) as service:
        chosen = (*options, *at(service, "--yes"))
        process = await start(chosen, {"OPENAI_API_KEY": KEY})
        entry = (await service.journal.wait_for(1, timeout=60.0))[0]
        process.send_signal(signal.SIGINT)
        ran = await end(process)
        await service.journal.wait(lambda journal: not journal.open_connections)
        assert entry.outcome == "dropped"
    assert ran.status == 130
    assert "interrupted" in ran.err
    assert ran.out == ""
