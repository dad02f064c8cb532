"""A certificate that isn't trusted is final: one try, a clear error, and no key goes out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from faults.case import Case, Ends, Host
from faults.pipeline import in_pipeline
from faults.session import in_session
from network.certificates import Authority
from network.relay import Relay
from rtllm import RequestRejected
from rtllm.retry.faults import FaultKind

ADAPTERS: dict[str, Callable[..., AbstractAsyncContextManager[Any]]] = {
    "LiveKit": in_session,
    "VideoSDK": in_pipeline,
}
NOWHERE = "http://127.0.0.1:9/v1"
CASE = Case("a certificate", FaultKind.FORBIDDEN, "connecting", Ends(0, RequestRejected))
adapters = pytest.mark.parametrize("adapter", ADAPTERS)


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """An authority that all clients here trust."""
    made = Authority()
    monkeypatch.setenv("SSL_CERT_FILE", str(made.write(tmp_path / "authority.pem")))
    # aiohttp made its context when it was imported, before that was said.
    monkeypatch.setattr("aiohttp.connector._SSL_CONTEXT_VERIFIED", made.trusting())
    return made


@asynccontextmanager
async def behind_tls(adapter: str, context: Any, **options: Any) -> AsyncIterator[Any]:
    async with (
        Relay(NOWHERE, tls=context) as relay,
        ADAPTERS[adapter](
            CASE, Host("on", store=False, warm_connections=0), base_url=relay.base_url, **options
        ) as (st, line),
    ):
        relay.aim(st.service.base_url)
        yield st, line, relay


@adapters
async def test_the_right_certificate_is_trusted(adapter: str, authority: Authority) -> None:
    async with behind_tls(adapter, authority.right()) as (st, line, _):
        await line.says("Hello.")
        assert line.errors == []
        assert [e.outcome for e in st.entries] == ["completed"]


@adapters
@pytest.mark.parametrize("fallback", ["http", None])
@pytest.mark.parametrize("flaw", ["wrong_name", "expired"])
async def test_a_bad_certificate_is_final(
    flaw: str, fallback: str | None, adapter: str, authority: Authority
) -> None:
    context = getattr(authority, flaw)()
    async with behind_tls(adapter, context, fallback=fallback) as (st, line, relay):
        await line.says("Hello.")
        (error,) = line.errors
        assert type(error) is RequestRejected
        assert "not trusted" in str(error)
        assert "certificate" in str(error)
        (told,) = st.reports[-1].recoveries  # nothing was tried again
        assert told.action == "failed: RequestRejected"
        assert not relay.links
        assert not st.entries
        assert not st.service.journal.connections
