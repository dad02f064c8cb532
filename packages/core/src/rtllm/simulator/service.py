"""The simulated service, whatever the transport: checks requests, replies, keeps responses."""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from rtllm.simulator import checks, inputs, manners, models, refusal
from rtllm.simulator.counting import Prompt, PromptCache
from rtllm.simulator.faults import Fault, FaultPlan, as_list
from rtllm.simulator.generation import Generation, Pace
from rtllm.simulator.journal import Entry, Journal, as_items
from rtllm.simulator.memory import (
    ConnectionMemory,
    DropOn,
    Evicts,
    Item,
    Remembered,
    Remembers,
    Store,
)
from rtllm.simulator.script import Reply, Request, Script, as_reply

LaneMode: TypeAlias = Literal["on", "off", "refuse", "ignore"]
ReasoningMode: TypeAlias = Literal["scripted", "given", "demanded"]


@dataclass(frozen=True, slots=True)
class Options:
    """The rules of the service; see ``Simulator`` for their meanings."""

    lanes: LaneMode = "on"
    models: Collection[str] = ()
    pace: Pace = field(default_factory=Pace)
    lifetime: float = 3600.0
    ping_interval: float = 20.0
    ping_timeout: float = 60.0
    max_active: int = 16
    max_names: int = 32
    max_frame: int = 16 * 2**20
    max_connections: int | None = None
    idle: float | None = None
    no_websocket: int | None = None
    no_responses: int | None = None
    one_model: bool = False
    model_in_query: bool = False
    drop_on: DropOn = "start"
    forgets_on_failure: bool = False
    remembers: Remembers = "lanes"
    evicts: Evicts = "own lane"
    stores: bool = True
    keeps_incomplete: bool = False
    reasoning: ReasoningMode = "scripted"
    phases: bool = False
    keep: int = 10_000
    strict: bool = True
    manners: Collection[str] = ()
    cache_minimum: int = 0
    cache_lifetime: float = math.inf


@dataclass(frozen=True, slots=True)
class Counted:
    """The input tokens of a request: all, those read from the prompt cache, those written to it."""

    input: int
    cached: int
    written: int


@dataclass(slots=True)
class Prepared:
    """A request that passed the checks."""

    entry: Entry
    request: Request
    parent: Remembered | None
    generates: bool


