"""Analysis of a rejection: which parameter, tool, form or parent to change in a resend."""

import re
from collections.abc import Callable
from dataclasses import replace

from rtllm.content.items import Opaque, Reasoning
from rtllm.context.outline import Plan
from rtllm.engine.options import HostKnowledge
from rtllm.engine.prepared import PreparedRequest
from rtllm.engine.rejected_tool import find_rejected_tool
from rtllm.parameters.families import Api
from rtllm.providers.dialects import Dialect, plain_points, wanted_points
from rtllm.providers.host_dialects import Points
from rtllm.retry.faults import Fault, FaultKind, is_of_substance, refuses_parents

_REFUSALS = frozenset(
    {
        FaultKind.REFUSED,
        FaultKind.PARAMETER_REFUSED,
        FaultKind.NOT_FOUND,
        FaultKind.RESPONSE_FAILED,
        FaultKind.SERVER,
    }
)
_OF_NO_PARAMETER = (FaultKind.NOT_FOUND, FaultKind.SERVER, FaultKind.FORBIDDEN)
_OF_MODELS = ("model_not_found", "DeploymentNotFound", "deployment_not_found")
_PARAMETER_CODES = ("unsupported_parameter", "unsupported_value", "unknown_parameter")
_OF_A_RESPONSE = re.compile(r"response|previous|history|conversation", re.IGNORECASE)
_OF_THE_CONTEXT = ("input", "previous", "response_id", "messages")
_TEMPLATE_BROKE = 500
_INVALID_REQUEST = re.compile(r"invalid.{0,40}request|invalid.{0,20}(input|payload)", re.IGNORECASE)
_FIRST_PARTY = ("openai", "azure")


def analyze_rejection(
    fault: Fault,
    prepared: PreparedRequest,
    plan: Plan,
    api: Api,
    knowledge: HostKnowledge,
    *,
    is_last: bool = False,
) -> Fault:
    """Reclassify a rejection by what can be changed to avoid it; unchanged if nothing can.

    Args:
        fault: The rejection.
        prepared: The request.
        plan: What of it was sent.
        api: The API that was used.
        knowledge: What is known about the host.
        is_last: Whether only one more free attempt is left.
    """
    if not _may_be_form(fault):
        return fault
    dialect = knowledge.dialects.of(prepared.request.model)
    wanted = knowledge.dialects.settable(wanted_points(fault.words, dialect))

    def changes(points: Points, earlier: Points = ()) -> bool:
        before, after = (
            _encoded(prepared, plan, api, knowledge, dialect.with_points(dict(said)))
            for said in (earlier, (*earlier, *points))
        )
        return before != after

    is_final = _is_final(fault, knowledge)
    wanted = () if is_final else _useful(wanted, changes)
    parameter = tool = None
    if not is_final and fault.kind not in _OF_NO_PARAMETER:
        parameter = knowledge.rejected.find_rejected(prepared.request, fault.words, fault.param)
        tool = find_rejected_tool(fault, knowledge.rejected.offered_tools(prepared.request))
    if wanted and (parameter is None or parameter != fault.param):
        if is_last and knowledge.name not in _FIRST_PARTY:  # no further attempt is left
            plain = knowledge.dialects.settable(plain_points(dialect, on_a_guess=False))
            wanted = tuple({**dict(plain), **dict(wanted)}.items())
        return replace(fault, kind=FaultKind.FORM_REFUSED, points=wanted)
    if tool is not None:
        return replace(fault, kind=FaultKind.PARAMETER_REFUSED, tool=tool)
    if parameter is not None:
        return replace(fault, kind=FaultKind.PARAMETER_REFUSED, param=parameter)
    return _analyze_parent(fault, prepared, plan, knowledge, changes, is_final=is_final)


