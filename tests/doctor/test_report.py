"""What a report contains, and what it must not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from doctor.runs import KEY, ON, examine, target_at
from rtllm.content.events import ResponseEnded
from rtllm.content.usage import Totals, Usage
from rtllm.doctor import QUESTIONS, Report, scrub, to_data, to_markdown, verify_protocol
from rtllm.doctor.judgements.chains import Continued, judge_kept, judge_tokens
from rtllm.doctor.judgements.findings import differs, exit_status, not_checked
from rtllm.doctor.judgements.limits import MIB, judge_frame_size, judge_unknown_event
from rtllm.doctor.judgements.replies import Baseline, HostReply, kept
from rtllm.doctor.judgements.report import verdict_of
from rtllm.doctor.simulated import simulated_host
from rtllm.doctor.verify import KIND
from rtllm.providers.hosts import PROFILES
from rtllm.retry.faults import from_error
from rtllm.simulator import ErrorFrame, RefuseRequest, Request

WORD = "harbor-123456"


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (f"Incorrect API key provided: {KEY}.", "Incorrect API key provided: …."),
        ("Incorrect API key provided: sk-ab***yz.", "Incorrect API key provided: …"),
        (
            "Rate limit for gpt-4.1 in organization org-Ab12Cd34",
            "Rate limit for gpt-4.1 in organization …",
        ),
        ("Response resp_0123456789abcdef not found", "Response … not found"),
        ("request 0f3c5a7e-1234-5678-9abc-def012345678", "request …"),
        (
            "no connection to https://h.example/v1?key=hidden",
            "no connection to https://h.example/v1?…",
        ),
        ("my-company.openai.azure.com", "….openai.azure.com"),
        ("ask someone@example.com", "ask …"),
        ("no access to ft:gpt-4.1:our-company:agent:Ab12", "no access to ft:gpt-4.1:…"),
        ("user-defined call_not_found", "user-defined call_not_found"),
        (
            "model gpt-5.6-luna, previous_response_not_found",
            "model gpt-5.6-luna, previous_response_not_found",
        ),
    ],
)
def test_what_identifies_an_account_is_removed(said: str, shown: str) -> None:
    assert scrub(said, [KEY]) == shown


async def test_a_host_that_repeats_the_key_does_not_get_it_into_the_report() -> None:
    refused = RefuseRequest(400, {"error": {"message": f"Bad header Bearer {KEY}, org-1234567"}})

    def plan(request: object) -> RefuseRequest | None:
        is_warm_up = getattr(request, "body", {}).get("generate") is False
        return refused if is_warm_up else None

    report = await examine(fault=plan)
    for text in (to_markdown(report), json.dumps(to_data(report))):
        assert "Bad header …" in text or "Bad header \\u2026" in text
        assert KEY not in text
        assert "org-1234567" not in text
        assert "resp_" not in text


@pytest.mark.parametrize(
    "config",
    [{"api_key": lambda: "gw-word-1"}, {"base_url": "BASE?subscription=gw-word-1"}],
    ids=["key function", "query"],
)
async def test_a_host_that_repeats_another_secret_does_not_get_it_into_the_report(
    config: dict[str, Any],
) -> None:
    repeating = ErrorFrame(code="odd", status=400, message="I do not like gw-word-1")

    def plan(request: Request) -> ErrorFrame | None:
        return repeating if request.body.get("generate") is False else None

    async with simulated_host(fault=plan) as service:
        if "base_url" in config:
            config = {"base_url": config["base_url"].replace("BASE", service.base_url)}
        report = await verify_protocol(target_at(service, **config), on=ON)
    assert "I do not like …" in to_markdown(report)
    assert "gw-word-1" not in to_markdown(report)


def test_no_text_of_a_report_has_a_secret() -> None:
    names = ("request", "reply", "meaning", "keyword")
    finding = differs("key", *[f"a {name} {KEY}" for name in names])
    report = Report(
        *(KIND, "openai", f"{KEY}.example", f"ft:{KEY}:us", ON, "1.0", (finding,), Totals()),
        suggestion=f'llm = LLM(model="{KEY}")',
    ).scrubbed([KEY])
    texts = to_markdown(report) + json.dumps(to_data(report))
    assert all(f"a {name} …" in texts for name in names)
    assert KEY not in texts


async def test_the_data_has_what_the_markdown_has() -> None:
    report = await examine(lanes="ignore")
    data, text = to_data(report), to_markdown(report)
    assert data["keywords"] == ["lanes=False"]
    assert data["exit_status"] == 1
    assert data["verdict"] in text
    assert "  - set: `lanes=False`" in text
    assert {each["name"] for each in data["findings"]} == set(QUESTIONS)
    assert data["findings"][0]["name"] == "lanes"  # what differs comes first
    for each in data["findings"]:
        assert each["means"] in text


def test_nothing_checked_is_neither_good_nor_bad() -> None:
    nothing = [not_checked(name, "nothing", "no time") for name in QUESTIONS]
    assert exit_status(nothing) == 2
    assert verdict_of(nothing, KIND) == "Nothing could be checked."


# -- judgements that no simulated host needs -------------------------------------------------------


def answered(text: str, tokens: int | None = None, outcome: str = "completed") -> HostReply:
    usage = None if tokens is None else Usage(tokens, 3)
    ended = ResponseEnded(outcome, usage=usage)  # type: ignore[arg-type]
    return HostReply("resp_2", "resp_1", text, ended)


def refused(status: int, code: str | None = None) -> HostReply:
    return HostReply(fault=from_error({"message": "no", "code": code}, status))


BASE = Baseline(message=30, question=40)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (answered(f"The word is {WORD}."), "kept"),
        (answered("123456"), "kept"),
        (answered("UNKNOWN"), "ignored"),
        (answered("UNKNOWN", 41), "ignored"),
        (answered("I can't say.", 72), "unclear"),
        (answered("", None, "empty"), "unclear"),
        (answered("The w", 41, "incomplete"), "unclear"),
        (refused(400, "previous_response_not_found"), "missed"),
        (refused(400), "refused"),
        (refused(429), "failed"),
        (refused(500), "failed"),
        (HostReply(), "failed"),
    ],
)
def test_whether_a_request_knew_the_response(reply: HostReply, expected: str) -> None:
    assert kept(reply, WORD, BASE) == expected


@pytest.mark.parametrize("asked", [answered("I can't say.", 72), refused(500), HostReply()])
def test_an_answer_that_does_not_tell_is_not_a_finding(asked: HostReply) -> None:
    turn = Continued(answered("OK", 30), asked, WORD, BASE)
    assert judge_kept(PROFILES["openai"], turn).verdict == "not checked"


def test_a_first_turn_that_failed_tells_nothing_about_the_second() -> None:
    turn = Continued(refused(500), answered("UNKNOWN", 40), WORD, BASE)
    finding = judge_kept(PROFILES["openai"], turn)
    assert finding.verdict == "not checked"
    assert "error 500" in finding.seen
    assert judge_tokens(turn).verdict == "not checked"


def test_a_host_that_keeps_more_than_its_profile() -> None:
    turn = Continued(answered("OK", 30), answered(WORD, 80), WORD, BASE)
    finding = judge_kept(PROFILES["groq"], turn)
    assert (finding.verdict, finding.keyword[:13]) == ("differs", "host_profile=")


def test_a_frame_that_is_refused_as_too_large_was_not_read() -> None:
    tried = [(16 * MIB, refused(413, "request_too_large")), (4 * MIB, refused(400))]
    finding = judge_frame_size(PROFILES["openai"], tried)
    assert finding.keyword == f"host_profile=HostProfile(…, max_frame={4 * MIB})"


def test_a_connection_that_an_unknown_event_ends_does_no_harm() -> None:
    survives, ends = judge_unknown_event(answered("OK")), judge_unknown_event(refused(400))
    assert (survives.verdict, ends.verdict) == ("holds", "holds")
    assert "survives" in survives.meaning
    assert "survives" not in ends.meaning