class Service:
    """The state that all connections share. ``script`` and ``fault`` may be replaced at any time.

    Attributes:
        crashes: Exceptions of scripts, plans or the simulator itself; raised when it closes.
    """

    def __init__(self, options: Options, script: Script, fault: FaultPlan) -> None:
        self.options = options
        self.script = script
        self.fault = fault
        self.store = Store(options.keep)
        self.journal = Journal(options.keep)
        self._cache = PromptCache(options.cache_minimum, options.cache_lifetime)
        self.crashes: list[BaseException] = []

    def memory(self) -> ConnectionMemory:
        """Create the memory of a new connection."""
        return ConnectionMemory(
            self.store,
            drop_on=self.options.drop_on,
            forgets_on_failure=self.options.forgets_on_failure,
            remembers=self.options.remembers,
            evicts=self.options.evicts,
        )

    def prepare(self, entry: Entry, memory: ConnectionMemory, lane: str | None) -> Prepared:
        """Check a request, find its parent, and compose what the model would see.

        Raises:
            RequestError: If the service rejects it.
        """
        body = entry.body
        if self.options.strict:
            posted = entry.transport == "http"
            checks.check_body(body, self.options.models, posted=posted)
        manners.check(body, self.options.manners)
        parent_id = None if self._ignores_parents else entry.previous_response_id
        try:
            parent = memory.begin(lane, parent_id)
        except refusal.RequestError as error:
            raise manners.missed(error, self.options.manners) from None
        given = as_items(body.get("input"))
        if self.options.strict:
            inputs.check_ids(given, self.store, stored=body.get("store") is not False)
            if self.options.reasoning == "demanded" and parent is None:
                inputs.check_reasoning_kept(given, self.store)
        context = [*(parent.context if parent else ()), *map(self._resolve_reference, given)]
        if self.options.strict:
            checks.check_context(body, context)
        entry.context = context
        return Prepared(
            entry=entry,
            request=Request(
                body=body,
                context=list(context),
                instructions=entry.instructions,
                tools=body.get("tools") or [],
                connection=entry.connection,
                lane=entry.lane,
                index=entry.index,
            ),
            parent=parent,
            generates=self._generates(body),
        )

    def _generates(self, body: dict[str, Any]) -> bool:
        """Whether a response is wanted."""
        if "ignores generate" in self.options.manners:
            return True
        prewarm = (body.get("prompt_cache_options") or {}).get("prewarm")
        return body.get("generate") is not False and not prewarm

    def _resolve_reference(self, item: Item) -> Item:
        if inputs.type_of(item) != "item_reference":
            return item
        if item["id"] not in self.store.items:
            raise refusal.item_not_found(item["id"])
        return self.store.items[item["id"]]

    @property
    def _ignores_parents(self) -> bool:
        return "ignores parents" in self.options.manners

    def faults(self, request: Request) -> list[Fault]:
        """Return the faults of a request."""
        return list(as_list(self.fault(request)))

    def generation(self, prepared: Prepared) -> Generation:
        """Start the response to a request."""
        body = prepared.request.body
        if self._ignores_parents:
            body = {k: v for k, v in body.items() if k != "previous_response_id"}
        parent = prepared.parent
        known = parent.context if parent is not None else ()
        only_input = "counts only input" in self.options.manners
        counted = self.count(prepared.request, len(known) if only_input else 0)
        generation = Generation(
            body,
            input_tokens=counted.input,
            cached_tokens=counted.cached,
            cache_write_tokens=counted.written,
            pace=self.options.pace,
            sealed=self.options.reasoning == "scripted"
            or "reasoning.encrypted_content" in (body.get("include") or ()),
            response_id="resp_1" if "repeats ids" in self.options.manners else None,
        )
        asked = prepared.entry.previous_response_id
        generation.change(lambda opened: manners.opened(opened, asked, self.options.manners))
        return generation

    def count(self, request: Request, uncounted: int = 0) -> Counted:
        """Count a request's tokens, and let it use the prompt cache.

        Args:
            request: The request.
            uncounted: How many of the first items a host leaves out.
        """
        now = asyncio.get_running_loop().time()
        prompt = Prompt.of(request.body, request.tools, request.context[uncounted:])
        cached = self._cache.read(prompt, now)
        self._cache.write(prompt, now)
        family = models.family_of(request.body.get("model") or "")
        # Documented: only models with cache options bill what they write.
        writes = family is not None and family.cache_options
        total = prompt.tokens
        return Counted(total, cached, total - cached if writes else 0)

    async def reply(self, request: Request) -> Reply:
        """Call the script, and add what the model adds by itself."""
        answer = self.script(request)
        reply = as_reply(await answer if inspect.isawaitable(answer) else answer)
        if request.api == "chat":
            return reply
        if self.options.reasoning != "scripted" and _reasons(request.body):
            reply = reply.with_reasoning()
        return reply.with_phases() if self.options.phases else reply

    def remember(
        self,
        prepared: Prepared,
        generation: Generation,
        memory: ConnectionMemory,
        lane: str | None,
        *,
        completed: bool,
        whole: dict[str, Any],
    ) -> None:
        """Keep a response that has ended as completed or incomplete.

        By default an incomplete one is kept only in the store, because it is not known whether
        lanes keep it.
        ``whole`` is the response object of its last event.
        """
        context = (*prepared.request.context, *generation.output)
        response = Remembered(generation.id, context)
        request = prepared.request
        prompt = Prompt.of(request.body, request.tools, context)
        self._cache.write(prompt, asyncio.get_running_loop().time())
        self.store.note_output(generation.output)
        if self.options.stores and prepared.request.body.get("store") is not False:
            self.store.keep(response, generation.output, whole)
        if completed or self.options.keeps_incomplete:
            memory.complete(lane, response)


def _reasons(body: dict[str, Any]) -> bool:
    """Whether a request's model reasons, with the requested effort."""
    family = models.family_of(body.get("model", ""))
    if family is None or not family.reasons:
        return False
    effort = (body.get("reasoning") or {}).get("effort") or family.default_effort
    return bool(effort != "none")


def error_event(error: refusal.RequestError, lane: str | None) -> dict[str, Any]:
    """Create an error frame in OpenAI's form."""
    tag = {} if lane is None else {"stream_id": lane}
    return {"type": "error", "status": error.status, **tag, "error": error.body()}
