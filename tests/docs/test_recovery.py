"""docs/recovery.md says what the recovery table does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from rtllm.errors import Phase
from rtllm.faults import Fault, Kind
from rtllm.recovery import TABLE, Fail, Finish, Resend, Row, decide

PAGE = Path(__file__).parents[2] / "docs" / "recovery.md"
_NONE = "–"  # noqa: RUF001 - as in the other pages

WORDS: Mapping[Kind, str] = {
    Kind.CHAIN_MISS: "the service no longer knows the answer that is continued",
    Kind.CONNECTION_LIMIT: "the connection has reached the host's lifetime",
    Kind.LANES_REFUSED: "the host knows no lanes (`stream_id`)",
    Kind.LANE_LIMIT: "no lane is free on the connection",
    Kind.PARAMETER_REFUSED: "a parameter is refused that may be left out or stepped",
    Kind.ITEMS_REFUSED: "an item, its id, a call's output or sealed reasoning is refused",
    Kind.BUSY: "rate limit, overload (409, 429, 503)",
    Kind.SERVER: "the service broke (408, 500 and above, `server_error`)",
    Kind.DROPPED: "the connection died: reset, end, close with any code not named here",
    Kind.UNREACHABLE: "no connection could be made",
    Kind.SILENT: "a wait ran out",
    Kind.MUTE: "a wait ran out on a connection that never said a word",
    Kind.EMPTY: "the answer is complete and empty",
    Kind.CLOSED: "the client was closed",
    Kind.QUOTA: "money or quota is used up",
    Kind.UNAUTHORISED: "the key is refused (401)",
    Kind.TOKEN_REFUSED: "the key is refused, and a function gives fresh ones",
    Kind.FORBIDDEN: "not allowed (403), a redirect, a certificate that isn't trusted",
    Kind.NOT_FOUND: "the model or what the request names isn't there (404)",
    Kind.NO_WEBSOCKET: "the host has no WebSocket (200, 400, 404, 405, 426, 501, no error code)",
    Kind.NO_HTTP: "the host doesn't answer over HTTP, or has no Responses API there",
    Kind.TOO_LARGE: "the request exceeds the frame limit (close 1009, 413)",
    Kind.REFUSED: "the request is refused (other 4xx, close 1008 and 4000 to 4999)",
    Kind.GIVEN_UP: "`response.failed` with any other code",
    Kind.PARENT_IGNORED: "the service answers as if nothing had been continued",
    Kind.FORM_REFUSED: "the host refuses how something is said ([hosts](hosts.md))",
    Kind.CUT_AT_ONCE: "filtered, cut by length, or nothing but thoughts: no word came",
    Kind.SLIPPED: "the host could not read the model's call (`tool_use_failed`)",
    Kind.PASSING: "the upgrade gets an empty 403",
}


def _cost(row: Row) -> str:
    free = {0: "", 1: "once free"}.get(row.free, f"{row.free} times free")
    parts = [part for part in (free, "budget" if row.budgeted else "") if part]
    return ", then ".join(parts) or _NONE


def _way(resend: Resend) -> str:
    if resend.over_http:
        return "HTTP"
    how = [
        word
        for word, does in (
            ("whole", resend.whole),
            ("elsewhere", resend.elsewhere),
            ("after a wait", resend.waits),
        )
        if does
    ]
    return ", ".join(["again", *how])


def steps(kind: Kind, phase: Phase) -> str:
    """All that is done about a fault that strikes again and again, with one paid resend."""
    told: list[str] = []
    seen: Counter[Kind] = Counter()
    left, http = 1, True
    while True:
        action = decide(Fault(kind, ""), phase, seen, left, can_fall_back=http)
        match action:
            case Resend():
                way = _way(action)
                if way not in told:
                    told.append(way)
                http = http and not action.over_http
                left -= action.paid
                seen[kind] += 1
                if action.over_http:
                    return ", then ".join(told)
            case Finish():
                ends = "the end" if action.outcome == "empty" else "the answer counts"
                return ", then ".join([*told, ends])
            case Fail():
                return ", then ".join([*told, "error"])


def row_of(kind: Kind, row: Row) -> str:
    early = steps(kind, "sent")
    assert steps(kind, "created") == early
    cells = (
        WORDS[kind],
        steps(kind, "connecting"),
        early,
        steps(kind, "given out"),
        steps(kind, "whole"),
        _cost(row),
        f"`{row.error.__name__}`",
    )
    return f"| {' | '.join(cells)} |"


def test_each_row_of_the_table_stands_in_the_page() -> None:
    lines = PAGE.read_text().splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("| what happens |"))
    rows = lines[start + 2 : start + 2 + len(TABLE)]
    assert rows == [row_of(kind, row) for kind, row in TABLE.items()]
    assert not lines[start + 2 + len(TABLE)].startswith("|")
