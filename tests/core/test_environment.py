"""`NO_PROXY` in all its forms, and the variables of proxies."""

from __future__ import annotations

import pytest

from rtllm.providers.environment import goes_without_proxy, proxy_for

URL = "wss://api.host.example:8443/v1/responses?model=m"


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.parametrize(
    ("entries", "url", "expected"),
    [
        ("", URL, False),
        ("*", URL, True),
        ("other.example, *", URL, True),
        ("api.host.example", URL, True),
        ("API.Host.Example", URL, True),
        ("host.example", URL, True),
        (".host.example", URL, True),
        ("*.host.example", URL, True),
        ("ost.example", URL, False),
        ("example.com", URL, False),
        ("host.example.com", URL, False),
        (".", URL, False),
        ("host.example:8443", URL, True),
        ("host.example:443", URL, False),
        (".host.example:8443", URL, True),
        ("https://host.example", URL, True),
        ("other.example,host.example", URL, True),
        ("other.example host.example", URL, True),
        ("host.example:443", "wss://host.example/v1", True),
        ("host.example:80", "ws://host.example/v1", True),
        ("host.example", "https://host.example./v1", True),
        ("localhost", "ws://localhost:80/v1", True),
        ("10.0.0.1", "ws://10.0.0.1/v1", True),
        ("10.0.0.1:80", "ws://10.0.0.1/v1", True),
        ("10.0.0.0/8", "ws://10.20.30.40:99/v1", True),
        ("10.0.0.7/8", "ws://10.20.30.40:99/v1", True),
        ("10.0.0.0/8", "ws://11.20.30.40:99/v1", False),
        ("10.0.0.0/8", "wss://host.example/v1", False),
        ("::1", "ws://[::1]:99/v1", True),
        ("[::1]", "ws://[::1]:99/v1", True),
        ("[::1]:99", "ws://[::1]:99/v1", True),
        ("[::1]:98", "ws://[::1]:99/v1", False),
        ("fd00::/8", "ws://[fd12::7]/v1", True),
        ("0.0.0.1", "ws://10.0.0.1/v1", False),
    ],
)
def test_no_proxy(entries: str, url: str, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", entries)
    monkeypatch.setenv("ALL_PROXY", "http://proxy")
    assert goes_without_proxy(url) is expected
    assert proxy_for(url) == (None if expected else "http://proxy")


@pytest.mark.parametrize(
    ("variables", "url", "expected"),
    [
        ({}, URL, None),
        ({"HTTPS_PROXY": "http://one:1"}, URL, "http://one:1"),
        ({"https_proxy": "http://one:1", "HTTPS_PROXY": "http://two:2"}, URL, "http://one:1"),
        ({"HTTPS_PROXY": "one:1"}, URL, "http://one:1"),
        ({"HTTPS_PROXY": "one:1"}, "ws://host/v1", None),
        ({"HTTP_PROXY": "one:1"}, "ws://host/v1", "http://one:1"),
        ({"HTTP_PROXY": "one:1"}, "http://host/v1", "http://one:1"),
        ({"HTTP_PROXY": "one:1"}, URL, None),
        ({"ALL_PROXY": "one:1"}, URL, "http://one:1"),
        ({"ALL_PROXY": "one:1", "HTTPS_PROXY": "two:2"}, URL, "http://two:2"),
        ({"HTTPS_PROXY": ""}, URL, None),
    ],
)
def test_proxy_variables(
    variables: dict[str, str], url: str, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert proxy_for(url) == expected
