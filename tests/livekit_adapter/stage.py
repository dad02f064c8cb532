"""A simulator and an LLM on it, what was asked of it, and the oracle of all requests."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from livekit.agents.utils import http_context

from livekit_adapter.contexts import Asked
from livekit_adapter.models import RecordingLLM, RecordingStock
from rtllm.simulator import Entry, Reply, Script, Simulator
from rtllm_livekit import LLM
from support.contexts import (
    begins_with,
    canonical,
    is_said,
    is_system,
    joined,
    message,
    split_lead,
    text_of,
    visible,
)
from support.oracle import KEY, LaneMode, Oracle, Reports, keywords_on, staged
from support.scripts import NotedScript, recorded_of


@dataclass
class Stage(Oracle):
    """A simulator, an LLM on it, and what happened.

    Attributes:
        store: The LLM's ``store`` keyword.
        lanes: What the host does with lanes.
        joined_words: Whether several messages of one answer count as one, with blanks between.
    """

    store: bool | None = None
    lanes: str = "on"
    joined_words: bool = False

    @property
    def is_stored(self) -> bool:
        return self.store is not False

    @property
    def is_socket(self) -> bool:
        return True

    @property
    def is_ours(self) -> bool:
        return isinstance(self.llm, LLM)

    def asked_texts(self, text: str) -> list[Entry]:
        """The requests that arrived in which the caller said something, as the last words."""
        said = message("user", text)
        return [e for e in self.entries if self.asked_by(e).rest[-1:] == (said,)]

    def asked_by(self, entry: Entry) -> Asked:
        """What a request that arrived had been asked for."""
        asked: list[Asked] = self.llm.asked
        return asked[int(entry.body["metadata"]["asked"])]

    def check_context(self, entry: Entry) -> None:
        """Check that the model saw exactly what the agent asked with."""
        if entry.outcome == "refused":
            return
        where = f"#{entry.index}"
        asked = self.asked_by(entry)
        lead, seen = split_lead(visible(entry.context))
        guide = [asked.guide] if asked.guide else []
        if lead:
            in_field = "\n".join(guide)
            assert "\n".join(lead) == "\n".join(asked.lead), f"{where}\n{self.story()}"
        else:
            in_field = "\n".join([*asked.lead, *guide])
        assert (entry.instructions or "") == in_field, f"{where}\n{self.story()}"
        seen = joined(seen) if self.joined_words else seen
        assert canonical(seen, rounds=True) == canonical(asked.rest, rounds=True), (
            f"{where}: seen {seen}, asked {list(asked.rest)}\n{self.story()}"
        )
        said = Counter(text_of(unit) for unit in seen if is_said(unit))
        twice = [text for text, count in said.items() if count > 1]
        assert not twice, f"{where}: said twice: {twice}"

    def begins_with(self, entry: Entry, known: Entry) -> bool:
        """Whether a request's context begins with what another one came to."""
        recorded = recorded_of(self.answers.replies[known.index])
        if not recorded:
            return False
        state, asked = self.asked_by(known), self.asked_by(entry)
        is_carried = any(is_system(unit) for unit in visible(known.context))
        in_field = bool(state.lead) and not is_carried
        if not in_field and state.lead != asked.lead:
            return False
        return begins_with(canonical(asked.rest), canonical([*state.rest, *recorded]))


@asynccontextmanager
async def stage(
    script: Script | Reply | str,
    *,
    store: bool | None = None,
    lanes: LaneMode = "on",
    stock: bool = False,
    simulator: Mapping[str, Any] | None = None,
    **options: Any,
) -> AsyncIterator[Stage]:
    """A simulator with a script, and an LLM on it."""
    answers = NotedScript(script)
    if store is not None:
        options["store"] = store

    def make(service: Simulator, reports: Reports) -> Stage:
        model: Any
        if stock:
            model = RecordingStock(api_key=KEY, base_url=service.base_url + "/responses", **options)
        else:
            model = RecordingLLM(**keywords_on(service, lanes, reports, options))
        return Stage(service, answers, model, store, lanes, reports=reports)

    async with http_context.open(), staged(answers, make, lanes=lanes, simulator=simulator) as st:
        yield st
