"""Each case of the network's list, in a LiveKit session and in a VideoSDK pipeline."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from faults.case import NetworkCase
from faults.pipeline import in_pipeline
from faults.play import Line, Played, Stage
from faults.runs import NETWORK_RUNS
from faults.session import in_session
from network.relay import Link, Relay

NOWHERE = "http://127.0.0.1:9/v1"
ADAPTERS: dict[str, Callable[..., AbstractAsyncContextManager[Any]]] = {
    "LiveKit": in_session,
    "VideoSDK": in_pipeline,
}


class OverNetwork(Played):
    """A case on a stage that is reached through a relay."""

    def __init__(
        self, case: NetworkCase, relay: Relay, stage: Stage, line: Line, *, store: bool
    ) -> None:
        super().__init__(case, stage, line, case.ends, store=store)
        self._network = case
        self._relay = relay
        self._left = 1

    async def _spoil(self) -> None:
        await super()._spoil()
        case = self._network
        if case.when == "connecting":
            if case.how == "refuse":
                await self._relay.refuse()
            self._relay.on_link = self._strike
            self._relay.end("reset")
        elif case.when == "between":
            self._relay.end(case.how)  # type: ignore[arg-type]
        await asyncio.sleep(case.idle)

    def _strike(self, link: Link) -> None:
        if self._network.how != "refuse" and (self._network.always or self._left):
            self._left -= 1
            link.end(self._network.how)  # type: ignore[arg-type]

    async def _during(self) -> None:
        case = self._network
        if case.when == "connecting" and case.how == "refuse" and not case.always:
            await asyncio.sleep(0.02)  # virtual
            await self._relay.accept()
        elif case.when == "amid":
            await asyncio.sleep(2.0)
            running = [link for link in self._relay.open_links if link.down.passed]
            for link in running:
                if case.how == "cut":
                    link.down.cut(link.down.passed + 30, "reset")
                else:
                    link.end(case.how)  # type: ignore[arg-type]

    async def _mend(self) -> None:
        self._relay.on_link = None
        await self._relay.accept()


@asynccontextmanager
async def relay_for(case: NetworkCase) -> AsyncIterator[Relay]:
    delay = 0.15 if case.how == "delay" else 0.0
    rate = 20_000.0 if case.how == "throttle" else None
    async with Relay(NOWHERE, delay=delay, rate=rate) as relay:
        yield relay


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("name", NETWORK_RUNS)
async def test_a_fault_of_the_network(name: str, adapter: str) -> None:
    case, host = NETWORK_RUNS[name]
    async with (
        relay_for(case) as relay,
        ADAPTERS[adapter](case, host, base_url=relay.base_url) as (st, line),
    ):
        relay.aim(st.service.base_url)
        await OverNetwork(case, relay, st, line, store=host.store).play()
        assert sum(report.duration for report in st.reports[1:]) < case.waits  # virtual seconds
