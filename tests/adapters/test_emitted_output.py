"""What a framework gets of one response, or of several."""

from __future__ import annotations

import logging

import pytest

from rtllm import (
    PhaseChanged,
    RequestRejected,
    ResponseEnded,
    TextDelta,
    ToolCall,
    ToolCallReady,
    Usage,
)
from rtllm.adapters import EmittedOutput, SpentTokens

CALL = ToolCall("1", "work", "{}")
ENDED = ResponseEnded("completed", response_id="resp-1", usage=Usage(10, 2))


def test_events_pass_and_calls_are_held() -> None:
    output = EmittedOutput()
    for event in (TextDelta("Hello. "), TextDelta("How?"), PhaseChanged("commentary"), ENDED):
        assert output.take(event) == event
    assert output.take(ToolCallReady(CALL)) is None
    assert (output.text, output.calls, output.ended) == ("Hello. How?", [CALL], ENDED)
    assert EmittedOutput(holds_calls=False).take(ToolCallReady(CALL)) == ToolCallReady(CALL)


def test_texts_of_several_responses_are_separated_and_their_tokens_added() -> None:
    output = EmittedOutput()
    said: list[str] = []
    ends: list[Usage | None] = []
    for texts in (["One ", "moment."], [], ["It is", " mild."]):
        output.begin_response()
        for text in texts:
            taken = output.take(TextDelta(text))
            assert isinstance(taken, TextDelta)
            said.append(taken.text)
        taken = output.take(ENDED)
        assert isinstance(taken, ResponseEnded)
        ends.append(taken.usage)
    assert "".join(said) == "One moment. It is mild."
    assert (output.before, output.text) == ("One moment.", "It is mild.")
    assert ends == [Usage(10, 2), Usage(20, 4), Usage(30, 6)]
    assert output.spent == SpentTokens(Usage(30, 6), 3, "resp-1")


def test_tokens_are_added_and_what_is_unknown_stays_unknown() -> None:
    spent = SpentTokens()
    spent.add(ResponseEnded("completed"))
    assert spent.usage is None
    spent.add(ResponseEnded("completed", usage=Usage(10, 2, cached=5, tier="flex")))
    spent.add_all(SpentTokens(Usage(20, 3, tier="default"), 2, "resp-9", "gpt-5"))
    assert spent == SpentTokens(Usage(30, 5, cached=5, tier="default"), 4, "resp-9", "gpt-5")
    spent.add(ResponseEnded("completed", response_id="resp-10", usage=Usage(1, 1, reasoning=1)))
    assert spent.usage == Usage(31, 6, cached=5, reasoning=1, tier="default")


def test_a_refusal_is_text_or_an_error() -> None:
    spoken = EmittedOutput()
    assert spoken.take(TextDelta("No.", refusal=True)) == TextDelta("No.", refusal=True)
    spoken.check_refusal()
    assert (spoken.text, spoken.refusal) == ("No.", "No.")
    raised = EmittedOutput("error")
    assert raised.take(TextDelta("No.", refusal=True)) is None
    raised.take(ENDED)
    with pytest.raises(RequestRejected, match=r"declined to answer: No\.") as failure:
        raised.check_refusal()
    assert failure.value.details.request_id == "resp-1"


def test_the_text_of_a_failure_comes_after_what_was_said() -> None:
    output = EmittedOutput()
    assert output.failure("Sorry.") == "Sorry."
    output.take(TextDelta("It is"))
    assert output.failure("Sorry.") == " Sorry."
    output.begin_response()
    assert output.failure("Sorry.") == " Sorry."


@pytest.mark.parametrize(
    ("ended", "reason", "line"),
    [
        (ENDED, None, None),
        (
            ResponseEnded("incomplete", "max_output_tokens", "r"),
            "length",
            "r was cut short: length",
        ),
        (ResponseEnded("incomplete", "content_filter", "r"), "content_filter", "r was cut short"),
        (ResponseEnded("incomplete"), "incomplete", "was cut short"),
        (ResponseEnded("empty", response_id="r"), None, "r is empty"),
    ],
    ids=["complete", "length", "filter", "no reason", "empty"],
)
def test_an_unusual_end_is_logged(
    ended: ResponseEnded, reason: str | None, line: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    output = EmittedOutput()
    with caplog.at_level(logging.WARNING, "rtllm"):
        output.take(ended)
    assert output.finish_reason == reason
    assert (caplog.text == "") if line is None else (line in caplog.text)
