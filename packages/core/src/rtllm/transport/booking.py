"""What becomes of an attempt that has ended: its usage in the books, its state in a ledger."""

import asyncio

from rtllm.dispatch import Dispatch
from rtllm.transport.attempt import Attempt
from rtllm.usage import Books


def settle(attempt: Attempt, dispatch: Dispatch, books: Books) -> None:
    """Book an attempt once, and remember what it came to.

    Args:
        attempt: One that has just ended.
        dispatch: Where it was placed.
        books: Where attempts are counted.
    """
    ended = attempt.ended
    response_id = None
    whole = ("completed", "empty") if not attempt.placement.generates else ("completed",)
    if ended is not None and attempt.fault is None and ended.outcome in whole:
        response_id = ended.response_id
    output = attempt.assembler.output()
    recorded = None if response_id is None else attempt.record(output)
    now = asyncio.get_running_loop().time()
    dispatch.ended(attempt.number, response_id, recorded, now, output)
    books.enter(attempt.account, ended.usage if ended is not None else None)
