"""Keys: asked for without holding up the loop, checked before they are sent, never repeated."""

import asyncio
import threading

import pytest

from rtllm import ConfigError, Credentials, RequestRejected, endpoint
from rtllm.simulator import Simulator
from transport.caller import Caller, MakeClient, spoken


async def test_a_plain_key_function_runs_off_the_event_loop(make_client: MakeClient) -> None:
    """It may ask for a token over the network, and block for as long as that takes."""
    threads: list[int] = []

    def key() -> str:
        threads.append(threading.get_ident())
        return "key"

    async with Simulator("yes") as simulator:
        assert spoken(await Caller(make_client(simulator, key=key)).say("one")) == "yes"
    assert threads
    assert threading.get_ident() not in threads


async def test_an_async_key_function_runs_on_the_event_loop(make_client: MakeClient) -> None:
    loops: list[asyncio.AbstractEventLoop] = []

    async def key() -> str:
        loops.append(asyncio.get_running_loop())
        return "key"

    async with Simulator("yes") as simulator:
        assert spoken(await Caller(make_client(simulator, key=key)).say("one")) == "yes"
    assert set(loops) == {asyncio.get_running_loop()}


@pytest.mark.parametrize("bad", ["sk-secret\x00", "sk-secret\nsk-secret", "sk-sécret"])
def test_a_key_that_no_header_may_hold_is_refused_without_repeating_it(bad: str) -> None:
    with pytest.raises(ConfigError, match="expected one line of printable ASCII") as caught:
        Credentials(bad)
    assert "secret" not in str(caught.value)


async def test_a_bad_key_of_a_function_ends_the_turn_without_repeating_it(
    make_client: MakeClient,
) -> None:
    async with Simulator("yes") as simulator:
        with pytest.raises(RequestRejected) as caught:
            await Caller(make_client(simulator, key=lambda: "sk-secret\x00")).say("one")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "https://h/v1?api_key=sk-secret#x",
        "ftp://h/v1?api_key=sk-secret",
        "https:///v1?api_key=sk-secret",
        "https://user:sk-secret@h/v1",
        "https://h:port/v1?api_key=sk-secret",
    ],
)
def test_an_error_repeats_no_key_of_an_address(address: str) -> None:
    with pytest.raises(ConfigError) as caught:
        endpoint(address)
    assert "secret" not in f"{caught.value!r} {caught.value.__cause__!r}"
