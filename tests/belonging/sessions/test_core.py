"""Named conversations, in the core: the name alone tells whose it is."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from rtllm import Client, Credentials, Message, Request, TextDelta, TurnReport, endpoint
from rtllm import simulator as sim
from transport.caller import as_recorded

TURNS = ("hello", "more", "again")


@pytest.mark.parametrize("count", [1, 2, 8])
@pytest.mark.parametrize("keys", ["own", "same", "none"])
@pytest.mark.parametrize("store", [True, False])
async def test_named_conversations_never_meet(count: int, keys: str, *, store: bool) -> None:
    """Whatever their items' keys are, all are chained, each by itself."""

    def answer(request: sim.Request) -> sim.Reply:
        name = request.body["metadata"]["caller"]
        return sim.Reply.of(sim.Hosted("mcp_call", {**CALL, "output": f"of {name}"}), "Yes.")

    reports: list[TurnReport] = []
    async with sim.Simulator(answer) as service:
        client = Client(
            endpoint(service.base_url),
            Credentials("key"),
            lanes=True,
            fallback=None,
            on_turn=reports.append,
        )

        async def call(name: str) -> None:
            items: list[Message] = []

            def add(role: str, text: str) -> None:
                own = {"own": f"{name}-{len(items)}", "same": f"item-{len(items)}", "none": None}
                message = Message.of(role, text)  # type: ignore[arg-type]
                items.append(replace(message, key=own[keys]))

            add("system", "Be kind.")
            for text in TURNS:
                add("user", text)
                settings = {"store": store, "metadata": {"caller": name}}
                asked = Request(tuple(items), "gpt-4.1", as_recorded, settings, conversation=name)
                with client.ask(asked) as told:
                    heard = [e.text async for e in told if isinstance(e, TextDelta)]
                add("assistant", "".join(heard))

        names = [f"caller{n}" for n in range(count)]
        await asyncio.gather(*map(call, names))
        await client.aclose()
    entries = service.journal.entries
    whose = {e.response_id: e.body["metadata"]["caller"] for e in entries}
    for name in names:
        own = [e for e in entries if e.body["metadata"]["caller"] == name]
        assert [e.previous_response_id is not None for e in own] == [False, True, True]
        for entry in own:
            assert whose.get(entry.previous_response_id, name) == name
            hidden = {i["output"] for i in entry.context if i.get("type") == "mcp_call"}
            assert hidden <= {f"of {name}"}
    pairs = {(r.conversation, whose[r.response_id]) for r in reports}
    assert len(pairs) == count


CALL = {"server_label": "m", "name": "read", "arguments": "{}"}
