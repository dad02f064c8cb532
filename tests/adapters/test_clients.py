"""The clients of an LLM whose requests may have headers and a query of their own."""

from __future__ import annotations

from dataclasses import replace

from rtllm.adapters import Clients, ConnectionOptions, resolve_provider


def clients() -> Clients:
    provider = resolve_provider(api_key="key", base_url="https://example.test/v1")
    return Clients(provider, ConnectionOptions())


async def test_each_set_of_headers_and_query_has_a_client() -> None:
    made = clients()
    plain = made.socket({}, {})
    assert made.socket({}, {}) is plain
    assert made.socket({"x-team": "voice"}, {}) is not plain
    assert made.socket({}, {"api-version": "2"}) is not plain
    assert made.http() is made.http()
    assert made.websocket
    assert repr(made) == f"Clients(4 of {made.provider.host})"
    await made.aclose()


async def test_the_longest_unused_client_is_retired() -> None:
    made = clients()
    first, second = (made.socket({"number": str(number)}, {}) for number in range(2))
    for number in (2, 3, 0, 4):
        made.socket({"number": str(number)}, {})
    assert made.socket({"number": "0"}, {}) is first
    assert made.socket({"number": "1"}, {}) is not second
    await made.aclose()


async def test_another_key_means_other_clients() -> None:
    made = clients()
    old = made.socket({}, {})
    made.set_provider(replace(made.provider, key="next"))
    assert made.provider.key == "next"
    assert made.socket({}, {}) is not old
    assert made.model_of("deployment") is None
    await made.aclose()
