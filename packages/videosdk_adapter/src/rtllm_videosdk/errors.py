"""Errors of a failed generation: one ``error`` event, and the same exception raised.

VideoSDK has no exceptions of its own for a model's failures, so rtllm's are raised. Their text has
the service's message, status, code and request id.

=================  ==========================================================
`RequestRejected`  the service rejects the key, model, parameter, content or limit
`RateLimited`      too many requests or tokens
`Overloaded`       the service is overloaded
`ConnectFailed`    no connection could be opened
`ConnectionLost`   the connection was lost before the response was complete
`TurnTimeout`      a time limit was exceeded
`ResponseFailed`   the service failed, or every call of the model was invalid
`ConfigError`      a setting is not valid
`EmptyContext`     the context has nothing to respond to
=================  ==========================================================
"""

from rtllm import Details, ResponseFailed


def missing_decision_error(request_id: str | None) -> ResponseFailed:
    """Create the error of a graph's response with neither text nor a decision."""
    details = Details(code="graph_answer_invalid", request_id=request_id)
    return ResponseFailed("the response has no text to speak and no graph decision", details)
