"""Probe of the list of models: what the host offers, and which time it has. It costs no tokens."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from rtllm.doctor.target import Target
from rtllm.transport.websocket_connect import headers_of

LIMIT = 10.0
"""Seconds for the list, with a key function and the creation of the client."""


@dataclass(frozen=True, slots=True)
class Listing:
    """What the list of models tells; it may tell nothing.

    Attributes:
        models: The names of the models.
        skew: The host's time minus this computer's, in seconds; None if unknown.
    """

    models: tuple[str, ...] = ()
    skew: float | None = None


async def probe_listing(target: Target, now: Callable[[], float]) -> Listing:
    """Ask for the list of models; whatever goes wrong, later requests tell better.

    Args:
        target: The host.
        now: Returns this computer's time, in seconds since 1970.
    """
    try:
        async with asyncio.timeout(LIMIT):
            headers = {} if target.has_own_key else await headers_of(target.credentials)
            client = await asyncio.to_thread(target.clients.get)
            before = now()
            received, models = await _ask(client, headers)
            local = (before + now()) / 2
    except Exception:  # noqa: BLE001 - any object may be passed as a client
        return Listing()
    return Listing(models, _skew(received, local))


async def _ask(
    client: Any, headers: Mapping[str, str]
) -> tuple[Mapping[str, str], tuple[str, ...]]:
    """Return the headers of the answer, and the names in it."""
    if hasattr(client, "with_options"):
        client = client.with_options(max_retries=0)
    import openai  # noqa: PLC0415 - slow to import, and here it is imported already

    try:
        raw = await client.models.with_raw_response.list(extra_headers=dict(headers))
    except openai.APIStatusError as error:
        return error.response.headers, ()
    try:
        models = tuple(str(each.id) for each in raw.parse().data)
    except Exception:  # noqa: BLE001 - another body than the SDK expects
        models = ()
    return raw.headers, models


def _skew(headers: Mapping[str, str], local: float) -> float | None:
    try:
        return parsedate_to_datetime(headers["date"]).timestamp() - local
    except (KeyError, TypeError, ValueError):
        return None
