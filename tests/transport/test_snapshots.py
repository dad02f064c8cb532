"""A client shows its state: in its repr, and in values that do not change later."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from rtllm import TextDelta
from rtllm.simulator import Pause, Reply, Simulator, Text, fixed
from transport.caller import Caller, MakeClient


async def test_a_client_and_a_stream_show_their_state_in_a_line(make_client: MakeClient) -> None:
    gate = asyncio.Event()
    async with Simulator(fixed(Reply.of(Text(pieces=("One ", Pause(gate), "two."))))) as simulator:
        client = make_client(simulator)
        assert repr(client) == "<Client of 127.0.0.1: 0 connections>"
        stream = client.ask(Caller(client).request())
        states = [repr(stream).rpartition(": ")[2]]
        with stream:
            async for event in stream:
                if isinstance(event, TextDelta):
                    gate.set()
                    states.append(repr(stream).rpartition(": ")[2])
        assert states[0] == "not read yet>"
        assert set(states[1:]) == {"being read>"}
        assert repr(stream).endswith(": over>")
        assert repr(client) == "<Client of 127.0.0.1: 1 connections>"


async def test_the_connections_are_a_snapshot(make_client: MakeClient) -> None:
    gate = asyncio.Event()
    async with Simulator(fixed(Reply.of(Text(pieces=("One ", Pause(gate), "two."))))) as simulator:
        client = make_client(simulator)
        stream = client.ask(Caller(client).request())
        await anext(stream)
        (during,) = client.connections
        assert (during.number, during.state, len(during.attempts)) == (1, "open", 1)
        with pytest.raises(dataclasses.FrozenInstanceError):
            during.state = "closed"  # type: ignore[misc]
        gate.set()
        async for _ in stream:
            pass
        assert len(during.attempts) == 1  # as it was
        assert client.connections[0].attempts == ()
