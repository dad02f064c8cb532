"""docs/recovery.md agrees with the recovery table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from rtllm.errors import Phase
from rtllm.retry.faults import Fault, FaultKind
from rtllm.retry.policy import TABLE, Complete, Fail, PolicyRow, Resend, decide

PAGE = Path(__file__).parents[2] / "docs" / "recovery.md"
_NONE = "–"  # noqa: RUF001 - as in the other pages

WORDS: Mapping[FaultKind, str] = {
    FaultKind.CHAIN_MISS: "the service no longer knows the response that is continued",
    FaultKind.CONNECTION_LIMIT: "the connection has reached the host's lifetime",
    FaultKind.LANES_REFUSED: "the host does not support lanes (`stream_id`)",
    FaultKind.LANE_LIMIT: "no lane is free on the connection",
    FaultKind.PARAMETER_REFUSED: "a parameter is rejected that may be dropped or replaced",
    FaultKind.ITEMS_REFUSED: "an item, its id, a call's output or encrypted reasoning is rejected",
    FaultKind.THROTTLED: "rate limit, overload (409, 429, 503)",
    FaultKind.SERVER: "the service failed (408, 500 and above, `server_error`)",
    FaultKind.DROPPED: "the connection was lost: reset, end, close with any code not listed here",
    FaultKind.UNREACHABLE: "no connection could be opened",
    FaultKind.TIMEOUT: "a wait timed out",
    FaultKind.UNRESPONSIVE: "a wait timed out on a connection that never sent anything",
    FaultKind.EMPTY: "the response is complete and empty",
    FaultKind.CLIENT_CLOSED: "the client was closed",
    FaultKind.QUOTA: "the credit or quota is used up",
    FaultKind.UNAUTHORISED: "the key is rejected (401)",
    FaultKind.TOKEN_REFUSED: "the key is rejected, and a key function can return a new one",
    FaultKind.FORBIDDEN: (
        "not allowed (403), a redirect to another host, a certificate that isn't trusted"
    ),
    FaultKind.NOT_FOUND: "the model, or another object of the request, does not exist (404)",
    FaultKind.NO_WEBSOCKET: (
        "the host has no WebSocket (2xx, 400, 404, 405, 426, 501, no error code)"
    ),
    FaultKind.NO_HTTP: "the host does not answer over HTTP, or has no Responses API there",
    FaultKind.TOO_LARGE: "the request exceeds the frame limit (close 1009, 413)",
    FaultKind.REFUSED: "the request is rejected (other 4xx, close 1008 and 4000 to 4999)",
    FaultKind.RESPONSE_FAILED: "`response.failed` with any other code",
    FaultKind.PARENT_IGNORED: "the service ignores the response that is continued",
    FaultKind.FORM_REFUSED: "the host rejects the form of the request ([hosts](hosts.md))",
    FaultKind.CUT_BEFORE_OUTPUT: "filtered, cut short, or only thoughts, before the first output",
    FaultKind.MALFORMED_CALL: "the host could not parse the model's call (`tool_use_failed`)",
    FaultKind.UPGRADE_REFUSED: "the upgrade gets an empty 403",
}


def _cost(row: PolicyRow) -> str:
    free = {0: "", 1: "once free"}.get(row.free_resends, f"{row.free_resends} times free")
    parts = [part for part in (free, "budget" if row.budgeted else "") if part]
    return ", then ".join(parts) or _NONE


def _step(resend: Resend) -> str:
    if resend.over_http:
        return "HTTP"
    how = [
        word
        for word, does in (
            ("full context", resend.full_context),
            ("new connection", resend.elsewhere),
            ("after a wait", resend.waits),
        )
        if does
    ]
    return ", ".join(["resend", *how])


def steps(kind: FaultKind, phase: Phase) -> str:
    """List all steps for a fault that occurs again and again, with one retry in the budget."""
    found: list[str] = []
    seen: Counter[FaultKind] = Counter()
    left, http = 1, True
    while True:
        action = decide(Fault(kind, ""), phase, seen, left, can_fall_back=http)
        match action:
            case Resend():
                step = _step(action)
                if step not in found:
                    found.append(step)
                http = http and not action.over_http
                left -= action.uses_budget
                seen[kind] += 1
                if action.over_http:
                    return ", then ".join(found)
            case Complete():
                ends = "the end" if action.outcome == "empty" else "the response counts"
                return ", then ".join([*found, ends])
            case Fail():
                return ", then ".join([*found, "error"])


def row_of(kind: FaultKind, row: PolicyRow) -> str:
    early = steps(kind, "sent")
    assert steps(kind, "created") == early
    cells = (
        WORDS[kind],
        steps(kind, "connecting"),
        early,
        steps(kind, "emitted"),
        steps(kind, "complete"),
        _cost(row),
        f"`{row.error.__name__}`",
    )
    return f"| {' | '.join(cells)} |"


def test_each_row_of_the_table_is_in_the_page() -> None:
    lines = PAGE.read_text().splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("| what happens |"))
    rows = lines[start + 2 : start + 2 + len(TABLE)]
    assert rows == [row_of(kind, row) for kind, row in TABLE.items()]
    assert not lines[start + 2 + len(TABLE)].startswith("|")
