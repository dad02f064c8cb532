"""Trace files: every event is in them, with several writers and damaged files."""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import os
import stat
import subprocess
import sys
import threading
from contextlib import aclosing, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rtllm import Client, ConfigError, TraceEvent, TraceFile, Usage, read_trace
from rtllm.codec.trace_lines import read_line
from rtllm.instrumentation import trace_file, trace_reader
from rtllm.instrumentation.trace_reader import TraceFollower
from rtllm.simulator import Simulator, echo
from rtllm.trace import EVENTS, AttemptEnded, CallIdentity, FirstOutput, FirstWord, ToolCalled
from transport.caller import Caller

EVENT = FirstWord(at=12.5, client="c", conversation=1, turn=2, attempt=3, connection=4, lane="a")
ENDED = AttemptEnded(
    at=13.0,
    client="c",
    call=CallIdentity("desk", "job-1", "room-1", "session-1"),
    turn=2,
    category="answered",
    usage=Usage(100, 20, cached=64),
)


def written(path: Path, *events: TraceEvent) -> None:
    file = TraceFile(path)
    for event in events:
        file(event)
    file.close()


def events_in(path: Path) -> list[TraceEvent]:
    return [record.event for record in read_trace(path).records]


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    written(path, EVENT, ENDED)
    reading = read_trace(path)
    assert [record.event for record in reading.records] == [EVENT, ENDED]
    assert {record.process for record in reading.records} == {os.getpid()}
    assert os.getpid() in reading.versions
    assert reading.remarks == ()


def test_a_line_has_the_version_and_what_is_not_a_default(tmp_path: Path) -> None:
    written(path := tmp_path / "calls.jsonl", ENDED)
    line = json.loads(path.read_text().splitlines()[1])
    assert line.pop("time") > 1e9
    assert line == {
        "v": 1,
        "pid": os.getpid(),
        "kind": "ended",
        "at": 13.0,
        "client": "c",
        "turn": 2,
        "category": "answered",
        "usage": {"input": 100, "output": 20, "cached": 64},
        "label": "desk",
        "job": "job-1",
        "room": "room-1",
        "session": "session-1",
    }


async def test_a_call_is_traced_to_a_file_without_its_words(tmp_path: Path) -> None:
    file = TraceFile(tmp_path / "calls.jsonl")
    async with (
        Simulator(echo()) as service,
        aclosing(
            Client.connect(api_key="the-key", base_url=service.base_url, on_trace=file)
        ) as client,
    ):
        await Caller(client).say("my pin is 1234")
    file.close()
    kinds = [event.kind for event in events_in(file.path)]
    assert kinds[0] == "queued"
    assert kinds.index("first_word") < kinds.index("finished")
    assert "1234" not in file.path.read_text()
    assert "the-key" not in file.path.read_text()


def test_the_file_is_its_owners_only(tmp_path: Path) -> None:
    written(path := tmp_path / "calls.jsonl", EVENT)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_half_a_character_is_replaced(tmp_path: Path) -> None:
    called = ToolCalled(at=1.0, name="look\ud800up", call_id="c")
    ended = replace(ENDED, usage=Usage(1, 2, tier="\ud800"))
    written(path := tmp_path / "calls.jsonl", called, ended)
    assert events_in(path) == [
        replace(called, name="look?up"),
        replace(ended, usage=Usage(1, 2, tier="?")),
    ]


def test_after_close_the_file_is_opened_again(tmp_path: Path) -> None:
    file = TraceFile(tmp_path / "calls.jsonl")
    for _ in range(2):
        file(EVENT)
        file.close()
    assert events_in(file.path) == [EVENT, EVENT]


