"""Probe of Chat Completions, for hosts without the Responses API."""

from contextlib import aclosing
from dataclasses import replace

from rtllm.content.items import Message
from rtllm.content.request import Request
from rtllm.content.timeouts import Timeouts
from rtllm.content.usage import Totals
from rtllm.doctor.judgements.steps import ASK
from rtllm.doctor.probes.conversation import LIMIT, Route, make_client_of
from rtllm.doctor.target import Target
from rtllm.errors import TurnError
from rtllm.retry.faults import Fault, from_error


async def ask_chat(target: Target, route: Route) -> tuple[Fault | None, Totals]:
    """Send a short request to Chat Completions.

    Returns:
        Why it failed, None if it did not; and its tokens.
    """
    request = Request(
        (Message.of("user", ASK),),
        target.model,
        settings={**route.settings, "max_output_tokens": route.usual_cap},
        limits=Timeouts(base=LIMIT, silence=LIMIT),
    )
    fault: Fault | None = None
    async with aclosing(make_client_of(target, replace(route, chat=True))) as client:
        try:
            await client.ask(request).text()
        except TurnError as error:
            details = error.details
            fault = from_error({"message": str(error), "code": details.code}, details.status)
        return fault, client.usage.all
