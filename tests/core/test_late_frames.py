"""Late frames of an ended response are kept from the next one, also if ids restart."""

import json
from typing import Any

from rtllm.codec.frames import Frame, read
from rtllm.codec.late_frames import LateFrames
from rtllm.codec.responses_decoder import ResponsesDecoder


def frame(kind: str, **fields: Any) -> Frame:
    made = read(json.dumps({"type": f"response.{kind}", **fields}))
    assert made is not None
    return made


def answer(number: int, item_id: str, response_id: str | None = None) -> list[Frame]:
    response = {"id": response_id or f"resp_{number}"}
    item = {"type": "message", "id": item_id}
    return [
        frame("created", response=response),
        frame("output_item.added", item=item),
        frame("output_text.delta", item_id=item_id, delta="Yes."),
        frame("output_item.done", item=item),
        frame("completed", response=response),
    ]


def play(late: LateFrames, *frames: Frame) -> tuple[list[object], ResponsesDecoder]:
    """Feed a response as a connection would; give the types of what was late."""
    decoder = ResponsesDecoder()
    dropped: list[object] = []
    for one in frames:
        if late.is_late(one, decoder):
            dropped.append(one.type)
        else:
            decoder.feed(one)
    late.ended(decoder)
    return dropped, decoder


def test_every_kind_of_late_frame_is_known_by_its_id() -> None:
    late = LateFrames()
    play(late, *answer(1, "msg_a"))
    dropped, decoder = play(late, *answer(1, "msg_a")[2:], *answer(2, "msg_b"))
    kinds = ["output_text.delta", "output_item.done", "completed"]
    assert dropped == [f"response.{kind}" for kind in kinds]
    assert decoder.ended is not None
    assert decoder.ended.response_id == "resp_2"
    assert not late.ids_restart


def test_item_ids_that_restart_with_each_response_are_not_late() -> None:
    late = LateFrames()
    for number in (1, 2, 3):
        assert play(late, *answer(number, "msg_0"))[0] == []
    assert late.ids_restart


def test_response_ids_that_restart_are_not_late() -> None:
    late = LateFrames()
    for _ in (1, 2, 3):
        assert play(late, *answer(1, "msg_0", "resp"))[0] == []


def test_ids_of_a_host_that_announces_no_items_prove_nothing() -> None:
    late = LateFrames()
    for number in (1, 2):
        frames = answer(number, "msg_0")
        assert play(late, frames[0], *frames[2:])[0] == []


def test_a_terminal_event_with_another_id_counts_for_the_response_that_ended() -> None:
    late = LateFrames()
    end = frame("completed", response={"id": "resp_encoded"})
    play(late, *answer(1, "msg_a")[:-1], end)
    assert play(late, end, *answer(2, "msg_b"))[0] == ["response.completed"]


def test_an_id_in_two_responses_that_run_at_a_time_proves_that_ids_restart() -> None:
    late, running = LateFrames(), ResponsesDecoder()
    for one in answer(2, "msg_0")[:3]:
        running.feed(one)
    decoder = ResponsesDecoder()
    for one in answer(1, "msg_0"):
        decoder.feed(one)
    late.ended(decoder, [running])
    assert late.ids_restart


def test_only_the_last_responses_are_remembered() -> None:
    late = LateFrames()
    for number in range(40):
        play(late, *answer(number, f"msg_{number}"))
    assert not late.is_late(frame("output_text.delta", item_id="msg_0"), ResponsesDecoder())
    assert late.is_late(frame("output_text.delta", item_id="msg_39"), ResponsesDecoder())