def test_at_the_end_of_a_process_the_last_events_are_written(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    code = (
        "import sys; from rtllm import TraceFile; from rtllm.trace import FirstWord\n"
        "file = TraceFile(sys.argv[1])\n"
        "for turn in range(500): file(FirstWord(at=1.0, turn=turn))"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    assert [event.turn for event in events_in(path)] == list(range(500))


# -- several processes, and rotation ---------------------------------------------------------------


WRITER = """
import sys
from rtllm import TraceFile
from rtllm.trace import FirstWord
path, writer, count = sys.argv[1:]
file = TraceFile(path, max_bytes=20_000, backups=100)
for turn in range(int(count)):
    file(FirstWord(at=float(turn), client=f"writer {writer}", turn=turn))
    if turn % 10 == 0:
        file.flush(60.0)
file.flush(60.0)
"""


def test_many_processes_write_to_one_file_that_is_rotated(tmp_path: Path) -> None:
    path, count = tmp_path / "calls.jsonl", 1000
    commands = [[sys.executable, "-c", WRITER, str(path), str(n), str(count)] for n in range(3)]
    writers = [subprocess.Popen(command) for command in commands]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    reading = read_trace(path)
    assert reading.remarks == ()
    for number in range(3):
        own = [r.event.turn for r in reading.records if r.event.client == f"writer {number}"]
        assert sorted(own, key=lambda turn: turn or 0) == list(range(count))
    assert len(list(tmp_path.glob("calls.jsonl.[0-9]*"))) > 5


def test_the_oldest_files_are_deleted(tmp_path: Path) -> None:
    file = TraceFile(tmp_path / "calls.jsonl", max_bytes=1000, backups=2)
    for turn in range(100):
        file(FirstWord(at=1.0, turn=turn))
        assert file.flush(60.0)
    file.close()
    names = sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".lock")
    assert names == ["calls.jsonl", "calls.jsonl.1", "calls.jsonl.2"]
    assert all(path.stat().st_size < 1300 for path in tmp_path.iterdir())
    turns = [event.turn for event in events_in(file.path)]
    assert turns == list(range(turns[0] or 0, 100))
    assert len([*read_trace(file.path, backups=False).records]) < len(turns)


def test_without_backups_the_old_file_is_deleted(tmp_path: Path) -> None:
    file = TraceFile(tmp_path / "calls.jsonl", max_bytes=1000, backups=0)
    for turn in range(100):
        file(FirstWord(at=1.0, turn=turn))
        assert file.flush(60.0)
    file.close()
    assert events_in(file.path)[-1].turn == 99
    assert [path.name for path in tmp_path.glob("*.[0-9]")] == []


def test_a_file_that_is_moved_away_is_created_again(tmp_path: Path) -> None:
    file = TraceFile(tmp_path / "calls.jsonl")
    file(EVENT)
    assert file.flush()
    file.path.rename(tmp_path / "moved")
    file(ENDED)
    file.close()
    assert events_in(tmp_path / "moved") == [EVENT]
    assert events_in(file.path) == [ENDED]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_writes_for_itself(tmp_path: Path) -> None:
    file = TraceFile(tmp_path / "calls.jsonl")
    file(EVENT)
    assert file.flush()

    def write() -> None:
        file(ENDED)
        file.close()

    child = multiprocessing.get_context("fork").Process(target=write)
    child.start()
    child.join()
    file.close()
    reading = read_trace(file.path)
    assert [record.event for record in reading.records] == [EVENT, ENDED]
    assert [record.process for record in reading.records] == [os.getpid(), child.pid]


# -- what goes wrong -------------------------------------------------------------------------------


def test_a_blocked_disk_does_not_block_the_caller_and_what_is_dropped_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(trace_file, "QUEUED", 50)
    file = TraceFile(tmp_path / "calls.jsonl", max_bytes=1000, backups=100)
    with (tmp_path / "calls.jsonl.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the file can't be renamed, so its writer waits
        for _ in range(500):
            file(EVENT)
    assert file.flush(60.0)
    file.close()
    reading = read_trace(file.path)
    assert file.dropped > 250  # all but the queue and the batches that were written
    assert reading.dropped == file.dropped
    assert len(reading.records) == 500 - file.dropped
    assert reading.remarks == (f"{file.dropped} events were dropped when they were written",)
    assert caplog.text.count("events are missing") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a full device")
def test_a_full_disk_is_only_logged(caplog: pytest.LogCaptureFixture) -> None:
    file = TraceFile("/dev/full")
    file(EVENT)
    file(EVENT)
    file.close()
    assert file.dropped == 2
    assert caplog.text.count("events are missing") == 1
    assert "No space left" in caplog.text


def test_a_file_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't be written"):
        TraceFile(tmp_path / "no" / "folder.jsonl")
    with pytest.raises(ConfigError, match="can't be written"):
        TraceFile(tmp_path)
    with pytest.raises(ConfigError, match="max_bytes is 10; expected 1000 or more"):
        TraceFile(tmp_path / "calls.jsonl", max_bytes=10)


def test_the_thread_ends_with_the_file(tmp_path: Path) -> None:
    written(tmp_path / "calls.jsonl", EVENT)
    assert "rtllm trace file" not in [thread.name for thread in threading.enumerate()]


# -- what is read ----------------------------------------------------------------------------------


def test_what_cannot_be_read_is_counted_and_the_rest_is_read(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    written(path, EVENT, ENDED)
    whole = path.read_bytes().splitlines(keepends=True)
    head = b'{"v":1,"time":1.0,"pid":7,'
    path.write_bytes(
        b"\n".join(
            [
                whole[1].strip(),
                b"INFO: a line of another log",
                b'{"level":"info","message":"foreign JSON"}',
                b"[1, 2]",
                b"\x00\x00\x00",
                b"\xff\xfe",
                head + b'"kind":"a kind of the future","at":1.0}',
                b'{"v":2,"time":1.0,"pid":7,"kind":"first_output","at":1.0,"output":"smell"}',
                head + b'"kind":"first_output","at":1.0,"output":"smell"}',
                head + b'"kind":"first_output","at":"noon","output":"text"}',
                head + b'"kind":"first_output","output":"text"}',
                b'{"v":2,"time":1.0,"pid":7,"kind":"first_output","at":2.0,"output":"text","x":1}',
                b"",
                head + b'"kind":"dropped","count":3}',
                b"[" * 100_000,
                whole[2][:40],
            ]
        )
    )
    reading = read_trace(path)
    assert [record.event for record in reading.records] == [
        EVENT,
        FirstOutput(at=2.0, output="text"),
    ]
    assert reading.unread == {"cut": 5, "foreign": 2, "newer": 2, "invalid": 3}
    assert reading.dropped == 3
    assert reading.remarks[0] == "5 lines could not be read: cut off, or not JSON"
    assert len(reading.remarks) == 5


@pytest.mark.parametrize("kind", EVENTS)
def test_each_kind_is_read_with_its_names_only(tmp_path: Path, kind: str) -> None:
    """A reader of another version finds all that this one needs, or counts the line."""
    path = tmp_path / "calls.jsonl"
    path.write_text(json.dumps({"v": 1, "time": 1.0, "pid": 7, "kind": kind, "at": 1.0}))
    reading = read_trace(path)
    assert len(reading.records) + reading.unread.get("invalid", 0) == 1


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_trace(tmp_path / "nothing")


# -- a file that grows -----------------------------------------------------------------------------


def events_of(follower: TraceFollower) -> list[TraceEvent]:
    return [record.event for record in follower.reading.records]


def test_of_a_file_that_grows_only_what_is_new_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "calls.jsonl"
    written(path, EVENT, ENDED)
    decoded: list[bytes] = []

    def note(line: bytes) -> Any:
        decoded.append(line)
        return read_line(line)

    monkeypatch.setattr(trace_reader, "read_line", note)
    with closing(TraceFollower(path)) as follower:
        assert events_of(follower) == [EVENT, ENDED]
        assert not follower.update()
        decoded.clear()
        written(path, ENDED)
        assert follower.update()
        assert events_of(follower) == [EVENT, ENDED, ENDED]
        assert len(decoded) == 2  # with that of the writer's beginning


def test_a_line_that_is_not_complete_yet_is_read_later(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    written(path, EVENT)
    line = path.read_bytes().splitlines(keepends=True)[-1]
    with path.open("ab") as file, closing(TraceFollower(path)) as follower:
        file.write(line[:30])
        file.flush()
        assert not follower.update()
        file.write(line[30:])
        file.flush()
        assert follower.update()
        assert events_of(follower) == [EVENT, EVENT]
        assert follower.reading.unread == {}


def test_a_file_is_followed_when_it_is_renamed(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    written(path, EVENT)
    with closing(TraceFollower(path)) as follower:
        file = TraceFile(path, max_bytes=1000, backups=9)
        for _ in range(20):
            file(ENDED)
            file.flush()
        file.close()
        assert path.with_name("calls.jsonl.2").exists()
        assert follower.update()
        assert events_of(follower) == [EVENT, *[ENDED] * 20]
        path.rename(path.with_name("moved"))
        assert not follower.update()
        written(path, EVENT)
        assert follower.update()
        assert events_of(follower)[-1] == EVENT


def test_a_file_is_followed_when_it_is_emptied(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    written(path, EVENT, ENDED, ENDED)
    with closing(TraceFollower(path)) as follower:
        path.write_bytes(b"")
        assert not follower.update()
        written(path, EVENT)
        assert follower.update()
        assert events_of(follower) == [EVENT, ENDED, ENDED, EVENT]
