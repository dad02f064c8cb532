"""Proxies and certificates, of every class, over the socket and over HTTP.

The host is `https://model.example`, which only the proxy can find, with a certificate of the
tests' own authority.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import openai
import pytest
from livekit.agents import job as livekit_job

from network.certificates import Authority
from network.proxy import Proxy
from network.relay import Relay
from network.requests import ask, closing
from rtllm import ChatClient, Client, ConfigError, Credentials, endpoint
from rtllm.simulator import Simulator, echo
from rtllm_livekit import LLM, ChatLLM
from rtllm_videosdk import OpenAILLM

KEY = "sk-secret-1"
URL = "https://model.example/v1"
AZURE = "https://model.example"
PASSWORD = "hunter2"


def azure(make: Callable[..., Any], **fixed: Any) -> Callable[..., Any]:
    def made(*, base_url: str, api_key: str, **options: Any) -> Any:
        endpoint = base_url.removesuffix("/v1")
        return make(model="gpt-4.1", azure_endpoint=endpoint, api_key=api_key, **fixed, **options)

    return made


SOCKETS: dict[str, Callable[..., Any]] = {
    "livekit": LLM,
    "livekit azure": azure(LLM.with_azure),
    "videosdk": lambda **options: OpenAILLM(streaming=True, **options),
    "videosdk azure": azure(OpenAILLM.azure, streaming=True),
}
OVER_HTTP: dict[str, Callable[..., Any]] = {
    "livekit responses": lambda **options: LLM(use_websocket=False, **options),
    "livekit chat": ChatLLM,
    "livekit azure chat": azure(ChatLLM.with_azure),
    "livekit azure dated": azure(ChatLLM.with_azure, api_version="2024-10-21"),
    "livekit azure responses": azure(LLM.with_azure, use_websocket=False),
    "videosdk responses": lambda **options: OpenAILLM(
        streaming=True, use_websocket=False, **options
    ),
    "videosdk chat": OpenAILLM,
    "videosdk azure chat": azure(OpenAILLM.azure),
}
ALL = {**SOCKETS, **OVER_HTTP}
AZURE_MAKERS: dict[str, Callable[..., Any]] = {
    "livekit azure": partial(LLM.with_azure, model="gpt-4.1"),
    "livekit azure chat": partial(ChatLLM.with_azure, model="gpt-4.1"),
    "livekit azure dated": partial(ChatLLM.with_azure, model="gpt-4.1", api_version="2024-10-21"),
    "livekit azure responses": partial(LLM.with_azure, model="gpt-4.1", use_websocket=False),
    "videosdk azure": partial(OpenAILLM.azure, model="gpt-4.1", streaming=True),
    "videosdk azure chat": partial(OpenAILLM.azure, model="gpt-4.1"),
}
every_class = pytest.mark.parametrize("name", ALL)
every_socket = pytest.mark.parametrize("name", SOCKETS)


@dataclass
class Host:
    """The host and the authority of its certificate."""

    service: Simulator
    relay: Relay
    authority: Authority
    file: Path


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    authority = Authority()
    async with (
        Simulator(echo(), lanes="on") as service,
        Relay(service.base_url, tls=authority.right("model.example")) as relay,
    ):
        yield Host(service, relay, authority, authority.write(tmp_path / "ca.pem"))


@pytest.fixture
def trusted(host: Host, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setenv("SSL_CERT_FILE", str(host.file))
    return host


@every_class
async def test_a_proxy_keyword_is_used(name: str, trusted: Host) -> None:
    async with Proxy(trusted.relay.base_url, user=f"me:{PASSWORD}") as proxy:
        model = ALL[name](base_url=URL, api_key=KEY, proxy=proxy.url)
        async with closing(model):
            assert await ask(model) == "You said: Hello"
        assert set(proxy.connects) == {"model.example:443"}
        assert PASSWORD not in f"{model!r} {vars(model)}"


@every_class
async def test_the_environments_proxy_is_used(
    name: str, trusted: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Proxy(trusted.relay.base_url) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.address)
        async with closing(ALL[name](base_url=URL, api_key=KEY)) as model:
            assert await ask(model) == "You said: Hello"
        assert set(proxy.connects) == {"model.example:443"}


@every_class
async def test_the_keyword_wins_over_the_environment(
    name: str, trusted: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "*")
    async with Proxy(trusted.relay.base_url) as proxy:
        async with closing(ALL[name](base_url=URL, api_key=KEY, proxy=proxy.url)) as model:
            assert await ask(model) == "You said: Hello"
        assert proxy.connects


@pytest.mark.parametrize("name", AZURE_MAKERS)
@pytest.mark.parametrize("place", ["keyword", "environment"])
async def test_a_token_goes_through_a_proxy_whose_password_has_signs(
    name: str, place: str, trusted: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Proxy(trusted.relay.base_url, user="me:p%40ss%2Fw%3Ard") as proxy:
        options = {"proxy": proxy.url} if place == "keyword" else {}
        if place == "environment":
            monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        model = AZURE_MAKERS[name](
            azure_endpoint=AZURE, azure_ad_token_provider=lambda: "entra-token", **options
        )
        async with closing(model):
            assert await ask(model) == "You said: Hello"
        assert set(proxy.connects) == {"model.example:443"}
        service = trusted.service.journal
        sent = [c.headers for c in service.connections] or [e.headers for e in service.entries]
        assert {headers["Authorization"] for headers in sent} == {"Bearer entra-token"}


@pytest.mark.parametrize("name", AZURE_MAKERS)
@pytest.mark.parametrize("entry", ["*", "localhost", ".localhost:{port}, other", "127.0.0.0/8"])
async def test_each_form_of_no_proxy_is_understood(
    name: str, entry: str, trusted: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = trusted.relay.base_url.rpartition(":")[2].partition("/")[0]
    address = "127.0.0.1" if "/" in entry else "localhost"
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", entry.format(port=port))
    model = AZURE_MAKERS[name](azure_endpoint=f"https://{address}:{port}", api_key=KEY)
    async with closing(model):
        assert await ask(model) == "You said: Hello"


@every_class
async def test_no_proxy_is_respected(
    name: str, trusted: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "example.com 127.0.0.0/8")  # other forms: test_environment.py
    async with closing(ALL[name](base_url=trusted.relay.base_url, api_key=KEY)) as model:
        assert await ask(model) == "You said: Hello"


@pytest.mark.parametrize("name", [name for name in ALL if name.startswith("livekit")])
@pytest.mark.parametrize("passed_by", [False, True])
async def test_the_jobs_proxy_is_used_unless_no_proxy_names_the_host(
    name: str, passed_by: bool, trusted: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Proxy(trusted.relay.base_url) as proxy:
        if passed_by:
            monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        job: Any = SimpleNamespace(
            proc=SimpleNamespace(http_proxy=proxy.url),
            job=SimpleNamespace(room=SimpleNamespace(sid="", name=""), id=""),
        )
        token = livekit_job._JobContextVar.set(job)
        try:
            url = trusted.relay.base_url if passed_by else URL
            async with closing(ALL[name](base_url=url, api_key=KEY)) as model:
                assert await ask(model) == "You said: Hello"
        finally:
            livekit_job._JobContextVar.reset(token)
        assert bool(proxy.connects) is not passed_by


@every_class
async def test_certificates_of_the_environment_are_trusted(
    name: str, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = host.relay.base_url
    async with closing(ALL[name](base_url=url, api_key=KEY)) as model:
        with pytest.raises(Exception, match=r"certificate is not trusted"):
            await ask(model)
    monkeypatch.setenv("SSL_CERT_FILE", str(host.file))
    async with closing(ALL[name](base_url=url, api_key=KEY)) as model:
        assert await ask(model) == "You said: Hello"


@pytest.fixture
def folder(host: Host, tmp_path: Path) -> Path:
    """A folder of certificates, named by their hashes as OpenSSL wants them."""
    if (program := shutil.which("openssl")) is None:
        pytest.skip("openssl, which names the files of such a folder, is not installed")
    folder = tmp_path / "folder"
    folder.mkdir()
    hashed = subprocess.check_output([program, "x509", "-hash", "-noout", "-in", str(host.file)])
    (folder / f"{hashed.decode().strip()}.0").write_bytes(host.file.read_bytes())
    return folder


@pytest.mark.parametrize("name", ["livekit", "videosdk", "videosdk chat"])
async def test_a_folder_of_certificates_is_trusted(
    name: str, host: Host, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_DIR", str(folder))
    async with closing(ALL[name](base_url=host.relay.base_url, api_key=KEY)) as model:
        assert await ask(model) == "You said: Hello"


@every_class
async def test_a_missing_file_of_certificates_is_named(
    name: str, host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "missing.pem"))
    with pytest.raises(Exception, match=r"SSL_CERT_FILE is '.*missing.pem'.*No such file"):
        async with closing(ALL[name](base_url=host.relay.base_url, api_key=KEY)) as model:
            await ask(model)


# -- a client of the user's ---------------------------------------------------------------------


def lent(host: Host, *, proxy: str | None = None, **options: Any) -> openai.AsyncOpenAI:
    http = httpx2.AsyncClient(verify=host.authority.trusting(), proxy=proxy, **options)
    url = URL if proxy else host.relay.base_url
    return openai.AsyncOpenAI(api_key=KEY, base_url=url, http_client=http)


LENT: dict[str, Callable[..., Any]] = {
    "livekit": LLM,
    "livekit http": lambda **options: LLM(use_websocket=False, **options),
    "livekit chat": ChatLLM,
    "videosdk": lambda **options: OpenAILLM(streaming=True, **options),
    "videosdk chat": OpenAILLM,
}


@pytest.mark.parametrize("name", LENT)
async def test_a_clients_own_authority_is_trusted(name: str, host: Host) -> None:
    async with lent(host) as client:
        async with closing(LENT[name](client=client)) as model:
            assert await ask(model) == "You said: Hello"
        assert bool(host.service.journal.connections) is (name in ("livekit", "videosdk"))


@pytest.mark.parametrize("name", LENT)
async def test_a_clients_own_proxy_is_used(name: str, host: Host) -> None:
    async with Proxy(host.relay.base_url, user=f"m%40e:{PASSWORD}%2F") as proxy:
        client = lent(host, proxy=proxy.url)
        async with client, closing(LENT[name](client=client)) as model:
            assert await ask(model) == "You said: Hello"
        assert set(proxy.connects) == {"model.example:443"}


@pytest.mark.parametrize("name", ["livekit", "videosdk"])
async def test_a_client_that_ignores_the_environment_ignores_it_on_the_socket_too(
    name: str, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    async with lent(host, trust_env=False) as client, closing(LENT[name](client=client)) as model:
        assert await ask(model) == "You said: Hello"


@pytest.mark.parametrize("name", ["livekit", "videosdk"])
async def test_a_proxy_with_a_client_is_for_the_socket(name: str, host: Host) -> None:
    async with Proxy(host.relay.base_url) as proxy, lent(host) as client:
        model = LENT[name](client=client, proxy=proxy.url)
        async with closing(model):
            assert await ask(model) == "You said: Hello"
        assert proxy.connects


@pytest.mark.parametrize("name", ["livekit http", "livekit chat", "videosdk chat"])
async def test_a_proxy_that_a_clients_requests_would_not_use_is_refused(name: str) -> None:
    client = openai.AsyncOpenAI(api_key=KEY, base_url=URL)
    with pytest.raises(ConfigError, match="proxy and client are both set"):
        LENT[name](client=client, proxy="http://proxy:3128")


@pytest.mark.parametrize("transport", [None, httpx2.MockTransport(lambda _: httpx2.Response(500))])
async def test_a_client_whose_network_cant_be_read_leaves_the_environments(
    transport: Any, trusted: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    client: Any = SimpleNamespace(base_url=URL, api_key=KEY)
    if transport is not None:
        http = httpx2.AsyncClient(transport=transport)
        client = openai.AsyncOpenAI(api_key=KEY, base_url=URL, http_client=http)
    async with Proxy(trusted.relay.base_url) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        async with closing(LLM(client=client)) as model:
            assert await ask(model) == "You said: Hello"


# -- refusals -----------------------------------------------------------------------------------


@every_class
@pytest.mark.parametrize("status", [407, 403])
async def test_a_proxy_that_refuses_is_named_without_its_password(
    name: str, status: int, trusted: Host
) -> None:
    async with Proxy(trusted.relay.base_url, refuse=status) as proxy:
        url = f"http://me:{PASSWORD}@{proxy.address}"
        async with closing(ALL[name](base_url=URL, api_key=KEY, proxy=url)) as model:
            with pytest.raises(Exception, match=rf"proxy {proxy.address} refused.*{status}") as e:
                await ask(model)
        assert PASSWORD not in repr(e.value)
        assert len(proxy.lines) == 1  # it would refuse again
        assert ("user and the password" in str(e.value)) is (status == 407)


@every_class
async def test_a_proxy_of_a_plain_host_that_refuses_is_named(name: str) -> None:
    async with Proxy(refuse=407) as proxy:
        model = ALL[name](base_url="http://model.example/v1", api_key=KEY, proxy=proxy.url)
        async with closing(model):
            with pytest.raises(Exception, match=rf"proxy {proxy.address} refused.*407"):
                await ask(model)


@every_class
async def test_a_proxy_that_is_not_there_is_named(name: str) -> None:
    model = ALL[name](base_url=URL, api_key=KEY, proxy=f"http://me:{PASSWORD}@127.0.0.1:9")
    async with closing(model):
        with pytest.raises(Exception, match=r"proxy 127\.0\.0\.1:9") as error:
            await ask(model)
    assert PASSWORD not in repr(error.value)


@every_socket
async def test_a_socks_proxy_in_the_environment_is_refused_in_words(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", f"socks5://me:{PASSWORD}@proxy:1080")
    async with closing(SOCKETS[name](base_url=URL, api_key=KEY)) as model:
        with pytest.raises(Exception, match="proxy proxy:1080 has the scheme 'socks5'") as error:
            await ask(model)
    assert PASSWORD not in repr(error.value)


BAD_PROXIES: dict[str, Any] = {
    "no scheme": f"me:{PASSWORD}@proxy:3128",
    "socks5": f"socks5://me:{PASSWORD}@proxy",
    "no host": f"http://me:{PASSWORD}@:3128",
    "not a valid URL": f"http://me:{PASSWORD}@proxy:port",
    "no scheme; expected None": "",
    "type int": 3128,
}


@every_class
@pytest.mark.parametrize("why", BAD_PROXIES)
async def test_a_bad_proxy_is_refused_when_it_is_given(name: str, why: str) -> None:
    with pytest.raises(ConfigError, match=r"expected None or a URL.*http or https") as error:
        ALL[name](base_url=URL, api_key=KEY, proxy=BAD_PROXIES[why])
    assert PASSWORD not in str(error.value)
    assert str(error.value).startswith("proxy ")
    assert why.partition(";")[0] in str(error.value)


def test_the_cores_client_refuses_it_too() -> None:
    with pytest.raises(ConfigError, match="proxy has no scheme"):
        Client(endpoint(URL), Credentials(KEY), proxy="proxy:3128")
    client = Client(endpoint(URL), Credentials(KEY), proxy=f"http://me:{PASSWORD}@proxy")
    assert PASSWORD not in f"{client!r} {vars(client)}"
    assert "proxy" not in ChatClient.__init__.__annotations__  # its make_client has one
