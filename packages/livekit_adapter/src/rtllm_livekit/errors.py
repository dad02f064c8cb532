"""Translation of rtllm's errors to LiveKit's: one table.

All are ``retryable=False``: every possible retry was made inside the turn, without LiveKit's pauses
and error events.
"""

from livekit.agents import APIConnectionError, APIError, APIStatusError, APITimeoutError

from rtllm import (
    ConnectFailed,
    ConnectionLost,
    Overloaded,
    RateLimited,
    RequestRejected,
    ResponseFailed,
    TurnError,
    TurnTimeout,
)

_DEFAULT_STATUS: dict[type[TurnError], int] = {
    RateLimited: 429,
    Overloaded: 503,
    ResponseFailed: 500,
}
_CONNECTION = (ConnectFailed, ConnectionLost)


class LLMConnectionError(APIConnectionError):
    """A connection that failed or was lost. Its text does not repeat that of its cause."""

    def __str__(self) -> str:
        return self.message


class LLMTimeoutError(APITimeoutError):
    """A timeout. Its text does not repeat that of its cause."""

    def __str__(self) -> str:
        return self.message


def to_livekit(error: TurnError) -> APIError:
    """Translate the error of a failed turn to LiveKit's.

    Returns:
        `APITimeoutError` for a timeout, `APIConnectionError` for a connection that failed or was
        lost, `APIStatusError` for an error of the service.
    """
    details = error.details
    if isinstance(error, TurnTimeout):
        return LLMTimeoutError(str(error), retryable=False)
    status = details.status or _DEFAULT_STATUS.get(type(error))
    if isinstance(error, _CONNECTION) and status is None:
        return LLMConnectionError(str(error), retryable=False)
    body = {"message": error.message, "code": details.code, "param": details.param}
    if status is None and isinstance(error, RequestRejected):
        return APIError(str(error), body=body, retryable=False)
    return APIStatusError(
        str(error),
        status_code=status if status is not None else -1,
        request_id=details.request_id,
        body=body,
        retryable=False,
    )
