"""Instructions that the service processes before the first turn."""

import logging
from dataclasses import replace

from rtllm.client.client import Client
from rtllm.content.items import Item, Message
from rtllm.content.request import Request
from rtllm.errors import TurnError

logger = logging.getLogger(__name__)


async def warm_up(client: Client, request: Request, instructions: str) -> None:
    """Let the service process instructions, so that first turns send only what is new.

    A failure is only logged, because the first turn works without it.

    Args:
        client: The client.
        request: A request without its context, with the tools and settings of later requests.
        instructions: The system text of the agent.
    """
    items = (Message.of("system", instructions),)
    try:
        await client.warm_up(replace(request, items=items, record=_records_nothing))
    except TurnError as error:
        logger.warning("the instructions could not be warmed up: %s", error)


def _records_nothing(_: tuple[Item, ...]) -> tuple[Item, ...]:
    return ()
