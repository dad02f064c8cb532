"""The price library, `genai-prices`: loaded when a cost is first asked for.

It takes about a second to load, and some tens of megabytes; so it is an extra (``rtllm[prices]``),
and `load_prices` can load it before a call begins.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import lru_cache
from threading import Event, Lock
from typing import Any

from rtllm.content.prices import MILLION, ModelPrices
from rtllm.content.usage import UsageLine
from rtllm.errors import ConfigError

logger = logging.getLogger(__name__)

PROVIDERS: Mapping[str, str] = {
    "openai": "openai",
    "azure": "azure",
    "azure-foundry": "azure",
    "xai": "x-ai",
    "gemini": "google",
    "vertex": "google",
    "deepseek": "deepseek",
    "mistral": "mistral",
    "groq": "groq",
    "cerebras": "cerebras",
    "fireworks": "fireworks",
    "together": "together",
    "perplexity": "perplexity",
    "openrouter": "openrouter",
}
"""What the library calls the known hosts. Other hosts are looked up by their address."""

_lock = Lock()
_loaded = Event()
said: set[str] = set()
"""What was logged already."""


@dataclass(frozen=True, slots=True)
class PriceLibrary:
    """The loaded price library.

    Attributes:
        version: Its version.
        updated: When it last fetched prices; None if it has those that it came with.
        newest: The date of the newest dated price that it came with; None if it has fetched others.
    """

    version: str
    updated: datetime | None
    newest: date | None

    def __str__(self) -> str:
        dated = f"updated {self.updated:%Y-%m-%d}" if self.updated else f"as of {self.newest}"
        return f"genai-prices {self.version}, {dated}"


def load_prices(*, update: bool = False) -> PriceLibrary:
    """Load the price library, which takes about a second; later calls take no time.

    Call it before calls begin, for example where a worker prepares its processes. Otherwise it is
    loaded when a cost is first read, and holds up the event loop if that happens there.

    Args:
        update: Whether the library fetches current prices from its project's repository, now and
            then every hour, in a thread of its own.

    Returns:
        The library's version and the date of its prices.

    Raises:
        ConfigError: If it is not installed.
    """
    library = find_library()
    if library is None:
        raise ConfigError("prices need the library genai-prices; pip install 'rtllm[prices]'")
    if update:
        _update()
    return _state(library)


def look_up(line: UsageLine) -> tuple[ModelPrices, str] | None:
    """Look up the prices of some attempts; what is not known is logged once.

    Args:
        line: The attempts, with their model, host, tier and day.

    Returns:
        The prices in USD, and their source; None if they are not known.
    """
    if not is_loaded() and _runs_in_event_loop():
        _say_once(
            "loading",
            "the price library is loaded inside the event loop, which stops for about a second; "
            "call rtllm.load_prices() before calls begin",
        )
    library = find_library()
    if library is None:
        _say_once("library", "costs are unknown: pip install 'rtllm[prices]', or pass prices=")
        return None
    state, day = _state(library), line.day or datetime.now(tz=UTC).date()
    for model in (line.served, line.model):
        if model:
            found = _rates(model, line.host, line.tier, day, line.size, state)
            if found is not None:
                return found, str(state)
    _say_once(
        f"{line.host}/{line.model}",
        f"no price is known for {line.model} on {line.host}, so its cost is unknown; pass prices=",
    )
    return None


@lru_cache(maxsize=1024)
def _rates(
    model: str, host: str, tier: str | None, day: date, size: int, state: PriceLibrary
) -> ModelPrices | None:
    """Find the prices of a model; once for each state of the library.

    The library knows prices as functions of the usage, so each is asked for with a usage of its
    own, and in the size of the request, since some models cost more from some size on.
    """
    library = find_library()
    if library is None:
        return None
    provider = PROVIDERS.get(host)
    where = {"provider_id": provider} if provider else {"provider_api_url": f"https://{host}"}
    context = {"service_tier": tier} if tier else None
    noon = datetime.combine(day, time(12), UTC)
    unit = size or 1

    def price(**usage: int) -> Any:
        return library.calc_price(
            library.Usage(**usage),
            model,
            **where,
            genai_request_timestamp=noon,
            price_context=context,
        )

    def per_million(amount: Decimal, count: int) -> Decimal:
        return amount * MILLION / count

    try:
        return ModelPrices(
            per_million(price(input_tokens=unit).input_price, unit),
            per_million(price(input_tokens=unit, output_tokens=1).output_price, 1),
            per_million(price(input_tokens=unit, cache_read_tokens=unit).input_price, unit),
            per_million(price(input_tokens=unit, cache_write_tokens=unit).input_price, unit),
        )
    except LookupError:
        return None
    except Exception as error:  # noqa: BLE001 - another version of the library: unknown, not a crash
        _say_once(f"{host}/{model}!", f"no price is known for {model} on {host}: {error}")
        return None


def is_loaded() -> bool:
    """Whether the library is loaded already, so that looking up a price takes no time."""
    return _loaded.is_set()


def _runs_in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


@lru_cache(maxsize=1)
def find_library() -> Any:
    """Import the library, once; None if it is not installed."""
    with _lock:
        try:
            import genai_prices  # noqa: PLC0415 - loading takes about a second
        except ImportError:
            return None
        finally:
            _loaded.set()
        return genai_prices


def _state(library: Any) -> PriceLibrary:
    snapshot = library.data_snapshot.get_snapshot()
    if snapshot.from_auto_update:
        return PriceLibrary(library.__version__, snapshot.timestamp, None)
    return PriceLibrary(library.__version__, None, _newest_price())


@lru_cache(maxsize=1)
def _newest_price() -> date | None:
    """Find the newest date from which one of the library's own prices is valid."""
    today = datetime.now(tz=UTC).date()
    found: set[date] = set()
    for provider in find_library().data_snapshot.get_snapshot().providers:
        for model in provider.models:
            conditional = model.prices if isinstance(model.prices, list) else []
            for dated in (*conditional, *(model.price_variants or ())):
                start = getattr(dated.constraint, "start_date", None)
                if isinstance(start, date) and start <= today:
                    found.add(start)
    return max(found, default=None)


@lru_cache(maxsize=1)
def _update() -> object:
    """Start the library's own updates, once for the process."""
    updates = find_library().UpdatePrices()
    updates.start()
    return updates


def _say_once(what: str, text: str) -> None:
    if what not in said:
        said.add(what)
        logger.warning("%s", text)
