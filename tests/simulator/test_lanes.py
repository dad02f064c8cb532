from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rtllm.simulator import ErrorFrame, Pause, Reply, Request, Simulator, Text, in_turn
from simulator.wire import MODEL, connected, text_of


class Gates:
    """A script whose answers wait until the test lets them go on."""

    def __init__(self) -> None:
        self._gates: dict[str, asyncio.Event] = {}

    def open(self, text: str) -> None:
        self._gate(text).set()

    def _gate(self, text: str) -> asyncio.Event:
        return self._gates.setdefault(text, asyncio.Event())

    def __call__(self, request: Request) -> Reply:
        text = request.last_user_text
        return Reply.of(Text(pieces=("on ", Pause(self._gate(text)), text)))


async def test_lanes_run_concurrently_and_each_is_answered_under_its_name() -> None:
    gates = Gates()
    async with Simulator(gates) as service, connected(service) as wire:
        await wire.create("first", "a")
        await wire.until("response.output_text.delta", "a")
        gates.open("second")
        second = await wire.ask("second", "b.-_")
        gates.open("first")
        first = (await wire.rest("a"))[-1]
        assert (text_of(first), text_of(second)) == ("on first", "on second")


async def test_a_lane_answers_in_order_and_never_two_at_once() -> None:
    gates = Gates()
    async with Simulator(gates) as service, connected(service) as wire:
        for text in ("one", "two"):
            await wire.create(text, "a")
        await wire.until("response.output_text.delta", "a")
        entries = await service.journal.wait_for(2)
        assert [entry.outcome for entry in entries] == ["running", "waiting"]
        gates.open("two")
        gates.open("one")
        texts = [text_of((await wire.rest("a"))[-1]) for _ in range(2)]
        assert texts == ["on one", "on two"]


async def test_the_default_lane_carries_no_stream_id() -> None:
    async with Simulator() as service, connected(service) as wire:
        await wire.create("Hi")
        assert all("stream_id" not in event for event in await wire.rest())


async def test_more_than_the_allowed_responses_wait_for_a_place() -> None:
    gates = Gates()
    async with Simulator(gates, max_active=2) as service, connected(service) as wire:
        for lane in ("a", "b", "c"):
            await wire.create(lane, lane)
        await wire.until("response.output_text.delta", "a")
        await wire.until("response.output_text.delta", "b")
        assert [e.outcome for e in service.journal.entries] == ["running", "running", "waiting"]
        gates.open("b")
        gates.open("c")
        assert text_of((await wire.rest("c"))[-1]) == "on c"
        gates.open("a")
        await wire.rest("a")


async def test_a_connection_knows_32_names_in_its_life_the_default_lane_not_counted() -> None:
    async with Simulator() as service, connected(service) as wire:
        await wire.ask_id("Hi")
        for number in range(32):
            await wire.ask_id("Hi", f"lane{number}")
        refused = await wire.refusal("Hi", "one-more")
        assert (refused["code"], refused["status"]) == ("websocket_stream_limit_reached", 400)
        await wire.ask_id("Hi", "lane7")
        async with connected(service) as other:
            await other.ask_id("Hi", "one-more")


@pytest.mark.parametrize("name", ["", "a b", "a" * 257, "ä", 7, None])
async def test_a_bad_name_is_an_error_of_the_connection_which_lives_on(name: Any) -> None:
    async with Simulator() as service, connected(service) as wire:
        refused = await wire.refusal("Hi", stream_id=name)
        assert refused["code"] == "invalid_stream_id"
        await wire.ask_id("Hi")


@pytest.mark.parametrize("mode", ["off", "refuse"])
async def test_hosts_without_lanes_refuse_the_field(mode: Any) -> None:
    async with Simulator(lanes=mode) as service, connected(service) as wire:
        await wire.create("Hi", "a")
        refused = (await wire.rest())[-1]["error"]
        assert (refused["code"], refused["param"]) == ("unknown_parameter", "stream_id")
        await wire.ask_id("Hi")


async def test_a_host_that_ignores_lanes_answers_one_after_another_without_names() -> None:
    gates = Gates()
    async with Simulator(gates, lanes="ignore") as service, connected(service) as wire:
        await wire.create("one", "a")
        await wire.create("two", "b")
        await wire.until("response.output_text.delta")
        gates.open("two")
        gates.open("one")
        texts = [text_of((await wire.rest())[-1]) for _ in range(2)]
        assert texts == ["on one", "on two"]
        assert [entry.lane for entry in service.journal.entries] == ["a", "b"]


async def test_a_host_that_ignores_lanes_remembers_one_response_a_connection() -> None:
    async with Simulator(lanes="ignore") as service, connected(service) as wire:
        await wire.create("one", "a")
        first = (await wire.rest())[-1]["response"]["id"]
        await wire.create("two", "b")
        second = (await wire.rest())[-1]["response"]["id"]
        refused = await wire.refusal("three", previous_response_id=first)
        assert refused["code"] == "previous_response_not_found"
        await wire.ask_id("three", previous_response_id=second)


async def test_azure_has_one_response_in_flight() -> None:
    gates = Gates()
    async with Simulator(gates, lanes="off") as service, connected(service) as wire:
        await wire.create("one")
        await wire.until("response.output_text.delta")
        refused = await wire.refusal("two")
        assert (refused["code"], refused["status"]) == ("response_already_in_flight", 409)
        gates.open("one")
        assert text_of((await wire.rest())[-1]) == "on one"
        gates.open("three")
        await wire.ask_id("three")


