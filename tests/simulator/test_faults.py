from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from rtllm.simulator import (
    GARBAGE,
    Abort,
    BrokenArguments,
    Call,
    Close,
    CutResponse,
    Dribble,
    Empty,
    ErrorFrame,
    FailedResponse,
    Fault,
    Garbage,
    HangUp,
    Mangle,
    MangleAll,
    Reasoning,
    RefuseRequest,
    Reply,
    Request,
    Silence,
    Simulator,
    connection_limit,
    in_turn,
    only,
    overloaded,
    rate_limited,
    refusing,
)
from rtllm.simulator.mangling import Mangler
from simulator.wire import MODEL, Event, connected, text_of

LONG = "one two three four five"
CALL = Reply.of(Call("look", {"at": "this"}))


def spoiled(fault: Fault | list[Fault | None], script: Reply | str = LONG) -> Simulator:
    return Simulator(script, fault=fault)


def kinds(events: list[Event]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


SHAPES: dict[str, Event] = {
    "a": {
        "type": "error",
        "status": 429,
        "stream_id": "x",
        "error": {"type": "t", "code": "c", "message": "m", "param": "p"},
    },
    "b": {
        "type": "error",
        "code": "c",
        "message": "m",
        "param": "p",
        "sequence_number": 0,
        "stream_id": "x",
    },
    "c": {"type": "error", "status": 429, "stream_id": "x", "error": {"detail": "m"}},
    "d": {
        "type": "error",
        "stream_id": "x",
        "error": {"type": "t", "code": "429", "message": "m", "param": "p"},
    },
    "e": {"type": "error", "stream_id": "x", "error": {"type": "t", "message": "m"}},
    "f": {
        "status": 429,
        "stream_id": "x",
        "error": {"type": "t", "code": "c", "message": "m", "param": "p"},
    },
}


@pytest.mark.parametrize("shape", SHAPES)
async def test_an_error_frame_comes_in_every_shape_seen(shape: Any) -> None:
    fault = ErrorFrame("c", 429, "m", "t", "p", shape)
    async with spoiled(fault) as service, connected(service) as wire:
        await wire.create("Hi", "x")
        assert await wire.event("x") == SHAPES[shape]
        [entry] = service.journal.refused
        assert (entry.response_id, entry.error_code) == (None, "c")


async def test_headers_are_at_the_top_or_inside_the_error() -> None:
    faults: list[Fault | None] = [
        rate_limited("1.5"),
        ErrorFrame(headers={"x": "y"}, headers_inside=True, status_name="status_code"),
        overloaded(),
    ]
    async with spoiled(faults) as service, connected(service) as wire:
        top, inside, plain = [await wire.ask("Hi") for _ in range(3)]
        assert top["headers"] == {"retry-after": "1.5"}
        assert (top["status"], top["error"]["code"]) == (429, "rate_limit_exceeded")
        assert (inside["error"]["headers"], inside["status_code"]) == ({"x": "y"}, 500)
        assert (plain["status"], plain["error"]["code"]) == (503, "server_is_overloaded")
        await wire.ask_id("Hi")


async def test_an_error_strikes_after_so_many_deltas() -> None:
    async with spoiled(ErrorFrame(phase="output", after=2)) as service:
        async with connected(service) as wire:
            await wire.create("Hi")
            events = await wire.rest()
        assert kinds(events)[-3:] == ["output_text.delta", "output_text.delta", "error"]
        [entry] = await service.journal.wait_for(outcome="failed")
        assert entry.response_id is not None


@pytest.mark.parametrize(
    ("phase", "last"),
    [
        ("sent", []),
        ("created", ["created", "in_progress"]),
        ("opened", ["in_progress", "output_item.added"]),
        ("output", ["content_part.added", "output_text.delta"]),
        ("item", ["content_part.done", "output_item.done"]),
        ("complete", ["content_part.done", "output_item.done"]),
    ],
)
@pytest.mark.parametrize(("fault", "code"), [(Close, 4402), (HangUp, 1006), (Abort, 1006)])
async def test_a_connection_dies_at_every_phase(
    phase: Any, last: list[str], fault: Any, code: int
) -> None:
    dying = fault(code=4402, phase=phase) if fault is Close else fault(phase=phase)
    async with spoiled(dying) as service, connected(service) as wire:
        await wire.create("Hi")
        await wire.over.wait()
        assert wire.socket.close_code == code
        if fault is not Abort:
            # A reset may overtake what was sent before.
            assert kinds([json.loads(frame) for frame in wire.frames])[-2:] == last
        await service.journal.wait_for(outcome="dropped")


@pytest.mark.parametrize("code", [1000, 1001, 1008, 1009, 1011, 1012, 1013, 3000, 4402, 4999])
async def test_a_socket_is_closed_with_any_code(code: int) -> None:
    async with spoiled(Close(code, "why")) as service, connected(service) as wire:
        await wire.create("Hi")
        await wire.over.wait()
        assert wire.socket.close_code == code


async def test_a_fault_waits_for_its_item() -> None:
    reply = Reply.of(Reasoning("Hm."), "one", Call("look"))
    for phase, items in (("opened", 1), ("item", 2)):
        fault = Close(phase=phase, after=2)  # type: ignore[arg-type]
        async with spoiled(fault, reply) as service, connected(service) as wire:
            await wire.create("Hi", model="gpt-5.1")
            await wire.over.wait()
            seen = kinds([json.loads(frame) for frame in wire.frames])
            assert (seen.count("output_item.added"), seen.count("output_item.done")) == (2, items)


@pytest.mark.parametrize("phase", ["sent", "created", "output", "complete"])
async def test_a_response_fails_at_every_phase_and_is_not_a_parent(phase: Any) -> None:
    fault = FailedResponse("rate_limit_exceeded", "later", phase=phase)
    async with spoiled([fault]) as service, connected(service) as wire:
        failed = await wire.ask("Hi", "a")
        assert failed["type"] == "response.failed"
        assert failed["response"]["error"] == {
            "code": "rate_limit_exceeded",
            "message": "later",
        }
        parent = failed["response"]["id"]
        assert await wire.refusal("Hi", "b", previous_response_id=parent)


async def test_a_cut_response_has_usage_and_is_remembered_only_in_the_store() -> None:
    faults: list[Fault | None] = [
        CutResponse("content_filter", phase="output", after=2),
        CutResponse(phase="output"),
    ]
    async with spoiled(faults) as service, connected(service) as wire:
        cut = (await wire.ask("Hi", "a", store=True))["response"]
        assert cut["incomplete_details"] == {"reason": "content_filter"}
        assert cut["output"][0]["status"] == "incomplete"
        assert cut["output"][0]["content"][0]["text"] == "one two "
        assert cut["usage"]["output_tokens"] > 0
        other = (await wire.ask("Hi", "a"))["response"]["id"]
        await wire.ask_id("Go on", "b", previous_response_id=cut["id"])
        assert await wire.refusal("Go on", "b", previous_response_id=other)


@pytest.mark.parametrize("scope", ["lane", "connection"])
async def test_silence_blocks_its_lane_or_the_whole_connection(scope: Any) -> None:
    silence = Silence(scope, phase="output", after=2)
    async with spoiled([silence]) as service, connected(service) as wire:
        await wire.create("Hi", "a")
        for _ in range(2):
            await wire.until("response.output_text.delta", "a")
        await wire.create("Hi", "b")
        await service.journal.wait_for(1, outcome="completed")
        if scope == "lane":
            assert (await wire.rest("b"))[-1]["type"] == "response.completed"
        else:
            await wire.socket.ping()
            assert not any('"stream_id":"b"' in frame for frame in wire.frames)
        assert service.journal.entries[0].outcome == "running"


@pytest.mark.parametrize(
    ("noise", "kind"),
    [("in_progress", "response.in_progress"), ("keepalive", "codex.keepalive")],
)
async def test_silence_may_be_noisy(noise: Any, kind: str) -> None:
    silence = Silence(noise=noise, every=0.01, phase="created")
    async with spoiled(silence) as service, connected(service) as wire:
        await wire.create("Hi", "a")
        await wire.until("response.in_progress", "a")
        for _ in range(3):
            assert (await wire.event("a"))["type"] == kind


@pytest.mark.parametrize("frame", GARBAGE.values(), ids=GARBAGE.keys())
async def test_garbage_comes_in_between_and_all_goes_on(frame: str) -> None:
    async with spoiled(Garbage(frame, phase="output")) as service, connected(service) as wire:
        assert text_of(await wire.ask("Hi")) == LONG
        assert frame in wire.frames


async def test_garbage_may_be_binary() -> None:
    async with (
        spoiled(Garbage(b"\xff\x00", phase="output")) as service,
        aiohttp.ClientSession() as session,
        session.ws_connect(service.websocket_url) as socket,
    ):
        await socket.send_json({"type": "response.create", "model": MODEL, "input": "Hi"})
        kinds_seen = []
        async for message in socket:
            kinds_seen.append(message.type)
            if message.type is aiohttp.WSMsgType.TEXT and '"response.completed"' in message.data:
                break
        assert kinds_seen.count(aiohttp.WSMsgType.BINARY) == 1


async def test_a_text_dribbles() -> None:
    gate = asyncio.Event()
    fault = Dribble(gate, size=2, after=4)
    async with spoiled(fault, "one two") as service, connected(service) as wire:
        await wire.create("Hi")
        assert (await wire.until("response.output_text.delta"))["delta"] == "one "
        assert service.journal.entries[0].reply_text == "one "
        gate.set()
        told = await wire.rest()
        assert [event["delta"] for event in deltas(told)] == ["tw", "o"]
        assert text_of(told[-1]) == "one two"


async def test_the_connection_limit_strikes_within_a_request() -> None:
    async with spoiled(connection_limit(phase="output")) as service:
        async with connected(service) as wire:
            await wire.create("Hi", "a")
            error = await wire.until("error")  # of no lane: of the connection
            await wire.over.wait()
        assert error["error"]["code"] == "websocket_connection_limit_reached"
        assert wire.socket.close_code == 1000


async def test_a_host_refuses_parameters() -> None:
    plan = refusing("service_tier", "temperature", "reasoning.summary")
    async with Simulator(fault=plan) as service, connected(service) as wire:
        await wire.ask_id("Hi", temperature=None, reasoning={})
        refused = await wire.refusal("Hi", service_tier="flex")
        assert (refused["code"], refused["param"]) == ("unsupported_parameter", "service_tier")
        reasoning = {"summary": "auto"}
        refused = await wire.refusal("Hi", model="gpt-5.1", reasoning=reasoning)
        assert refused["param"] == "reasoning.summary"


async def test_a_status_may_be_missing() -> None:
    fault = ErrorFrame("rate_limit_exceeded", None, "m", "t")
    async with spoiled(fault) as service, connected(service) as wire:
        error = await wire.ask("Hi")
        assert "status" not in error
        assert error["error"]["code"] == "rate_limit_exceeded"


async def test_a_plain_refusal_is_an_error_frame_on_a_socket() -> None:
    body = {"error": {"message": "no", "code": "c"}}
    faults: list[Fault | None] = [
        RefuseRequest(503, body, {"retry-after": "3"}),
        RefuseRequest(502, "<html>"),
    ]
    async with spoiled(faults) as service, connected(service) as wire:
        assert await wire.ask("Hi", "a") == {
            "type": "error",
            "status": 503,
            "headers": {"retry-after": "3"},
            "stream_id": "a",
            **body,
        }
        assert (await wire.ask("Hi"))["error"] == {"message": "<html>"}
        assert [entry.error_code for entry in service.journal.refused] == ["503", "502"]


async def test_one_plan_can_tell_transports_apart() -> None:
    def plan(request: Request) -> Fault | None:
        return ErrorFrame() if request.transport == "websocket" else None

    async with Simulator(fault=plan) as service, connected(service) as wire:
        await wire.refusal("Hi")
        url = f"{service.base_url}/responses"
        body = {"model": MODEL, "input": "Hi"}
        async with aiohttp.ClientSession() as session, session.post(url, json=body) as answer:
            assert answer.status == 200


async def test_an_empty_completion_has_no_output() -> None:
    async with spoiled(Empty()) as service, connected(service) as wire:
        await wire.create("Hi")
        events = await wire.rest()
        assert kinds(events) == ["created", "in_progress", "completed"]
        assert events[-1]["response"]["output"] == []


async def test_arguments_are_broken_everywhere_alike() -> None:
    async with spoiled(BrokenArguments(), CALL) as service, connected(service) as wire:
        await wire.create("Hi")
        events = await wire.rest()
        broken = '{"at":"this"'
        assert "".join(e["delta"] for e in events if e["type"].endswith(".delta")) == broken
        assert events[-1]["response"]["output"][0]["arguments"] == broken


FLAWS: list[tuple[Any, Any]] = [
    ("delta_without_logprobs", lambda es: all("logprobs" not in e for e in deltas(es))),
    ("delta_without_place", lambda es: all("item_id" not in e for e in deltas(es))),
    ("delta_null", lambda es: all(e["delta"] is None for e in deltas(es))),
    ("deltas_dropped", lambda es: not deltas(es)),
    ("sequence_missing", lambda es: all("sequence_number" not in e for e in es)),
    ("item_done_dropped", lambda es: "output_item.done" not in kinds(es)),
    ("usage_null", lambda es: es[-1]["response"]["usage"] is None),
    ("usage_missing", lambda es: "usage" not in es[-1]["response"]),
    ("output_missing", lambda es: "output" not in es[-1]["response"]),
    ("output_null", lambda es: es[-1]["response"]["output"] is None),
    ("output_empty", lambda es: es[-1]["response"]["output"] == []),
]


def deltas(events: list[Event]) -> list[Event]:
    return [event for event in events if event["type"].endswith(".delta")]


@pytest.mark.parametrize(("flaw", "shows"), FLAWS, ids=[flaw for flaw, _ in FLAWS])
async def test_events_have_a_flaw(flaw: Any, shows: Any) -> None:
    async with spoiled(Mangle(flaw)) as service, connected(service) as wire:
        await wire.create("Hi")
        assert shows(await wire.rest())


async def test_a_lane_name_may_be_missing_from_events() -> None:
    async with spoiled(Mangle("stream_id_missing")) as service, connected(service) as wire:
        await wire.create("Hi", "a")
        assert (await wire.rest())[-1]["type"] == "response.completed"


async def test_a_call_may_not_be_completed() -> None:
    async with spoiled(Mangle("call_incomplete"), CALL) as service:
        async with connected(service) as wire:
            await wire.create("Hi")
            done = await wire.until("response.output_item.done")
            last = await wire.until("response.completed")
        assert done["item"]["status"] == "incomplete"
        assert last["response"]["output"][0]["status"] == "incomplete"


async def test_some_hosts_end_with_response_done() -> None:
    async with spoiled(Mangle("response_done")) as service, connected(service) as wire:
        await wire.create("Hi")
        done = await wire.until("response.done")
        assert done["response"]["status"] == "completed"


@pytest.mark.parametrize("seed", range(10))
async def test_a_host_may_have_many_habits_at_once(seed: int) -> None:
    async with spoiled(MangleAll(seed, ("ids", "places", "drops", "output"))) as service:
        async with connected(service) as wire:
            await wire.create("Hi")
            events = await wire.rest()
        assert events[-1]["type"] == "response.completed"


def test_the_same_seed_has_the_same_habits() -> None:
    assert repr(Mangler(7)) == repr(Mangler(7))
    assert len({repr(Mangler(seed)) for seed in range(50)}) > 40


async def test_the_terminal_event_may_be_missing() -> None:
    async with spoiled([Mangle("terminal_dropped")]) as service, connected(service) as wire:
        await wire.create("one", "a")
        await service.journal.wait_for(outcome="completed")
        await wire.ask_id("two", "b")
        assert not any(
            '"response.completed"' in frame and '"stream_id":"a"' in frame for frame in wire.frames
        )


async def test_faults_are_planned_by_turn_by_index_or_exchanged() -> None:
    async with Simulator(fault=only(1, ErrorFrame())) as service, connected(service) as wire:
        await wire.ask_id("Hi")
        await wire.refusal("Hi")
        await wire.ask_id("Hi")
        service.fault = in_turn([Garbage(), Empty()], None)
        assert (await wire.ask("Hi"))["response"]["output"] == []
        await wire.ask_id("Hi")
        service.fault = Empty()
        assert (await wire.ask("Hi"))["response"]["output"] == []


async def test_a_gateway_closes_after_its_error() -> None:
    async with spoiled(ErrorFrame(then_close=1011)) as service, connected(service) as wire:
        assert await wire.refusal("Hi")
        async with asyncio.timeout(10):
            await wire.over.wait()
        assert wire.socket.close_code == 1011


async def test_a_dead_connection_answers_no_ping() -> None:
    silence = Silence("connection", pongs=False, phase="output")
    async with (
        spoiled(silence) as service,
        aiohttp.ClientSession() as session,
        session.ws_connect(service.websocket_url, heartbeat=0.05) as socket,
    ):
        await socket.send_json({"type": "response.create", "model": MODEL, "input": "Hi"})
        async for _ in socket:
            pass
        assert socket.close_code == 1006


async def test_what_was_said_before_the_end_stands_in_the_journal() -> None:
    async with spoiled(Close(phase="output", after=2)) as service:
        async with connected(service) as wire:
            await wire.create("Hi")
            await service.journal.wait(lambda journal: journal.entries[0].deltas == 2)
            await wire.over.wait()
        [entry] = await service.journal.wait_for(outcome="dropped")
        assert entry.reply_text == "one two "
