"""The contract of an adapter: the page's adapter keeps it, and for each law one that breaks it."""

from __future__ import annotations

import pytest

from adapters.saboteurs import SABOTEURS, PageUnderTest
from rtllm.testing import CONTRACT, ContractViolation, check_adapter


@pytest.mark.parametrize("name", CONTRACT)
async def test_the_adapter_of_the_page_keeps_the_contract(name: str) -> None:
    await CONTRACT[name](PageUnderTest)


@pytest.mark.parametrize("name", CONTRACT)
async def test_a_saboteur_breaks_it(name: str) -> None:
    with pytest.raises(ContractViolation):
        await CONTRACT[name](SABOTEURS[name])


async def test_all_violations_of_an_adapter_are_listed() -> None:
    name = "what the service has is not sent again"
    found = await check_adapter(SABOTEURS[name])
    assert [text for text in found if text.startswith(name)]
    assert len(found) < len(CONTRACT)
