"""Findings: the result of one question to a host."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from rtllm.doctor.judgements.subjects import EVERYTHING

Verdict = Literal["holds", "differs", "fails", "not checked"]
"""Whether what the code assumes holds on this host. *Fails*: nothing works until it is mended."""
Certainty = Literal["measured", "likely", "unknown"]
"""How sure a finding is. *Likely*: judged by the model's words or by token counts alone."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one question.

    Attributes:
        name: The name of the question, one of `EVERYTHING`.
        verdict: Whether the assumption holds.
        asked: What was sent.
        seen: What came back.
        meaning: The consequence for agents that use this library.
        keyword: The keyword to set; empty if none is needed.
        certainty: How sure this is.
    """

    name: str
    verdict: Verdict
    asked: str
    seen: str
    meaning: str
    keyword: str = ""
    certainty: Certainty = "measured"

    @property
    def question(self) -> str:
        """The question in words."""
        return EVERYTHING[self.name].text


def holds(
    name: str, asked: str, seen: str, meaning: str, certainty: Certainty = "measured"
) -> Finding:
    """Create the finding of an assumption that holds."""
    return Finding(name, "holds", asked, seen, meaning, certainty=certainty)


def differs(name: str, asked: str, seen: str, meaning: str, keyword: str = "") -> Finding:
    """Create the finding of an assumption that does not hold.

    Args:
        name: The name of the question.
        asked: What was sent.
        seen: What came back.
        meaning: The consequence.
        keyword: The keyword to set; empty if the consequence is harmless.
    """
    return Finding(name, "differs", asked, seen, meaning, keyword)


def fails(name: str, asked: str, seen: str, meaning: str, keyword: str = "") -> Finding:
    """Create the finding of something without which no turn succeeds."""
    return Finding(name, "fails", asked, seen, meaning, keyword)


def not_checked(name: str, asked: str, why: str) -> Finding:
    """Create the finding of a question without an answer."""
    return Finding(
        name, "not checked", asked, why, "nothing is known about it", certainty="unknown"
    )


def keywords(findings: Iterable[Finding]) -> tuple[str, ...]:
    """List the keywords to set, each once."""
    return tuple(dict.fromkeys(each.keyword for each in findings if each.keyword))


def exit_status(findings: Iterable[Finding]) -> int:
    """Return the exit status of the command.

    Returns:
        0 if no assumption is wrong, 1 if one is, and 2 if no turn can succeed or nothing was
        checked.
    """
    verdicts = {each.verdict for each in findings}
    if "fails" in verdicts:
        return 2
    if "differs" in verdicts:
        return 1
    return 0 if "holds" in verdicts else 2
