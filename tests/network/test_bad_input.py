"""Bad settings: every constructor refuses them, and tells what is accepted."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

import openai
import pytest

from rtllm import ChatClient, Client, ConfigError, Credentials, endpoint
from rtllm.parameters.families import FAMILIES, KNOWN_MODELS, family_of
from rtllm_livekit import LLM, ChatLLM
from rtllm_videosdk import OpenAILLM
from videosdk_adapter.requests import chunks_of, hello

AZURE: dict[str, Any] = {"azure_endpoint": "https://r.openai.azure.com"}
CLASSES: dict[str, Callable[..., Any]] = {
    "livekit": LLM,
    "livekit http": lambda **options: LLM(**{"use_websocket": False, **options}),
    "livekit azure": lambda **options: LLM.with_azure(**AZURE, **options),
    "livekit chat": ChatLLM,
    "livekit azure chat": lambda **options: ChatLLM.with_azure(**AZURE, **options),
    "videosdk": lambda **options: OpenAILLM(**{"streaming": True, **options}),
    "videosdk chat": OpenAILLM,
    "videosdk azure": lambda **options: OpenAILLM.azure(**{**AZURE, "streaming": True, **options}),
    "videosdk azure chat": lambda **options: OpenAILLM.azure(**AZURE, **options),
}
every_class = pytest.mark.parametrize("name", CLASSES)
RESPONSES_ONLY = ("lanes", "warm_connections", "max_connections", "fallback", "chaining", "rebuild")


async def later(_: object) -> None:
    pass


class Later:
    async def __call__(self, _: object) -> None:
        pass


BAD: list[tuple[str, Any, str]] = [
    ("host_profile", "opnai", "expected one of 'openai', .*'groq'.*; did you mean 'openai'?"),
    ("host_profile", "zzz", "expected one of 'openai', .* or a HostProfile$"),
    ("host_profile", 5, "expected one of 'openai'"),
    ("model_family", "gtp-5-mini", "expected .*'gpt-4.1', .*; did you mean 'gpt-5-mini'?"),
    ("model_family", "my-deployment", "expected the name of a known model: 'gpt-3.5-turbo', "),
    ("model_family", 5, "expected the name of a known model"),
    ("lanes", "on", "expected True, False or 'auto'"),
    ("lanes", None, "expected True, False or 'auto'"),
    ("chaining", "yes", "expected True, False or 'auto'"),
    ("warm_connections", -1, "expected 0 or more"),
    ("warm_connections", "2", "expected 0 or more"),
    ("max_connections", 0, "expected 1 or more"),
    ("max_connections", None, "expected 1 or more"),
    ("fallback", "chat", "expected 'http' or None"),
    ("rebuild", "yes", "expected True or False"),
    ("strict_parameters", "yes", "expected True or False"),
    ("on_turn", later, "on_turn is async; expected a plain function"),
    ("on_turn", Later(), "on_turn is async; expected a plain function"),
    ("on_turn", functools.partial(later), "on_turn is async; expected a plain function"),
    ("on_turn", "print", "on_turn is str; expected a function"),
    ("prices", {"gpt-4.1": 2}, "prices is dict; expected Prices or None"),
    ("dialect", {"nothing": "x"}, "expected any of 'strict_tools'"),
    ("think_tags", "yes", "expected one of 'drop'"),
    ("strict_tools", "yes", "expected True, False or None"),
    ("strict_tools", 0, "expected True, False or None"),
    ("dialect", "leading", "expected a mapping, for example"),
    ("store", "yes", "store is 'yes'; expected True"),
    ("model", "", "model is ''; expected the name of a model"),
    ("model", None, "model is None; expected the name of a model"),
]


@every_class
@pytest.mark.parametrize(("keyword", "value", "expected"), BAD)
def test_a_bad_setting_is_refused_with_what_is_accepted(
    name: str, keyword: str, value: Any, expected: str
) -> None:
    if "livekit" in name and "chat" in name and keyword in RESPONSES_ONLY:
        return  # Chat Completions on LiveKit has no such keyword
    pattern = expected.replace("?", r"\?")
    with pytest.raises(ConfigError, match=pattern) as error:
        CLASSES[name](api_key="k", **{keyword: value})
    assert keyword in str(error.value)
    assert isinstance(error.value, ValueError)


@pytest.mark.parametrize("value", ["yes", 1, None])
@pytest.mark.parametrize(
    ("make", "keyword"),
    [(LLM, "use_websocket"), (OpenAILLM, "streaming"), (OpenAILLM, "use_websocket")],
)
def test_a_switch_is_true_or_false(make: Callable[..., Any], keyword: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"{keyword} is {value!r}; expected True or False"):
        make(api_key="k", **{keyword: value})


@pytest.mark.parametrize("make", [ChatLLM, OpenAILLM])
@pytest.mark.parametrize("value", [-1, "2", 1.5])
def test_retries_are_a_count(make: Callable[..., Any], value: Any) -> None:
    with pytest.raises(ConfigError, match=f"max_retries is {value!r}; expected 0 or more"):
        make(api_key="k", max_retries=value)


@pytest.mark.parametrize("name", [name for name in CLASSES if "azure" not in name])
@pytest.mark.parametrize("by_environment", [False, True])
@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("api.openai.com/v1", "has no scheme"),
        ("localhost:8080/v1", "has no scheme"),
        ("ftp://host/v1", "has the scheme 'ftp'"),
        ("https:///v1", "names no host"),
        ("https://host:port/v1", "is not a valid URL"),
        ("https://host/v1#x", "has a fragment"),
    ],
)
def test_a_bad_address_is_refused(
    name: str, address: str, why: str, by_environment: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"base_url": address}
    if by_environment:
        monkeypatch.setenv("OPENAI_BASE_URL", address)
        options = {}
    with pytest.raises(ConfigError, match=why) as error:
        CLASSES[name](api_key="k", **options)
    assert "expected for example 'https://api.openai.com/v1'" in str(error.value)


@pytest.mark.parametrize("name", [name for name in CLASSES if "videosdk" in name])
def test_a_bad_address_of_the_socket_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"wss_url 'host/v1' has no scheme; expected"):
        CLASSES[name](api_key="k", wss_url="host/v1")


def test_a_passed_client_changes_none_of_this() -> None:
    client = openai.AsyncOpenAI(api_key="k", base_url="https://host/v1")
    for make in (LLM, ChatLLM, OpenAILLM):
        with pytest.raises(ConfigError, match="host_profile"):
            make(client=client, host_profile="zzz")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"lanes": "on"}, "lanes is 'on'"),
        ({"websocket": "yes"}, "websocket is 'yes'"),
        ({"on_turn": later}, "on_turn is async"),
        ({"profile": "opnai"}, "did you mean 'openai'"),
        ({"warm_connections": -1}, "warm_connections is -1"),
    ],
)
def test_the_cores_client_refuses_them_too(options: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        Client(endpoint("https://host/v1"), Credentials("k"), **options)
    if options.keys() & {"on_turn", "profile"}:
        with pytest.raises(ConfigError, match=expected):
            ChatClient(object(), **options)


async def test_a_setting_that_is_changed_later_is_checked_by_the_next_request() -> None:
    llm = OpenAILLM(api_key="k")
    llm.model_family = "gtp-5"
    _, error = await chunks_of(llm, hello())
    assert isinstance(error, ConfigError)
    assert "did you mean 'gpt-5'" in str(error)
    await llm.aclose()


def test_the_known_models_cover_every_family() -> None:
    assert {family_of(model) for model in KNOWN_MODELS} == set(FAMILIES)


@pytest.mark.parametrize("family", ["gpt-4.1", "openai/GPT-5-mini-2025-08-07", "ft:gpt-4o:org::1"])
@every_class
def test_a_model_of_a_family_names_it(
    name: str, family: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "rtllm"):
        CLASSES[name](api_key="k", model_family=family)


@every_class
@pytest.mark.parametrize("key", ["schl\u00fcssel", "two\nlines", 5])
def test_a_key_that_no_header_can_have_is_refused_at_once(name: str, key: Any) -> None:
    with pytest.raises(ConfigError, match=r"expected (one line|a non-empty string)") as error:
        CLASSES[name](api_key=key)
    assert str(key) not in str(error.value)


@every_class
def test_a_key_with_the_word_of_the_header_is_refused_at_once(name: str) -> None:
    with pytest.raises(ConfigError, match="begins with 'Bearer '; expected what follows") as error:
        CLASSES[name](api_key="Bearer sk-secret")
    assert "sk-secret" not in str(error.value)


@pytest.mark.parametrize("name", ["livekit", "livekit http", "livekit chat", "videosdk"])
def test_an_address_that_is_not_a_text_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="base_url is of type int; expected for example"):
        CLASSES[name](api_key="k", base_url=5)


def test_a_failure_text_is_a_text() -> None:
    with pytest.raises(ConfigError, match="failure_text is 5; expected a text or None"):
        OpenAILLM(api_key="k", failure_text=5)  # type: ignore[arg-type]
