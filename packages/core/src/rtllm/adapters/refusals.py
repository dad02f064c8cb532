"""Refusals: the model declines to answer, in words that it sends apart from its text."""

from typing import Literal

from rtllm.errors import Details, RequestRejected

OnRefusal = Literal["speak", "error"]
"""What to do with the text of a refusal: emit it like any other text, or fail the turn with it."""


def refusal_error(text: str, request_id: str | None) -> RequestRejected:
    """Create the error of a turn in which the model declined to answer.

    Args:
        text: The text of the refusal.
        request_id: The service's id of the response.
    """
    details = Details(code="refusal", request_id=request_id)
    return RequestRejected(f"the model declined to answer: {text}", details)
