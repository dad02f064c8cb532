"""The subjects of a complete examination, in addition to the questions about the protocol."""

from collections.abc import Mapping

from rtllm.doctor.judgements.compared import COMPARED
from rtllm.doctor.judgements.questions import QUESTIONS, Question

_SUBJECTS = (
    Question("versions", "Do the installed versions fit together?", "yes"),
    Question(
        "proxy",
        "Is there a proxy, and does it let connections through?",
        "none, or one that does",
        "proxy=, NO_PROXY",
    ),
    Question("dns", "Is the host's name known?", "yes", "base_url="),
    Question("connection", "Does the host accept connections?", "yes", "base_url="),
    Question("tls", "Is the host's certificate trusted?", "yes", "SSL_CERT_FILE, base_url="),
    Question("clock", "Does this computer's clock agree with the host's?", "yes, within 30 s"),
    Question("key", "Does the host accept the key?", "yes", "api_key="),
    Question("model", "Does the model exist, and answer?", "yes", "model="),
    Question(
        "chat",
        "Does the host have Chat Completions? (asked only if it has no Responses API)",
        "yes",
        "ChatLLM, OpenAILLM without streaming=True",
    ),
    Question(
        "tools",
        "Is a function called, and its strict schema accepted?",
        "yes",
        "strict_tools=False",
    ),
    Question(
        "first-word-cold",
        "How long is the first word away if no connection is open?",
        "at most 1 s more than with one",
        "prewarm()",
    ),
    Question(
        "first-word-warm",
        "How long is the first word away on an open connection?",
        "at most 2 s",
        'service_tier="priority", reasoning=',
    ),
    Question(
        "first-word-chained",
        "And if the turn continues an earlier response?",
        "at most 1 s more than without",
        "chaining=False",
    ),
    Question(
        "first-word-barge-in",
        "And right after a response was interrupted?",
        "at most 1 s more than without",
        "warm_connections=2",
    ),
    Question(
        "prompt-cache",
        "Is the beginning of a prompt read from the host's cache the next time?",
        "yes",
        "prompt_cache_key=",
    ),
)
SUBJECTS: Mapping[str, Question] = {each.name: each for each in _SUBJECTS}
"""The subjects by name, in the order of their examination."""

EVERYTHING: Mapping[str, Question] = {**SUBJECTS, **QUESTIONS, **COMPARED}
"""The subjects and the questions about the protocol, by name, in the order of reports."""
