"""What a failed generation becomes: one ``error`` event, and the same exception raised.

VideoSDK has no exceptions of its own for a model's failures: users get rtllm's, whose text
names what the service said, its status, code and request id.

=================  ==========================================================
`RequestRejected`  the service says no: key, model, parameter, content, limit
`RateLimited`      too many requests or tokens
`Overloaded`       the service has no room just now
`ConnectFailed`    no connection
`ConnectionLost`   the connection died before the answer was complete
`TurnTimeout`      a wait ran out
`ResponseFailed`   the service gave up, or every call of the model was broken
`ConfigError`      a setting that can't be sent
`EmptyContext`     nothing to answer
=================  ==========================================================
"""

from rtllm import Details, RequestRejected, ResponseFailed


def declined(text: str, request_id: str | None) -> RequestRejected:
    """The error of a model that declined to answer, where refusals are errors."""
    details = Details(code="refusal", request_id=request_id)
    return RequestRejected(f"the model declined to answer: {text}", details)


def cannot_call(reason: str, request_id: str | None) -> ResponseFailed:
    """The error of a turn in which the model kept calling what can't be run."""
    details = Details(code="tool_call_invalid", request_id=request_id)
    return ResponseFailed(f"the model's tool calls can't be run: {reason}", details)


def no_decision(request_id: str | None) -> ResponseFailed:
    """The error of a graph's answer that holds nothing to speak and nothing to decide by."""
    details = Details(code="graph_answer_invalid", request_id=request_id)
    return ResponseFailed("the answer of the conversational graph holds nothing to speak", details)
