"""Hosts that keep other responses than OpenAI, or report them otherwise."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from rtllm.simulator import Simulator, fixed
from simulator.wire import MODEL, Wire, connected, text_of

BROKEN = [{"type": "function_call_output", "call_id": "call_none", "output": "x"}]


async def kept(wire: Wire, parent: str, lane: str | None = None) -> bool:
    last = await wire.ask("And?", lane, previous_response_id=parent)
    return bool(last["type"] == "response.completed")


async def named_parent(service: Simulator) -> Any:
    """What a continued response says that it continues: `...` if it lacks the field."""
    async with connected(service) as wire:
        first = await wire.ask_id("Hi")
        await wire.create("And?", previous_response_id=first)
        created = await wire.until("response.created")
        named = created["response"].get("previous_response_id", ...)
        return "same" if named == first else named


@pytest.mark.parametrize(
    ("manners", "named"),
    [
        ((), "same"),
        (("hides parents",), None),
        (("omits parents",), ...),
        (("ignores parents",), None),
        (("ignores parents", "claims parents"), "same"),
    ],
)
async def test_what_a_continued_response_says_that_it_continues(
    manners: tuple[str, ...], named: object
) -> None:
    async with Simulator(manners=manners) as service:
        assert await named_parent(service) == named


async def test_a_host_may_name_another_parent() -> None:
    async with Simulator(manners=["renames parents"]) as service:
        assert str(await named_parent(service)).endswith("_of_the_host")


async def test_a_connection_may_keep_one_response_of_all_its_lanes() -> None:
    async with Simulator(remembers="connection") as service, connected(service) as wire:
        first, second = await wire.ask_id("Hi", "a"), await wire.ask_id("Hi", "b")
        assert not await kept(wire, first, "c")
        assert await kept(wire, second, "c")


async def test_a_connection_may_keep_everything() -> None:
    async with Simulator(remembers="everything") as service:
        async with connected(service) as wire:
            ids = [await wire.ask_id("Hi", "a") for _ in range(3)]
            assert [await kept(wire, each, "a") for each in ids] == [True] * 3
        async with connected(service) as wire:
            assert not await kept(wire, ids[-1])


async def test_every_connection_may_find_what_was_not_stored() -> None:
    async with Simulator(remembers="everywhere") as service:
        async with connected(service) as wire:
            first = await wire.ask_id("Hi")
        async with connected(service) as wire:
            assert await kept(wire, first)


async def test_a_connection_may_keep_nothing() -> None:
    async with Simulator(remembers="nothing") as service, connected(service) as wire:
        assert not await kept(wire, await wire.ask_id("Hi"))


@pytest.mark.parametrize(
    ("evicts", "after_a_fork", "on_its_own"),
    [("own lane", True, False), ("any lane", False, False), ("never", True, True)],
)
async def test_which_errors_evict_the_parent(
    evicts: Any, *, after_a_fork: bool, on_its_own: bool
) -> None:
    async with Simulator(evicts=evicts) as service, connected(service) as wire:
        first = await wire.ask_id("Hi", "a")
        await wire.refusal(BROKEN, "b", previous_response_id=first)
        assert await kept(wire, first, "c") is after_a_fork
        second = await wire.ask_id("Hi", "d")
        await wire.refusal("Hi", "d", previous_response_id=second, temperature=9)
        assert await kept(wire, second, "e") is on_its_own


async def test_a_host_may_store_nothing_though_it_is_asked_to() -> None:
    async with Simulator(stores=False) as service:
        async with connected(service) as wire:
            first = await wire.ask_id("Hi", store=True)
        async with connected(service) as wire:
            assert not await kept(wire, first)


async def test_a_host_may_keep_incomplete_responses() -> None:
    long = fixed("one two three four five six seven eight nine ten " * 9)
    async with Simulator(long, keeps_incomplete=True) as service, connected(service) as wire:
        last = await wire.ask("Count.", max_output_tokens=16)
        assert last["type"] == "response.incomplete"
        assert await kept(wire, last["response"]["id"])


async def test_a_host_may_have_no_responses_over_http() -> None:
    async with Simulator(no_responses=404) as service, aiohttp.ClientSession() as session:
        body = {"model": MODEL, "input": "Hi"}
        async with session.post(f"{service.base_url}/responses", json=body) as answer:
            assert answer.status == 404
        async with connected(service) as wire:
            await wire.ask_id("Hi")


async def test_the_error_of_an_unknown_parent_may_be_vague() -> None:
    async with Simulator(manners=["vague misses"]) as service, connected(service) as wire:
        error = await wire.refusal("Hi", previous_response_id="resp_unknown")
        assert (error["code"], error["param"], error["status"]) == (None, None, 400)


async def test_a_host_may_refuse_or_ignore_that_nothing_is_generated() -> None:
    async with Simulator(manners=["no generate"]) as service, connected(service) as wire:
        assert (await wire.refusal("Hi", generate=False))["param"] == "generate"
    async with Simulator(manners=["ignores generate"]) as service, connected(service) as wire:
        assert text_of(await wire.ask("Hi", generate=False)) == "You said: Hi"


async def test_a_host_may_count_only_the_input_of_a_request() -> None:
    counts = {}
    for manners in ((), ("counts only input",)):
        async with Simulator(manners=manners) as service, connected(service) as wire:
            first = await wire.ask_id("A rather long first question, with many words.")
            last = await wire.ask("Hi", previous_response_id=first)
            counts[manners] = last["response"]["usage"]["input_tokens"]
    assert counts["counts only input",] < counts[()] / 2
