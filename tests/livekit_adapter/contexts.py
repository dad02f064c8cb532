"""What a LiveKit context asks for, by value: read with the stock plugin's own conversion."""

from __future__ import annotations

from dataclasses import dataclass

from livekit.agents import llm

from support.contexts import NO_RESULT, Unit, is_empty, split_lead, visible

GUIDE = "lk.expressive.instructions"


def legal(ctx: llm.ChatContext) -> llm.ChatContext:
    """A copy in which every call has an output after it and every output a call before it."""
    items: list[llm.ChatItem] = [i for i in ctx.copy().items if i.id != GUIDE]
    answered = {i.call_id for i in items if i.type == "function_call_output"}
    called = {i.call_id for i in items if i.type == "function_call"}
    made: list[llm.ChatItem] = []
    speakers: set[str] = set()
    for given in items:
        item = given
        if item.type == "message" and item.role == "assistant":
            # The stock conversion stumbles over two messages whose ids begin alike.
            begin = item.id.split("/")[0]
            if begin in speakers:
                item = item.model_copy(update={"id": f"{item.id.replace('/', '-')}"})
            speakers.add(begin)
        if item.type == "function_call_output" and item.call_id not in called:
            continue
        made.append(item)
        if item.type == "function_call" and item.call_id not in answered:
            made.append(
                llm.FunctionCallOutput(
                    call_id=item.call_id, name=item.name, output=NO_RESULT, is_error=True
                )
            )
    return llm.ChatContext(made)


@dataclass(frozen=True)
class Asked:
    """What a `chat()` call asked for, by value."""

    lead: tuple[str, ...]
    rest: tuple[Unit, ...]
    guide: str

    @classmethod
    def of(cls, ctx: llm.ChatContext) -> Asked:
        items, _ = legal(ctx).to_provider_format("openai.responses")
        lead, rest = split_lead([unit for unit in visible(items) if not is_empty(unit)])
        guide = "\n".join(i.text_content or "" for i in ctx.messages() if i.id == GUIDE)
        return cls(tuple(lead), tuple(rest), guide)
