"""Addresses that follow from a base URL, and what is known of hosts."""

import pytest

from rtllm.errors import ConfigError
from rtllm.providers.hosts import endpoint, profile_of


@pytest.mark.parametrize(
    ("base_url", "url"),
    [
        (None, "wss://api.openai.com/v1/responses"),
        ("", "wss://api.openai.com/v1/responses"),
        ("https://h/v1", "wss://h/v1/responses"),
        ("https://h/v1/", "wss://h/v1/responses"),
        (" https://h/v1 ", "wss://h/v1/responses"),
        ("http://localhost:8080", "ws://localhost:8080/responses"),
        ("ws://h:1/v1", "ws://h:1/v1/responses"),
        ("wss://h/v1/responses", "wss://h/v1/responses"),
        ("wss://h/v1/responses/", "wss://h/v1/responses"),
        ("https://h/v1?a=1&b=", "wss://h/v1/responses?a=1&b="),
        ("https://h/v1/responses?a=x%20y", "wss://h/v1/responses?a=x+y"),
        ("http://[::1]:80/v1", "ws://[::1]:80/v1/responses"),
    ],
)
def test_the_sockets_address_follows_from_the_base_url(base_url: str | None, url: str) -> None:
    assert endpoint(base_url).url == url


def test_a_query_argument_wins_over_the_addresss() -> None:
    assert endpoint("https://h/v1?a=1&b=2", {"a": "3"}).url == "wss://h/v1/responses?a=3&b=2"


@pytest.mark.parametrize(
    ("base_url", "says"),
    [
        ("ftp://h/v1", "scheme"),
        ("h/v1", "scheme"),
        ("https:///v1", "no host"),
        ("https://h/v1#part", "fragment"),
        ("https://h:port/v1", "not a valid URL"),
        ("https://[::1/v1", "not a valid URL"),
    ],
)
def test_an_address_that_cannot_work_is_refused(base_url: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        endpoint(base_url)


@pytest.mark.parametrize(
    "base_url",
    [
        "https://user:hunter2@h/v1",
        "https://hunter2@h/v1",
        "ftp://user:hunter2@h/v1",
        "https://user:hunter2@/v1",
        "https://user:hunter2@h/v1#part",
        "https://user:hunter2@h:port/v1",
        "https://user:hunter2@[::1/v1",
    ],
)
def test_credentials_in_an_address_are_refused_and_never_repeated(base_url: str) -> None:
    with pytest.raises(ConfigError) as raised:
        endpoint(base_url)
    assert "hunter2" not in str(raised.value)
    assert raised.value.__cause__ is None


@pytest.mark.parametrize(
    ("host", "name", "lanes", "model_in_query"),
    [
        ("api.openai.com", "openai", True, False),
        ("API.OpenAI.com.", "openai", True, False),
        ("mine.openai.azure.com", "azure", False, False),
        ("mine.openai.azure.us", "azure", False, False),
        ("api.x.ai", "xai", False, False),
        ("ai-gateway.vercel.sh", "vercel", False, False),
        ("notapi.openai.com", "notapi.openai.com", False, True),
        ("api.openai.com.evil.test", "api.openai.com.evil.test", False, True),
        ("openai.azure.com", "openai.azure.com", False, True),
    ],
)
def test_hosts_are_known_by_their_whole_name(
    host: str, name: str, *, lanes: bool, model_in_query: bool
) -> None:
    profile = profile_of(host)
    assert (profile.name, profile.lanes, profile.model_in_query) == (name, lanes, model_in_query)


def test_vercels_frames_are_smaller() -> None:
    assert profile_of("ai-gateway.vercel.sh").max_frame == 4 * 2**20 - 1
    assert profile_of("api.openai.com").max_frame < 16 * 2**20


def test_an_unknown_gateway_gets_the_model_in_its_query_once() -> None:
    assert endpoint("https://h/v1").for_model("a b").endswith("/responses?model=a+b")
    assert endpoint("https://h/v1?model=x&k=1").for_model("m").endswith("?model=x&k=1")
    assert "model" not in endpoint(None).for_model("m")
