from __future__ import annotations

from rtllm.simulator import Simulator
from simulator.wire import connected, text_of


async def test_a_text_is_streamed_in_the_documented_order_of_events() -> None:
    async with Simulator("Good morning to you.") as service, connected(service) as wire:
        await wire.create("Hi")
        events = await wire.rest()
    assert [e["type"] for e in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        *["response.output_text.delta"] * 4,
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [e["sequence_number"] for e in events] == list(range(len(events)))
    assert text_of(events[-1]) == "Good morning to you."


async def test_a_delta_after_a_parent_shows_the_model_the_whole_conversation() -> None:
    async with Simulator() as service, connected(service) as wire:
        first = await wire.ask_id("One")
        await wire.ask_id("Two", previous_response_id=first)
        assert service.journal.entries[1].texts() == [
            ("user", "One"),
            ("assistant", "You said: One"),
            ("user", "Two"),
        ]
