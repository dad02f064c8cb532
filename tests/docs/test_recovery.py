"""docs/recovery.md says what the recovery table does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from rtllm.errors import Phase
from rtllm.retry.faults import Fault, FaultKind
from rtllm.retry.policy import TABLE, Fail, Finish, PolicyRow, Resend, decide

PAGE = Path(__file__).parents[2] / "docs" / "recovery.md"
_NONE = "–"  # noqa: RUF001 - as in the other pages

WORDS: Mapping[FaultKind, str] = {
    FaultKind.CHAIN_MISS: "the service no longer knows the answer that is continued",
    FaultKind.CONNECTION_LIMIT: "the connection has reached the host's lifetime",
    FaultKind.LANES_REFUSED: "the host knows no lanes (`stream_id`)",
    FaultKind.LANE_LIMIT: "no lane is free on the connection",
    FaultKind.PARAMETER_REFUSED: "a parameter is refused that may be left out or stepped",
    FaultKind.ITEMS_REFUSED: "an item, its id, a call's output or sealed reasoning is refused",
    FaultKind.BUSY: "rate limit, overload (409, 429, 503)",
    FaultKind.SERVER: "the service broke (408, 500 and above, `server_error`)",
    FaultKind.DROPPED: "the connection died: reset, end, close with any code not named here",
    FaultKind.UNREACHABLE: "no connection could be made",
    FaultKind.TIMEOUT: "a wait ran out",
    FaultKind.UNRESPONSIVE: "a wait ran out on a connection that never said a word",
    FaultKind.EMPTY: "the answer is complete and empty",
    FaultKind.CLOSED: "the client was closed",
    FaultKind.QUOTA: "money or quota is used up",
    FaultKind.UNAUTHORISED: "the key is refused (401)",
    FaultKind.TOKEN_REFUSED: "the key is refused, and a function gives fresh ones",
    FaultKind.FORBIDDEN: "not allowed (403), a redirect, a certificate that isn't trusted",
    FaultKind.NOT_FOUND: "the model or what the request names isn't there (404)",
    FaultKind.NO_WEBSOCKET: (
        "the host has no WebSocket (200, 400, 404, 405, 426, 501, no error code)"
    ),
    FaultKind.NO_HTTP: "the host doesn't answer over HTTP, or has no Responses API there",
    FaultKind.TOO_LARGE: "the request exceeds the frame limit (close 1009, 413)",
    FaultKind.REFUSED: "the request is refused (other 4xx, close 1008 and 4000 to 4999)",
    FaultKind.RESPONSE_FAILED: "`response.failed` with any other code",
    FaultKind.PARENT_IGNORED: "the service answers as if nothing had been continued",
    FaultKind.FORM_REFUSED: "the host refuses how something is said ([hosts](hosts.md))",
    FaultKind.CUT_AT_ONCE: "filtered, cut by length, or nothing but thoughts: no word came",
    FaultKind.SLIPPED: "the host could not read the model's call (`tool_use_failed`)",
    FaultKind.PASSING: "the upgrade gets an empty 403",
}


def _cost(row: PolicyRow) -> str:
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


def steps(kind: FaultKind, phase: Phase) -> str:
    """All that is done about a fault that strikes again and again, with one paid resend."""
    told: list[str] = []
    seen: Counter[FaultKind] = Counter()
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


def row_of(kind: FaultKind, row: PolicyRow) -> str:
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
