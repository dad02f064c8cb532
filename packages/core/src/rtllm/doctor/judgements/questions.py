"""The questions to a host, and what the code assumes. ``docs/doctor.md`` shows the table."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Question:
    """One question.

    Attributes:
        name: Its name in reports.
        text: The question.
        assumed: What the code assumes.
        keyword: The keyword that changes it; empty if none is needed.
    """

    name: str
    text: str
    assumed: str
    keyword: str = ""


_QUESTIONS = (
    Question(
        "websocket",
        "Does the host have a Responses WebSocket?",
        "yes; without one, requests go over HTTP",
        "use_websocket=False",
    ),
    Question(
        "parent-kept",
        "Is a response continued on its own connection if it is not stored?",
        "yes, unless the host is known to store nothing",
        "store=True, chaining=False",
    ),
    Question(
        "parent-named",
        "Does `created` name the continued response if nothing is stored?",
        "it decides on hosts that don't document chaining; on the others it is not read",
        "chaining=True, chaining=False",
    ),
    Question(
        "input-tokens",
        "Do the input tokens of a continued response count the full context?",
        "yes, with the cached part",
    ),
    Question(
        "unknown-parent",
        "Is a request that continues an unknown response refused with a known error?",
        "yes: `previous_response_not_found`, or an error that names the field",
        "chaining=False",
    ),
    Question(
        "stored-elsewhere",
        "Can a stored response be continued on another connection?",
        "yes, unless the host is known to store nothing",
        "store=False, chaining=False",
    ),
    Question(
        "unstored-elsewhere",
        "Can a response that is not stored be continued on another connection?",
        "no",
    ),
    Question(
        "lanes",
        "Does the host have lanes (`stream_id`)?",
        "on hosts that document them",
        "lanes=True, lanes=False",
    ),
    Question("lane-memory", "Does each lane keep its newest response?", "yes", "lanes=False"),
    Question(
        "lane-running",
        "Does a lane keep its newest response while its next request runs?",
        "no: the parent's lane is reserved",
    ),
    Question("lane-older", "Does a lane forget its older responses?", "yes"),
    Question(
        "failed-fork",
        "Does a response outlive the failure of its continuation on another lane?",
        "yes",
    ),
    Question(
        "failed-continuation",
        "Does a lane forget a response whose continuation on the same lane failed?",
        "yes",
    ),
    Question(
        "lane-speed",
        "Is a continuation on another lane as quick as on the same one?",
        "yes",
        "lanes=False",
    ),
    Question(
        "at-once",
        "Are more than 8 responses at once on a connection delayed?",
        "yes: 8 run on a connection at most",
    ),
    Question(
        "frame-size",
        "Does the host accept a frame as large as in its profile?",
        "yes: 16 MiB less one byte, 4 MiB on Vercel",
        "host_profile=",
    ),
    Question(
        "unknown-event",
        "Does an event that the host does not know end the connection?",
        "it may: none is sent",
    ),
    Question(
        "lifetime",
        "Does a connection last as long as in its profile, also without requests?",
        "yes: 60 minutes, or the host's documented time",
        "host_profile=",
    ),
    Question(
        "warm-up",
        "Is a context processed without a response (`generate: false`), and continued?",
        "yes, for `Client.warm_up` and `rebuild=True` only",
        "rebuild=False",
    ),
    Question(
        "warm-up-lane",
        "Does a request with `generate: false` replace the response that its lane keeps?",
        "yes: a warm-up has a lane of its own",
    ),
    Question(
        "incomplete-parent",
        "Can an incomplete response be continued if it is not stored?",
        "no",
    ),
    Question(
        "drained-usage",
        "Does the usage of a cancelled response arrive?",
        "yes, at its end; until then, and without it, it is unknown",
    ),
    Question("http", "Does `POST /responses` answer with a stream?", "yes", "fallback=None"),
    Question(
        "http-chain",
        "Can a stored response be continued over HTTP?",
        "yes, unless the host is known to store nothing",
        "store=False, chaining=False",
    ),
    Question(
        "http-unstored",
        "Can a response that is not stored be continued over HTTP?",
        "no: with `store=False` each turn over HTTP sends its full context",
    ),
    Question(
        "http-named",
        "Does `created` name the continued response over HTTP?",
        "it decides on hosts that don't document chaining; on the others it is not read",
        "chaining=True, chaining=False",
    ),
    Question(
        "http-tokens",
        "Do the input tokens of a response that is continued over HTTP count the full context?",
        "yes, with the cached part",
    ),
    Question(
        "http-unknown",
        "Is a request over HTTP that continues an unknown response refused with a known error?",
        "yes: `previous_response_not_found`, or an error that names the field",
        "chaining=False",
    ),
    Question(
        "http-warm-up",
        "Is a context processed over HTTP without a response (`generate: false`)?",
        "no: `Client.warm_up` needs the WebSocket",
    ),
)
QUESTIONS: Mapping[str, Question] = {each.name: each for each in _QUESTIONS}
"""All questions by name, in the order of the report."""

LEFT_OUT = (
    "the limits of 16 active responses, of 32 lane names and of the connections of a key (costly)",
    "the billing of a cancelled response (only an invoice shows it)",
)
"""What the command does not check, for the report."""
