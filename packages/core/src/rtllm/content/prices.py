"""Prices of models, and what tokens cost: values and arithmetic, without a price list."""

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Protocol

from rtllm.content.usage import UsageLine
from rtllm.errors import ConfigError

MILLION = Decimal(10**6)
_ZERO = Decimal(0)
_AMOUNTS = ("input", "output", "cached", "cache_write")


@dataclass(frozen=True, slots=True)
class ModelPrices:
    """Prices of a model's tokens, each for a million tokens.

    A price is a ``Decimal``, a whole number, or a text such as ``"0.15"``; never a float, which
    can't express most prices.

    Attributes:
        input: Input tokens.
        output: Output tokens, including reasoning.
        cached: Input tokens read from the prompt cache; None: as `input`.
        cache_write: Input tokens written to the prompt cache; None: as `input`.
        tiers: The prices of other service tiers, by the name that the service reports.

    Raises:
        ConfigError: If a price is not valid.
    """

    input: Decimal
    output: Decimal
    cached: Decimal | None = None
    cache_write: Decimal | None = None
    tiers: "Mapping[str, ModelPrices]" = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in _AMOUNTS:
            object.__setattr__(self, name, _price(name, getattr(self, name)))
        for name, tier in self.tiers.items():
            if not isinstance(tier, ModelPrices):
                raise ConfigError(f"tiers[{name!r}] is {tier!r}; expected ModelPrices")

    def of_tier(self, tier: str | None) -> "ModelPrices":
        """Return the prices of a service tier; the ordinary ones if it has none of its own."""
        return self.tiers.get(tier, self) if tier is not None else self


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices of one's own, for hosts and models that the price library doesn't know.

    A model that is not listed is looked up in the price library if the currency is USD.

    Attributes:
        models: The prices by model, as the requests name it; ``"*"`` is for every other model.
        currency: The currency, as its ISO code.
        date: The date of the prices, which is shown with each cost; None if it is not known.

    Raises:
        ConfigError: If a value is not valid.
    """

    models: Mapping[str, ModelPrices]
    currency: str = "USD"
    date: dt.date | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.models, Mapping):
            raise ConfigError(f"models is {self.models!r}; expected a mapping of names to prices")
        entries: Mapping[Any, Any] = self.models
        for name, prices in entries.items():
            if not isinstance(name, str) or not isinstance(prices, ModelPrices):
                raise ConfigError(
                    f"the prices of {name!r} are {prices!r}; expected a name and ModelPrices"
                )
        currency: object = self.currency
        if not isinstance(currency, str) or not currency.strip():
            raise ConfigError(f"currency is {currency!r}; expected a code such as 'USD'")
        if self.date is not None and not isinstance(self.date, dt.date):
            raise ConfigError(f"date is {self.date!r}; expected a datetime.date")

    def of(self, model: str, served: str | None) -> ModelPrices | None:
        """Return the prices of a model, by its requested name or by the one that answered."""
        found = self.models.get(model)
        if found is None and served is not None:
            found = self.models.get(served)
        return found if found is not None else self.models.get("*")


def _price(name: str, given: object) -> Decimal | None:
    if given is None and name in ("cached", "cache_write"):
        return None
    if isinstance(given, str | int | Decimal) and not isinstance(given, bool):
        try:
            price = Decimal(given)
        except ArithmeticError:
            price = Decimal("NaN")
        if price.is_finite() and price >= 0:
            return price
    raise ConfigError(
        f"{name} is {given!r}; expected a Decimal, a whole number or a text such as '0.15', for a "
        "million tokens"
    )


class PriceList(Protocol):
    """A price list: looks up the prices that apply to some attempts."""

    def __call__(self, line: UsageLine, /) -> tuple[ModelPrices, str] | None:
        """Return the prices in USD and their source; None if they are not known."""


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Pricing:
    """The prices that a client uses.

    Attributes:
        own: The user's prices; they come first.
        library: The price library; None for none.
        is_loaded: Whether the library answers at once; loading it takes about a second.
    """

    own: Prices | None = None
    library: PriceList | None = None
    is_loaded: Callable[[], bool] = _never

    @property
    def at_once(self) -> "Pricing":
        """These prices without the library if it is not loaded, for use on an event loop."""
        return self if self.is_loaded() else Pricing(self.own)

    @property
    def currency(self) -> str:
        """The currency of all costs."""
        return self.own.currency if self.own is not None else "USD"

    def of(self, line: UsageLine) -> tuple[ModelPrices, str] | None:
        """Return the prices of some attempts and their source; None if not known."""
        own = self.own.of(line.model, line.served) if self.own is not None else None
        if own is not None:
            dated = self.own.date if self.own is not None else None
            source = "own prices" if dated is None else f"own prices of {dated.isoformat()}"
            return own.of_tier(line.tier), source
        if self.library is None or self.currency != "USD":
            return None
        return self.library(line)


UNPRICED = Pricing()


@dataclass(frozen=True, slots=True)
class Cost:
    """What some attempts cost, as far as their usage and their prices are known.

    Attributes:
        currency: The currency, as its ISO code.
        attempts: How many attempts.
        unknown: How many of them have no reported usage; they are not part of the amounts.
        unpriced: How many of the others have no known price; likewise.
        input: What the input tokens cost that neither came from the prompt cache nor went to it.
        cached: What the tokens read from the prompt cache cost.
        cache_write: What the tokens written to it cost.
        output: What the output tokens cost.
        saved: What the prompt cache saved: the price of the cached tokens as ordinary input, less
            what they cost, less the surcharge for writing. Negative if writing cost more.
        estimated: An estimate for the attempts without reported usage, if their prices are known.
        sources: Where the prices are from, with their date.
    """

    currency: str = "USD"
    attempts: int = 0
    unknown: int = 0
    unpriced: int = 0
    input: Decimal = _ZERO
    cached: Decimal = _ZERO
    cache_write: Decimal = _ZERO
    output: Decimal = _ZERO
    saved: Decimal = _ZERO
    estimated: Decimal = _ZERO
    sources: tuple[str, ...] = ()

    @property
    def amount(self) -> Decimal | None:
        """The sum of the amounts; None if there were attempts and none of them could be priced."""
        if self.attempts and self.attempts == self.unknown + self.unpriced:
            return None
        return self.input + self.cached + self.cache_write + self.output

    def __add__(self, other: "Cost") -> "Cost":
        if self.currency != other.currency:
            raise ValueError(f"costs in {self.currency} and in {other.currency} can't be added")
        return Cost(
            self.currency,
            self.attempts + other.attempts,
            self.unknown + other.unknown,
            self.unpriced + other.unpriced,
            self.input + other.input,
            self.cached + other.cached,
            self.cache_write + other.cache_write,
            self.output + other.output,
            self.saved + other.saved,
            self.estimated + other.estimated,
            tuple(dict.fromkeys((*self.sources, *other.sources))),
        )

    def __str__(self) -> str:
        known = "unknown" if self.amount is None else f"{_shown(self.amount)} {self.currency}"
        more = [f"{self.unpriced} without a price"] if self.unpriced else []
        more += [f"{self.unknown} without reported usage"] if self.unknown else []
        more += [f"about {_shown(self.estimated)} for them"] if self.estimated else []
        return ", ".join((known, *more, *self.sources))


def _shown(amount: Decimal) -> str:
    """Write an amount with at most six places."""
    return f"{amount.quantize(Decimal('0.000001')).normalize():f}"


def cost_of(lines: Iterable[UsageLine], pricing: Pricing) -> Cost:
    """Compute what some attempts cost."""
    total = Cost(pricing.currency)
    for line in lines:
        total += _cost_of_line(line, pricing)
    return total


def _cost_of_line(line: UsageLine, pricing: Pricing) -> Cost:
    counts = line.totals
    known = counts.attempts - counts.unknown
    found = pricing.of(line)
    if found is None:
        return Cost(pricing.currency, counts.attempts, counts.unknown, known)
    prices, source = found
    full = prices.input / MILLION
    output = prices.output / MILLION
    cached = prices.cached / MILLION if prices.cached is not None else full
    write = prices.cache_write / MILLION if prices.cache_write is not None else full
    ordinary = max(0, counts.input - counts.cached - counts.cache_write)
    return Cost(
        pricing.currency,
        counts.attempts,
        counts.unknown,
        0,
        ordinary * full,
        counts.cached * cached,
        counts.cache_write * write,
        counts.output * output,
        counts.cached * (full - cached) - counts.cache_write * (write - full),
        counts.estimated_input * full + counts.estimated_output * output,
        (source,),
    )
