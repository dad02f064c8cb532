"""What a failed generation becomes: one ``error`` event, and the same exception raised.

VideoSDK has no exceptions of its own for a model's failures: users get rtllm's, whose text
names what the service said, its status, code and request id.

=================  ==========================================================
`Refused`          the service says no: key, model, parameter, content, limit
`Busy`             rate limit, quota, overload
`Unreachable`      no connection
`Dropped`          the connection died before the answer was whole
`Silent`           a wait ran out
`Failed`           the service gave up, or every call of the model was broken
`ConfigError`      a setting that can't be sent
`EmptyContext`     nothing to answer
=================  ==========================================================
"""

from rtllm import Details, Failed, Refused


def declined(text: str, request_id: str | None) -> Refused:
    """The error of a model that declined to answer, where refusals are errors."""
    details = Details(code="refusal", request_id=request_id)
    return Refused(f"the model declined to answer: {text}", details)


def cannot_call(reason: str, request_id: str | None) -> Failed:
    """The error of a turn in which the model kept calling what can't be run."""
    details = Details(code="tool_call_invalid", request_id=request_id)
    return Failed(f"the model's tool calls can't be run: {reason}", details)


def no_decision(request_id: str | None) -> Failed:
    """The error of a graph's answer that holds nothing to speak and nothing to decide by."""
    details = Details(code="graph_answer_invalid", request_id=request_id)
    return Failed("the answer of the conversational graph holds nothing to speak", details)
