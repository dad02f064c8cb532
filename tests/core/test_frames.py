"""Frames: lane and event at once, the rest when it is asked for."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtllm.codec.frames import Frame, error_of, mapping, read


def frame(**fields: Any) -> Frame:
    made = read(json.dumps(fields))
    assert made is not None
    return made


@pytest.mark.parametrize("data", ["", "null", "[]", "1", '"a"', "{", b"\xff", "[DONE]", "{} {}"])
def test_what_is_not_an_object_is_nothing(data: str | bytes) -> None:
    assert read(data) is None


def test_text_and_bytes_are_read_alike() -> None:
    for data in ('{"type":"a","stream_id":"l"}', b'{"type":"a","stream_id":"l"}'):
        made = read(data)
        assert made is not None
        assert (made.type, made.lane) == ("a", "l")


@pytest.mark.parametrize("lane", [None, 5, ["a"], {}])
def test_a_lane_is_a_string_or_the_default_one(lane: Any) -> None:
    assert frame(stream_id=lane).lane is None


@pytest.mark.parametrize(
    ("fields", "is_error"),
    [
        ({"type": "error"}, True),
        ({"type": "error", "error": None}, True),
        ({"error": {"message": "m"}}, True),
        ({"type": None, "error": {"message": "m"}}, True),
        ({"type": "response.created", "error": {"message": "m"}}, False),
        ({"type": "response.created", "error": None}, False),
        ({"error": None}, False),
        ({}, False),
    ],
)
def test_an_error_frame_is_known_by_its_type_or_its_error(
    fields: dict[str, Any], *, is_error: bool
) -> None:
    assert frame(**fields).is_error is is_error


def test_unknown_fields_are_passed_over() -> None:
    assert frame(type="a", obfuscation="xyz", sequence_number=4).type == "a"


@pytest.mark.parametrize("raw", [b"", b"null", b"[]", b"1", b"{"])
def test_a_part_that_is_not_an_object_is_empty(raw: bytes) -> None:
    assert mapping(msgspec.Raw(raw)) == {}


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"status": 400}, 400),
        ({"status_code": 401}, 401),
        ({"status": "completed", "status_code": 402}, 402),
        ({"status": 403, "status_code": 404}, 403),
        ({"error": {"status": 405}}, 405),
        ({"error": {"status_code": 406}}, 406),
        ({"error": {"status": "x"}}, None),
        ({}, None),
    ],
)
def test_the_status_of_an_error_may_stand_in_four_places(
    fields: dict[str, Any], status: int | None
) -> None:
    assert error_of(frame(type="error", **fields))[1] == status


def test_headers_of_an_error_are_strings() -> None:
    assert error_of(frame(type="error", headers={"retry-after": 2}))[2] == {"retry-after": "2"}
    assert error_of(frame(type="error", headers=["retry-after"]))[2] == {}


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=5,
)


@given(st.binary(max_size=30) | st.text(max_size=30))
def test_junk_is_read_or_passed_over(data: str | bytes) -> None:
    assert read(data) is None or isinstance(read(data), Frame)


@given(st.dictionaries(st.sampled_from(Frame.__struct_fields__), _json))
def test_any_fields_make_a_frame_that_can_be_asked(fields: dict[str, Any]) -> None:
    made = read(json.dumps(fields, allow_nan=False, default=str) if _finite(fields) else "{}")
    assert made is not None
    assert made.is_error in (True, False)
    error, status, headers = error_of(made)
    assert isinstance(error, dict)
    assert status is None or isinstance(status, int)
    assert all(isinstance(value, str) for value in headers.values())


def _finite(value: object) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("kind", [[], {}, 5, None, ["response.completed"]])
def test_a_type_that_is_not_text_ends_nothing(kind: object) -> None:
    frame = read(msgspec.json.encode({"type": kind}))
    assert frame is not None
    assert not frame.is_terminal
