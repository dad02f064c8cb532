"""What the tokens of a run cost, if the price library knows the model."""

from dataclasses import replace

from rtllm.content.prices import Pricing, cost_of
from rtllm.content.usage import Totals, UsageLine
from rtllm.doctor.target import Target
from rtllm.providers.price_library import look_up


def price_of(target: Target, totals: Totals) -> str | None:
    """Price tokens whose number is known.

    Args:
        target: The host, which names the model.
        totals: The tokens.

    Returns:
        The amount with its currency and where the prices are from; None if they are not known.
    """
    if target.is_deployment:
        return None  # its name says nothing about the model
    # Without estimates: a report names the requests whose usage is unknown by itself.
    known = replace(totals, unknown=0, estimated_input=0, estimated_output=0)
    line = UsageLine("answered", target.model, None, target.profile.name, None, None, 0, known)
    cost = cost_of([line], Pricing(library=look_up))
    return None if cost.amount is None else str(cost)
