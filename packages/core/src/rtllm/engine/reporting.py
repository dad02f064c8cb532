"""Building the report of a turn."""

from collections.abc import Mapping
from typing import Any

from rtllm.codec.frames import decode_object
from rtllm.content.items import Item, Opaque
from rtllm.engine.options import EngineOptions
from rtllm.engine.prompt_reports import cache_report_of
from rtllm.engine.report import Outcome, Recovery, TurnReport
from rtllm.engine.turn import ActiveTurn
from rtllm.errors import TurnError
from rtllm.retry.faults import Fault
from rtllm.retry.policy import Action, Complete, Resend


def report_of(
    options: EngineOptions, turn: ActiveTurn, outcome: Outcome, error: TurnError | None, now: float
) -> TurnReport:
    """Build the report of a turn that ends now."""
    last = turn.last
    placement = last.placement if last is not None else None
    plan = placement.plan if placement is not None else None
    decoder = last.decoder if last is not None else None
    connection = placement.lane_choice.connection if placement is not None else 0
    sent = len(plan.items) if plan is not None else 0
    known = len(turn.prepared.context.items) - sent
    return TurnReport(
        conversation=turn.member.conversation.number,
        outcome=outcome,
        model=turn.model,
        response_id=decoder.response_id if decoder is not None else None,
        previous_response_id=plan.anchor.response_id if plan is not None and plan.anchor else None,
        full_context_reason=plan.full_context_reason if plan is not None else None,
        items_sent=sent,
        items_known=known if plan is not None and plan.anchor else 0,
        bytes_sent=turn.bytes_sent,
        attempts=turn.progress.attempts,
        protocol="http" if placement is not None and placement.over_http else "websocket",
        connection=connection or None,
        lane=last.lane if last is not None else None,
        reused=0 < connection <= turn.newest_connection,
        time_to_first=turn.first_output,
        duration=now - turn.began,
        usage=last.usage if last is not None else None,
        hosted_tool_items=_hosted_tool_items(decoder.output()) if decoder is not None else (),
        context_repairs=turn.prepared.repairs,
        recoveries=tuple(recovery_of(fault, action) for fault, action in turn.progress.recoveries),
        error=str(error) if error is not None else None,
        spent=tuple(turn.spent),
        cache=cache_report_of(turn, shows_texts=options.cache_report == "texts"),
        pricing=options.pricing,
        served_model=decoder.model if decoder is not None else None,
        turn=turn.number,
        call=turn.prepared.request.call,
    )


def _hosted_tool_items(output: tuple[Item, ...]) -> tuple[Mapping[str, Any], ...]:
    return tuple(decode_object(item.json) for item in output if isinstance(item, Opaque))


def recovery_of(fault: Fault, action: Action) -> Recovery:
    """Describe a fault and how it was handled."""
    wait = action.wait if isinstance(action, Resend) else 0.0
    if isinstance(action, Resend) and action.over_http:
        done = "sent again over HTTP"
    elif isinstance(action, Resend):
        what = "sent again in full" if action.full_context else "sent again"
        done = f"{what} over another connection" if action.elsewhere else what
    elif isinstance(action, Complete):
        done = f"ended as {action.outcome}"
    else:
        done = f"failed: {action.error.__name__}"
    return Recovery(kind_of(fault), fault.code, done, wait)


def kind_of(fault: Fault) -> str:
    """Return the kind of a fault in words."""
    return fault.kind.name.lower().replace("_", " ")
