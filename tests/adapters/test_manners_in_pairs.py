"""Hosts that differ in two ways at once: the call goes on, and the model sees all of it."""

from __future__ import annotations

import random

import pytest

from adapters.pairs_of_manners import STAGES, pairs, play

COUNT = 6
"""Pairs for each LLM; another ``--chaos-seed`` draws others."""


@pytest.mark.parametrize("stage", STAGES)
async def test_a_call_with_a_host_of_two_manners(
    stage: str, request: pytest.FixtureRequest
) -> None:
    seed = request.config.getoption("--chaos-seed")
    for pair in random.Random(f"{stage} {seed}").sample(pairs(), COUNT):  # noqa: S311
        try:
            await play(stage, pair)
        except BaseException as error:
            error.add_note(f"on {stage}, with {pair}")
            raise


@pytest.mark.parametrize("stage", STAGES)
async def test_without_system_messages_roles_still_alternate(stage: str) -> None:
    await play(stage, ("no system", "alternating roles"))
