"""Hosts that lack one thing each: the examination finds which, and names the keyword."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI

from doctor.runs import KEY, MODEL, ON, differing, examined, meaning, seen, target_at, verdicts
from network.certificates import Authority
from network.proxy import Proxy
from network.relay import Relay
from rtllm.content.usage import Usage
from rtllm.doctor import (
    QUESTIONS,
    SUBJECTS,
    Report,
    Target,
    cost_of_diagnosis,
    diagnose,
    target_of,
    to_data,
    to_markdown,
)
from rtllm.doctor.judgements import conversation as talk
from rtllm.doctor.judgements.versions import judge_versions
from rtllm.doctor.simulated import simulated_host
from rtllm.providers.config import resolve_provider
from rtllm.simulator import (
    HOSTS,
    DelayHandshake,
    ErrorFrame,
    RefuseHandshake,
    Request,
    Simulator,
)
from rtllm_livekit import LLM
from rtllm_videosdk import OpenAILLM

STORED = "store=True (if stored-elsewhere holds), or chaining=False"
WARM_UP = "rebuild=False (the default), and no Client.warm_up"
CHAT = "rtllm_livekit.ChatLLM, or rtllm_videosdk.OpenAILLM without streaming=True"
FASTER = 'service_tier="priority", a smaller model, or a region that is nearer'


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)


def wrong(report: Report) -> list[str]:
    """The names of what fails or differs."""
    return [each.name for each in report.findings if each.verdict in ("fails", "differs")]


def keyword(report: Report, name: str) -> str:
    return next(each.keyword for each in report.findings if each.name == name)


async def test_nothing_is_wrong_with_a_host_like_openai() -> None:
    report = await examined()
    assert wrong(report) == []
    assert report.exit_status == 0
    unchecked = {name for name, verdict in verdicts(report).items() if verdict != "holds"}
    assert unchecked == set()
    assert set(verdicts(report)) >= set(SUBJECTS) - {"chat"}


@pytest.mark.parametrize("host", ["azure", "xai", "vercel", "litellm"])
async def test_nothing_is_wrong_with_known_hosts(host: str) -> None:
    report = await examined(host, **HOSTS[host])
    assert differing(report) == {}
    assert report.exit_status == 0


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"no_websocket": 404}, {"websocket": "use_websocket=False"}),
        ({"no_responses": 404}, {"http": "fallback=None"}),
        ({"lanes": "off"}, {"lanes": "lanes=False"}),
        ({"remembers": "nothing"}, {"parent-kept": STORED, "warm-up": WARM_UP}),
        ({"manners": ["no generate"]}, {"warm-up": WARM_UP}),
        ({"manners": ["no strict tools"]}, {"tools": "strict_tools=False"}),
        ({"manners": ["vague misses"]}, {"unknown-parent": "chaining=False"}),
        ({"time_to_first": 3.0}, {"first-word-warm": FASTER}),
        (
            {"cache_minimum": 10**9},
            {"prompt-cache": 'parameters={"prompt_cache_key": "…"}'},
        ),
        (
            {"on_connect": lambda _: DelayHandshake(2.0)},
            {"first-word-cold": "prewarm() when the process starts"},
        ),
        ({"no_websocket": 404, "no_responses": 404}, {"chat": CHAT}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else None,
)
async def test_what_a_host_lacks_is_named_with_its_keyword(
    options: dict[str, Any], expected: dict[str, str]
) -> None:
    report = await examined(**options)
    assert differing(report) == expected
    assert wrong(report) == list(expected)
    assert report.exit_status == 1


async def test_a_wrong_key_fails() -> None:
    report = await examined(api_key="another")
    assert wrong(report) == ["key"]
    assert "Incorrect API key" in report.verdict
    assert report.exit_status == 2


async def test_a_wrong_key_where_there_is_no_websocket() -> None:
    assert wrong(await examined(api_key="another", no_websocket=404)) == ["key"]


async def test_an_empty_account() -> None:
    empty = ErrorFrame(code="insufficient_quota", status=429, message="You exceeded your quota.")
    report = await examined(fault=empty)
    assert wrong(report) == ["key"]
    assert "no credit" in meaning(report, "key")


async def test_a_busy_host_is_not_a_wrong_key() -> None:
    busy = RefuseHandshake(429, {"error": {"message": "Too many.", "code": "slow_down"}})
    report = await examined(on_connect=lambda _: busy)
    assert wrong(report) == ["model"]
    assert "try again later" in meaning(report, "model")


async def test_an_unknown_model_gets_the_nearest_one_that_is_listed() -> None:
    report = await examined(model="gpt-5.6-lunar")
    assert wrong(report) == ["model"]
    assert keyword(report, "model") == 'model="gpt-5.6-luna"'
    assert "did you mean 'gpt-5.6-luna'?" in meaning(report, "model")


async def test_a_deployment_is_not_compared_with_the_models_that_are_listed() -> None:
    async with simulated_host("azure", models=["our-own-deployment"]) as service:
        config = replace(
            resolve_provider(api_key=KEY, base_url=service.base_url),
            azure=True,
            deployment="our-own-deploymnet",
        )
        report = await diagnose(target_of(config, MODEL), on=ON)
    assert wrong(report) == ["model"]
    assert "did you mean" not in meaning(report, "model")


async def test_a_model_that_fails_only_in_conversations() -> None:
    def plan(request: Request) -> ErrorFrame | None:
        is_long = "Rule 7:" in str(request.body)
        return ErrorFrame(code="server_error", status=500, message="no") if is_long else None

    report = await examined(fault=plan)
    assert wrong(report) == ["model"]
    assert (report.exit_status, report.suggestion) == (2, "")
    assert [each.name for each in report.findings].count("model") == 1


async def test_a_key_function_that_never_returns() -> None:
    async def never() -> str:
        await asyncio.Event().wait()
        return KEY

    async with simulated_host() as service:
        report = await diagnose(target_at(service, api_key=never), on=ON)
    assert wrong(report) == ["model"]
    assert "waited 7 s" in seen(report, "model")


async def test_a_clock_that_is_off() -> None:
    async with simulated_host() as service:
        report = await diagnose(target_at(service), on=ON, now=lambda: time.time() - 400)
    assert wrong(report) == ["clock"]
    assert seen(report, "clock").endswith("s behind the host's")


def at(url: str, **config: Any) -> Target:
    return target_of(resolve_provider(api_key=KEY, base_url=url, **config), MODEL, "openai")


async def test_a_name_that_is_not_known() -> None:
    report = await diagnose(at("https://no-such-host.invalid/v1"), on=ON)
    assert wrong(report) == ["dns"]
    assert report.exit_status == 2
    assert verdicts(report)["key"] == "not checked"


async def test_a_port_that_nothing_listens_on() -> None:
    async with Simulator() as service:
        url = service.base_url
    report = await diagnose(at(url), on=ON)
    assert wrong(report) == ["connection"]
    assert seen(report, "connection") == "connection refused"


@dataclass
class Secure:
    """A simulated host with TLS, and the authority of its certificate."""

    url: str
    file: Path


@asynccontextmanager
async def secure(tmp_path: Path, kind: str = "right") -> AsyncIterator[Secure]:
    authority = Authority()
    async with (
        simulated_host() as service,
        Relay(service.base_url, tls=getattr(authority, kind)()) as relay,
    ):
        yield Secure(relay.base_url, authority.write(tmp_path / "ca.pem"))


async def test_a_certificate_of_an_authority_that_is_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with secure(tmp_path) as host:
        report = await diagnose(at(host.url), on=ON)
        monkeypatch.setenv("SSL_CERT_FILE", str(host.file))
        trusted = await diagnose(at(host.url), on=ON)
    assert wrong(report) == ["tls"]
    assert keyword(report, "tls").startswith("SSL_CERT_FILE=")
    assert wrong(trusted) == []
    assert seen(trusted, "tls").startswith("TLSv1.")


@pytest.mark.parametrize(
    ("kind", "said"), [("expired", "clock is wrong"), ("wrong_name", "for another host")]
)
async def test_a_certificate_that_is_not_valid(
    kind: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with secure(tmp_path, kind) as host:
        monkeypatch.setenv("SSL_CERT_FILE", str(host.file))
        report = await diagnose(at(host.url), on=ON)
    assert wrong(report) == ["tls"]
    assert said in meaning(report, "tls")


async def test_a_proxy_that_lets_connections_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with secure(tmp_path) as host, Proxy(host.url, user="me:hunter2") as proxy:
        monkeypatch.setenv("SSL_CERT_FILE", str(host.file))
        report = await diagnose(at(host.url, proxy=proxy.url), on=ON)
        assert seen(report, "proxy") == proxy.address
    assert wrong(report) == []
    assert "hunter2" not in to_markdown(report)


@pytest.mark.parametrize("status", [403, 407])
async def test_a_proxy_that_refuses(
    status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with secure(tmp_path) as host, Proxy(refuse=status) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        report = await diagnose(at(host.url), on=ON)
    assert wrong(report) == ["proxy"]
    assert f"status {status}" in seen(report, "proxy")
    assert ("PASSWORD" in keyword(report, "proxy")) is (status == 407)


async def test_a_proxy_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Proxy() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    report = await diagnose(at("https://api.openai.com/v1"), on=ON)
    assert wrong(report) == ["connection"]


async def test_a_proxy_of_another_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5://127.0.0.1:9")
    report = await diagnose(at("https://api.openai.com/v1"), on=ON)
    assert wrong(report) == ["proxy"]


def test_versions_that_do_not_fit() -> None:
    wanted = {"rtllm-livekit": ["rtllm==1.2.0", "livekit-agents>=1.8.9", "x>=9; extra == 'x'"]}
    fits = {"rtllm": "1.2", "rtllm-livekit": "1.2.0", "livekit-agents": "1.10.0rc1", "x": "1"}
    assert judge_versions(fits, wanted).verdict == "holds"
    old = judge_versions({**fits, "livekit-agents": "1.8.8"}, wanted)
    assert (old.verdict, "livekit-agents>=1.8.9, but 1.8.8" in old.seen) == ("differs", True)
    assert judge_versions({**fits, "rtllm": "1.3.0"}, wanted).verdict == "differs"


# -- what it suggests, costs and leaves ------------------------------------------------------------


def keywords_of(constructor: type) -> Callable[..., dict[str, Any]]:
    """What a constructor would be called with; it must accept that."""
    return lambda **keywords: inspect.signature(constructor).bind(**keywords).arguments


@pytest.mark.parametrize(
    ("profile", "options", "code"),
    [
        ("openai", {}, 'host_profile="openai"'),
        ("openai", {"lanes": "ignore"}, 'HostProfile("openai", model_in_query=False, keeps_par'),
        (None, {"lanes": "on"}, 'HostProfile("127.0.0.1", lanes=True)'),
        (None, {"lanes": "off"}, 'HostProfile("127.0.0.1")'),
        (
            None,
            {"lanes": "off", "manners": ["hides parents"]},
            'HostProfile("127.0.0.1", keeps_parents=True)',
        ),
        (
            None,
            {"no_websocket": 404, "manners": ["no strict tools"]},
            'HostProfile("127.0.0.1", memory="stored")',
        ),
        (None, {"lanes": "off", "manners": ["no parent"]}, 'memory="none"'),
    ],
    ids=str,
)
async def test_the_suggestion_is_code_that_works_on_the_host(
    profile: str | None, options: dict[str, Any], code: str
) -> None:
    async with simulated_host(**options) as service:
        report = await diagnose(target_at(service, profile), on=ON)
        assert code in report.suggestion
        names: dict[str, Any] = {each.__name__: keywords_of(each) for each in (LLM, OpenAILLM)}
        exec(report.suggestion, names)  # noqa: S102 - what users paste
        chosen = names["llm"]
        again = await diagnose(target_at(service, chosen["host_profile"]), on=ON)
    assert set(differing(again)) <= {"websocket", "tools", "warm-up"}  # a profile has none of them
    for name, value in (("use_websocket", "no_websocket"), ("strict_tools", "manners")):
        if "no strict tools" in options.get("manners", ()):
            assert value in options
            assert chosen[name] is False


async def test_the_estimate_of_an_examination_names_every_request() -> None:
    async with simulated_host() as service:
        target = target_at(service)
        estimate = cost_of_diagnosis(target)
        report = await diagnose(target, on=ON)
        sent = len(service.journal.entries)
        counted = [entry.usage for entry in service.journal.entries if entry.usage is not None]
    assert (
        report.totals.attempts == sent == estimate.requests - 1
    )  # tools are asked for once more if need be
    assert report.totals.input == sum(each["input_tokens"] for each in counted)
    assert report.totals.output == sum(each["output_tokens"] for each in counted)
    assert report.totals.input / 2 < estimate.input_tokens < 2 * report.totals.input
    assert report.totals.output <= estimate.output_tokens <= estimate.most_output


async def test_an_interrupt_while_the_models_are_listed_leaves_nothing_open() -> None:
    def interrupted() -> float:
        raise asyncio.CancelledError

    async with simulated_host() as service:
        target = target_at(service)
        with pytest.raises(asyncio.CancelledError):
            await diagnose(target, on=ON, now=interrupted)
    assert target.clients.get().is_closed()


async def test_a_client_of_the_users_stays_open() -> None:
    async with simulated_host(api_key=KEY) as service:
        client = AsyncOpenAI(api_key=KEY, base_url=service.base_url)
        for config in (
            resolve_provider(client=client),
            resolve_provider(api_key=lambda: KEY, base_url=service.base_url),
        ):
            assert wrong(await diagnose(target_of(config, MODEL, "openai"), on=ON)) == []
        assert not client.is_closed()
        await client.close()


async def test_the_data_has_the_suggestion() -> None:
    report = await examined(no_websocket=404)
    data, text = to_data(report), to_markdown(report)
    assert data["verdict"] == "Not as expected: websocket. Set: `use_websocket=False`."
    assert all(line in text for line in data["suggestion"].splitlines())
    assert "use_websocket=False" in data["suggestion"]
    assert {each["name"] for each in data["findings"]} == set(verdicts(report))
    assert text.startswith("# rtllm doctor\n")


def test_no_subject_has_the_name_of_a_question() -> None:
    assert set(SUBJECTS) & set(QUESTIONS) == set()


# -- judgements that no simulated host needs -------------------------------------------------------

QUICK = talk.Turn(0.4, reused=True, chained=True, usage=Usage(2000, 10, 1500))
SLOW = talk.Turn(3.0, reused=True, chained=True, usage=Usage(2000, 10, 0))


def test_a_conversation_on_a_host_that_is_slow_in_one_kind_of_turn() -> None:
    assert talk.judge_chained(SLOW, QUICK).keyword == "chaining=False"
    assert talk.judge_barge_in(SLOW, QUICK, has_lanes=False).keyword == "warm_connections=2"
    assert talk.judge_barge_in(SLOW, QUICK, has_lanes=True).verdict == "differs"
    assert talk.judge_chained(QUICK, QUICK).verdict == "holds"


def test_a_turn_that_failed_tells_no_time() -> None:
    failed = talk.Turn(error="It broke.")
    for finding in (
        talk.judge_cold(failed, QUICK),
        talk.judge_warm(failed),
        talk.judge_chained(failed, QUICK),
        talk.judge_chained(talk.Turn(0.4, unchained_because="no chaining here"), QUICK),
        talk.judge_barge_in(failed, QUICK, has_lanes=True),
        talk.judge_cache([failed], takes_key=True),
        talk.judge_cache([talk.Turn(0.4, usage=Usage(2000, 10))], takes_key=True),
        talk.judge_cache([talk.Turn(0.4, usage=Usage(900, 10, 0))], takes_key=True),
    ):
        assert finding.verdict == "not checked"


def test_a_model_that_calls_no_tool() -> None:
    words = talk.judge_tools(talk.ToolTurn(other="12 characters of text"), None)
    assert (words.verdict, words.keyword) == ("differs", "model=")
    broken = talk.ToolTurn(error="no tools")
    assert talk.judge_tools(broken, broken).keyword == "model="


async def test_a_finding_never_has_the_key() -> None:
    refused = RefuseHandshake(401, {"error": {"message": f"Bad key {KEY}"}})

    def plan(request: Request) -> None:
        raise AssertionError("nothing is sent")

    report = await examined(on_connect=lambda _: refused, fault=plan, no_responses=404)
    assert KEY not in to_markdown(report)