async def test_a_fork_continues_a_parent_of_another_lane() -> None:
    async with Simulator() as service, connected(service) as wire:
        root = await wire.ask_id("one", "a")
        for lane in ("b", "c"):
            await wire.ask_id("two", lane, previous_response_id=root)
        assert [len(entry.context) for entry in service.journal.entries] == [1, 3, 3]


async def test_a_fork_misses_its_parent_once_the_parents_lane_has_moved_on() -> None:
    gates = Gates()
    gates.open("one")
    async with Simulator(gates) as service, connected(service) as wire:
        root = await wire.ask_id("one", "a")
        await wire.create("two", "a", previous_response_id=root)
        await wire.until("response.in_progress", "a")
        refused = await wire.refusal("fork", "b", previous_response_id=root)
        assert refused["code"] == "previous_response_not_found"
        assert root in refused["message"]
        gates.open("two")
        assert text_of((await wire.rest("a"))[-1]) == "on two"


async def test_a_queued_fork_looks_its_parent_up_when_it_starts_to_run() -> None:
    gates = Gates()
    gates.open("one")
    async with Simulator(gates) as service, connected(service) as wire:
        root = await wire.ask_id("one", "a")
        await wire.create("busy", "b")
        await wire.until("response.in_progress", "b")
        await wire.create("fork", "b", previous_response_id=root)
        await wire.create("two", "a", previous_response_id=root)
        gates.open("two")
        await wire.rest("a")
        gates.open("busy")
        await wire.rest("b")
        last = (await wire.rest("b"))[-1]
        assert last["error"]["code"] == "previous_response_not_found"


async def test_a_fork_that_has_begun_is_safe_from_what_its_parents_lane_does() -> None:
    gates = Gates()
    gates.open("one")
    async with Simulator(gates) as service, connected(service) as wire:
        root = await wire.ask_id("one", "a")
        await wire.create("fork", "b", previous_response_id=root)
        await wire.until("response.in_progress", "b")
        gates.open("two")
        await wire.ask_id("two", "a", previous_response_id=root)
        gates.open("fork")
        assert text_of((await wire.rest("b"))[-1]) == "on fork"


async def test_an_error_on_the_parents_own_lane_evicts_it() -> None:
    fault = in_turn(None, ErrorFrame())
    async with Simulator(fault=fault) as service, connected(service) as wire:
        root = await wire.ask_id("one", "a")
        assert (await wire.refusal("two", "a", previous_response_id=root))["status"] == 500
        refused = await wire.refusal("two", "a", previous_response_id=root)
        assert refused["code"] == "previous_response_not_found"


async def test_an_error_of_a_fork_leaves_the_parent_so_the_delta_may_be_repeated() -> None:
    fault = in_turn(None, ErrorFrame())
    async with Simulator(fault=fault) as service, connected(service) as wire:
        root = await wire.ask_id("one", "a")
        await wire.refusal("two", "b", previous_response_id=root)
        await wire.ask_id("two", "b", previous_response_id=root)


async def test_a_request_refused_for_its_content_evicts_a_parent_of_its_lane_too() -> None:
    async with Simulator() as service, connected(service) as wire:
        root = await wire.ask_id("one", "a")
        await wire.refusal("two", "a", previous_response_id=root, temperature=9)
        refused = await wire.refusal("two", "a", previous_response_id=root)
        assert refused["code"] == "previous_response_not_found"


async def test_stored_responses_are_continued_from_other_connections() -> None:
    async with Simulator() as service:
        async with connected(service) as wire:
            root = await wire.ask_id("one", "a", store=True)
            gone = await wire.ask_id("one", "b")
        async with connected(service) as wire:
            await wire.ask_id("two", previous_response_id=root)
            refused = await wire.refusal("two", previous_response_id=gone)
            assert refused["code"] == "previous_response_not_found"


async def test_store_left_out_means_stored() -> None:
    async with Simulator() as service:
        async with connected(service) as wire:
            await wire.socket.send_json({"type": "response.create", "model": MODEL, "input": "one"})
            root = (await wire.rest())[-1]["response"]["id"]
        async with connected(service) as wire:
            await wire.ask_id("two", previous_response_id=root)


async def test_a_warm_up_generates_nothing_and_is_a_parent_for_an_empty_input() -> None:
    async with Simulator() as service, connected(service) as wire:
        warm = (await wire.ask("Hi there", "a", generate=False))["response"]
        assert (warm["status"], warm["output"]) == ("completed", [])
        assert warm["usage"]["input_tokens"] > 0
        assert warm["usage"]["output_tokens"] == 0
        answer = await wire.ask([], "b", previous_response_id=warm["id"])
        assert text_of(answer) == "You said: Hi there"


async def test_instructions_are_not_carried_over() -> None:
    async with Simulator() as service, connected(service) as wire:
        root = await wire.ask_id("one", instructions="Be brief.")
        await wire.ask_id("two", previous_response_id=root)
        told = [entry.instructions for entry in service.journal.entries]
        assert told == ["Be brief.", None]
        assert all(role != "system" for role, _ in service.journal.entries[1].texts())


async def test_input_tokens_count_the_full_context_and_the_parents_part_is_cached() -> None:
    async with Simulator() as service, connected(service) as wire:
        first = (await wire.ask("one " * 20))["response"]
        second = (await wire.ask("two", previous_response_id=first["id"]))["response"]
        usage = second["usage"]
        assert usage["input_tokens"] > first["usage"]["input_tokens"]
        assert 0 < usage["input_tokens_details"]["cached_tokens"] < usage["input_tokens"]