def _analyze_parent(
    fault: Fault,
    prepared: PreparedRequest,
    plan: Plan,
    knowledge: HostKnowledge,
    changes: Callable[[Points], bool],
    *,
    is_final: bool,
) -> Fault:
    """Reclassify a rejection that names nothing by the continued response or hidden items."""
    if fault.kind is FaultKind.SERVER:
        return fault  # a resend in the same form, with the full context
    if fault.kind is FaultKind.PARAMETER_REFUSED:
        return fault if fault.code in _PARAMETER_CODES else replace(fault, kind=FaultKind.REFUSED)
    if is_final:
        return fault
    if plan.anchor is not None and _may_mean_anchor(fault):
        return replace(fault, kind=FaultKind.CHAIN_MISS)
    if not _may_mean_parent(fault):
        return fault
    if any(isinstance(item, Reasoning | Opaque) for item in plan.items):
        return replace(fault, kind=FaultKind.ITEMS_REFUSED)
    return _try_plainest_form(fault, prepared, knowledge, changes)


def _useful(wanted: Points, changes: Callable[[Points, Points], bool]) -> Points:
    """Return the points that change the request; some change only what an earlier one leads to."""
    useful: Points = ()
    for point in wanted:
        if changes((point,), useful):
            useful = (*useful, point)
    return useful


def _may_be_form(fault: Fault) -> bool:
    """Whether a fault may be a rejection of the request's form, with an error text."""
    if fault.kind is FaultKind.FORBIDDEN:  # seen: not of the request, but of the earlier response
        return refuses_parents(fault)
    if fault.kind not in _REFUSALS or (fault.status or 0) > _TEMPLATE_BROKE:
        return False
    if fault.kind is FaultKind.RESPONSE_FAILED:
        return not fault.has_code
    return bool(fault.body_text)


def _may_mean_anchor(fault: Fault) -> bool:
    """Whether a request may have failed only because of the response that it continues.

    Seen: hosts without a store answer 404 in any words, also with a web page; with a policy against
    storing, 403. So only a rejected model, key, quota or content is something else.
    """
    if fault.kind is FaultKind.NOT_FOUND:
        return fault.code not in _OF_MODELS
    return fault.kind is FaultKind.FORBIDDEN or _may_mean_parent(fault)


def _may_mean_parent(fault: Fault) -> bool:
    """Whether a rejected request may have failed only because of the response it continues."""
    if fault.kind is FaultKind.NOT_FOUND:
        return fault.code not in _OF_MODELS and _OF_A_RESPONSE.search(fault.words) is not None
    named = (fault.param or "").lstrip("/")
    return fault.kind is FaultKind.REFUSED and (not named or named.startswith(_OF_THE_CONTEXT))


def _try_plainest_form(
    fault: Fault,
    prepared: PreparedRequest,
    knowledge: HostKnowledge,
    changes: Callable[[Points], bool],
) -> Fault:
    """Try the plainest form once, if the error does not tell what was rejected."""
    model, dialects = prepared.request.model, knowledge.dialects
    is_unclear = fault.kind is FaultKind.REFUSED and fault.status in (400, 422)
    if not is_unclear or knowledge.name in _FIRST_PARTY or is_of_substance(fault):
        return fault
    plain = dialects.settable(plain_points(dialects.of(model)))
    if dialects.may_try_plain(model) and plain and changes(plain):
        return replace(fault, kind=FaultKind.FORM_REFUSED, points=plain)
    dialects.refused_again(model)
    return fault


def _is_final(fault: Fault, knowledge: HostKnowledge) -> bool:
    """Whether the error code means that the content was rejected, not its form."""
    if fault.code == "invalid_prompt" and _INVALID_REQUEST.search(fault.message):
        # seen: OpenRouter uses it for every request that it does not understand
        return knowledge.name in _FIRST_PARTY
    return is_of_substance(replace(fault, message=""))


def guessed_points(fault: Fault, dialect: Dialect) -> frozenset[str]:
    """Return the points that change although the rejection did not ask for it."""
    asked = {name for name, _ in wanted_points(fault.words, dialect)}
    return frozenset(name for name, _ in fault.points if name not in asked)


def _encoded(
    prepared: PreparedRequest, plan: Plan, api: Api, knowledge: HostKnowledge, dialect: Dialect
) -> object:
    if api == "chat":
        return prepared.encode_chat(knowledge.rejected, dialect)
    return prepared.encode(plan, None, knowledge.rejected, dialect=dialect)
