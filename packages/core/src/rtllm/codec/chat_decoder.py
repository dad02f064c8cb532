"""Decoder of Chat Completions: from chunks to events."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import msgspec

from rtllm.codec import lenient_json
from rtllm.codec.carried_fields import OF_THE_CALL, pack
from rtllm.codec.lenient_json import clean_escapes, is_json, unwrapped
from rtllm.codec.thoughts import THOUGHT_PARTS, ThoughtFilter
from rtllm.codec.token_counts import read_field, usage_from
from rtllm.content.events import Event, ResponseEnded, TextDelta, ToolCallReady
from rtllm.content.items import Item, Message, ToolCall
from rtllm.content.tool_names import clean_tool_name
from rtllm.content.usage import Usage
from rtllm.retry.faults import (
    ANSWER_BROKEN_OFF,
    ONLY_THOUGHTS,
    Fault,
    cut_before_output,
    from_error,
)

RESPONSES_NAMES: Mapping[str, str] = {
    "reasoning_effort": "reasoning.effort",
    "verbosity": "text.verbosity",
    "max_completion_tokens": "max_output_tokens",
    "response_format": "text.format",
}
"""The settings' names of the fields that the service may name in a rejection."""

# Seen (older Azure versions, vLLM): no code and no param; only the sentence names the field.
_UNRECOGNIZED = re.compile(r"Unrecognized request arguments? supplied: (\w+)")

_CUT: Mapping[str, str] = {
    "length": "max_output_tokens",
    "max_tokens": "max_output_tokens",
    "max_output_tokens": "max_output_tokens",
    "model_length": "max_output_tokens",
    "content_filter": "content_filter",
}
"""Reasons of an incomplete response, with their names in the Responses API.

Seen next to OpenAI's own: Gemini's and Anthropic's through gateways, Mistral's ``model_length``.
"""

_FILTERED = frozenset(
    {
        "sensitive",
        "safety",
        "recitation",
        "blocklist",
        "prohibited_content",
        "spii",
        "refusal",
        "guardrail_intervened",
    }
)
"""Reasons of hosts whose filter stopped the response; seen: GLM, Gemini, Anthropic, Bedrock."""
_MAX_REASONING = 2**16
"""How many characters of reasoning are kept for the next request."""

_FAILURES: Mapping[str, str] = {
    "error": "server_error",
    "network_error": "server_error",
    "server_error": "server_error",
    "internal_error": "server_error",
    # documented by DeepSeek; seen: SGLang
    "insufficient_system_resource": "server_error",
    "abort": "server_error",
    # seen: Gemini, whose model wrote a call that is not one
    "malformed_function_call": "tool_use_failed",
    "function_call_filter": "tool_use_failed",
}
"""Reasons that hosts give when they failed during a response, with the code of such an error."""

DONE = "[DONE]"
"""The data line that ends a stream."""


@dataclass(slots=True)
class _Call:
    """A tool call whose pieces are being received.

    Attributes:
        index: The index that the host gave it, None if it gave none.
        call_id: The service's id; empty until it is known.
        name: The tool.
        arguments: The JSON text received so far.
        extra_fields: The host's own fields, which must be sent back with the call.
    """

    index: int | None
    call_id: str = ""
    name: str = ""
    arguments: str = ""
    extra_fields: dict[str, Any] = field(default_factory=dict)
    _longest: str | None = ""

    def is_followed_by(self, call_id: str, name: str, arguments: str) -> bool:
        """Whether a piece begins another call instead of continuing this one.

        Seen: complete calls that all have index 0, or none. Only a name begins a call, but some
            hosts repeat the name in every piece. Then the next call is recognized by a new id, or
            because the arguments of this one are complete.
        """
        if not name or not self.name:
            return False  # seen: the arguments first, then the name
        done = is_json(self.arguments)
        if call_id and self.call_id and call_id != self.call_id:
            is_part = bool(arguments) and name == self.name and not is_json(arguments)
            return done or not (self.arguments or is_part)
        more = bool(arguments.strip()) and arguments != self.arguments
        if done and more and name == self.name and _is_empty(self.arguments):
            return False  # seen: ``{}`` before the actual arguments
        return done and (more or name != self.name)

    def add(self, arguments: str) -> None:
        """Append a piece of the arguments, or replace them if a host repeats them."""
        if not arguments or (arguments == self.arguments and is_json(arguments)):
            return  # the complete call once more
        before, self._longest = self._longest, None
        if before is not None and arguments.startswith(before):
            self._longest = arguments
        if _is_empty(self.arguments) and arguments.lstrip().startswith("{"):
            self.arguments = arguments  # seen: ``{}`` before the actual arguments
        elif self._is_all_so_far(arguments):
            self.arguments = arguments
        else:
            self.arguments += arguments

    def _is_all_so_far(self, arguments: str) -> bool:
        """Whether the piece completes the arguments, and each one repeats those before it."""
        return (
            self._longest == arguments
            and len(self.arguments) > 1
            and is_json(arguments)
            and not is_json(self.arguments + arguments)
        )


class ChatDecoder:
    """Decodes the chunks of one chat completion into events.

    It accepts the SDK's objects and plain dicts, and the variations of hosts: calls in pieces or
    complete, ids and names once or repeated, with or without indexes. Calls are emitted only at the
    end, because no chunk marks a call as complete. If the response was cut short, none are emitted.

    A ``finish_reason`` is not the end: output after it still counts. The completion ends with a
    usage chunk without choices, with ``[DONE]``, or with the stream. It also ends after a short
    silence; the caller measures that and calls `finish`.

    Attributes:
        response_id: The service's id; None until it is known.
        created: Whether the service accepted the request.
        in_progress: The same; this API doesn't distinguish them.
        ended: How the completion ended; None until then.
        continued_after_finish: Whether output followed a ``finish_reason``. A host that does this
            sends the reason too early, so it gets the ordinary time limit.
        host: The host's name, which is stored with the fields that it wants back.

    Args:
        thoughts: Removes thoughts from the text; None if the host writes none into it.
    """

    def __init__(self, thoughts: ThoughtFilter | None = None) -> None:
        self.response_id: str | None = None
        self.model: str | None = None
        self.created = False
        self.in_progress = False
        self.ended: ResponseEnded | None = None
        self.continued_after_finish = False
        self.host = ""
        self._thoughts = thoughts
        self._message_fields: dict[str, Any] = {}
        self._emitted = ""
        self._half = ""
        self._half_refuses = False
        self._calls: list[_Call] = []
        self._emitted_calls: list[ToolCall] = []
        self._usage: Usage | None = None
        self._tier: str | None = None
        self._finish: str | None = None
        self._in_messages = False
        self._has_thought = False
        self._has_more = False
        self._tail = False
        self._slow = False
        self._touched_slow = False

    @property
    def finished(self) -> bool:
        """Whether the last output is followed by a ``finish_reason``.

        Then probably only the usage is missing.
        """
        return self._finish is not None and not self._has_more

    @property
    def may_end_after_silence(self) -> bool:
        """Whether a short silence counts as the end; then `finish` must be called."""
        return self.finished and self.ended is None and not self.continued_after_finish

    @property
    def is_complete(self) -> bool:
        """Whether a ``finish_reason`` came after some output, and no call is left to be emitted."""
        is_left = bool(self._calls) and not self._emitted_calls
        return self.finished and bool(self._emitted) and not is_left

    @property
    def slow_item_open(self) -> bool:
        """Whether reasoning or a call is being received, which may take long without text."""
        return self._slow

    @property
    def touched_slow_item(self) -> bool:
        """Whether the last chunk belonged to such a slow item."""
        return self._touched_slow

    @property
    def hidden_item(self) -> str | None:
        """``reasoning`` while the model's thoughts are being received, else None."""
        return "reasoning" if self._slow and not self._calls else None

    @property
    def message_open(self) -> bool:
        """Whether a message has begun and has not ended."""
        return bool(self._emitted) and not self._slow and self._finish is None

    @property
    def ids(self) -> Collection[str]:
        """The ids for recognizing late chunks: none, since each stream has one response."""
        return ()

    def output(self) -> tuple[Item, ...]:
        """Return the message, then the calls."""
        messages = (Message.of("assistant", self._emitted),) if self._emitted else ()
        return (*messages, *self._emitted_calls)

    def received_text(self) -> str:
        """Return all text and arguments so far, for an estimate of the output tokens."""
        calls = self._emitted_calls or self._calls
        return "".join((self._emitted, *(call.arguments for call in calls)))

    def accepted(self) -> None:
        """Record that the service answered the request with a stream."""
        self.created = self.in_progress = True

    def feed(self, chunk: object) -> tuple[Sequence[Event], Fault | None]:
        """Decode the next chunk of this completion, or the text ``[DONE]``.

        Returns:
            The events, and a fault if the chunk ends the completion with one.
        """
        self._touched_slow = False
        if self.ended is not None:
            return (), None
        self.accepted()
        if chunk == DONE:
            return self.finish(done=True)
        if (error := error_of(chunk)) is not None:
            return (), error
        self.response_id = self.response_id or _string(chunk, "id")
        self.model = self.model or _string(chunk, "model")
        self._tier = _string(chunk, "service_tier") or self._tier
        self._usage = usage_of(chunk, self._tier) or self._usage
        choices = _list(chunk, "choices")
        events: list[Event] = []
        for choice in choices:
            # Seen: Anthropic's models through gateways, whose blocks are counted as choices.
            if len(choices) == 1 or read_field(choice, "index") in (None, 0):
                events += self._choice(choice)
        if not choices and read_field(chunk, "usage") is not None:
            self._tail = True
            if self._finish is not None:
                more, fault = self.finish()
                return (*events, *more), fault
        return events, None

    def finish(self, *, done: bool = False) -> tuple[Sequence[Event], Fault | None]:
        """Decode the end of the stream, or a silence that counts as the end.

        ``[DONE]``, and a usage chunk after some output, count as the end for hosts that send no
        ``finish_reason``. Any other end without a ``finish_reason`` is a lost connection.

        Args:
            done: Whether the service sent ``[DONE]``.
        """
        self._touched_slow = False
        if self.ended is not None:
            return (), None
        if self._finish is None and not ((self._tail or done) and (self._emitted or self._calls)):
            return (), ANSWER_BROKEN_OFF
        if (code := _FAILURES.get(self._reason)) is not None:
            error = {"code": code, "message": f"the service ended with {self._finish}"}
            return (), from_error(error, None, begun=True)
        events = [*self._flush_half(), *self._thought_ended(), *self._called()]
        if (
            not self._emitted
            and not self._emitted_calls
            and (why := self._explain_silence()) is not None
        ):
            self._end()  # so that its usage is counted
            return events, why
        return (*events, self._end()), None

    @property
    def _reason(self) -> str:
        """The ``finish_reason`` in lower case, without details; empty until it is known.

        Seen: Gemini's ``SAFETY``, and ``content_filter: RECITATION`` of its OpenAI endpoint.
        """
        return (self._finish or "").partition(":")[0].strip().lower()

    def _explain_silence(self) -> Fault | None:
        """Return the fault of a response without text and calls; None if it is merely empty."""
        if self._reason in _CUT or self._reason in _FILTERED:
            kind = _CUT.get(self._reason, "content_filter")
            message = f"the service ended the response before its first output ({self._finish})"
            return cut_before_output(message, kind)
        if self._thoughts is not None and self._thoughts.dropped:
            message = "the response contains only the model's thoughts"
            return cut_before_output(message, ONLY_THOUGHTS)
        return None

    def _thought_ended(self) -> list[Event]:
        """Return the text that was held because it might have begun a thought."""
        rest = self._thoughts.finish() if self._thoughts is not None else ""
        self._emitted += rest
        return [TextDelta(rest)] if rest else []

    # -- one chunk -------------------------------------------------------------------------

    def _choice(self, choice: object) -> list[Event]:
        events: list[Event] = []
        was_finished = self._finish is not None
        delta = read_field(choice, "delta")
        if delta is None and (self._in_messages or not self._emitted):
            delta = read_field(choice, "message")
            self._in_messages = self._in_messages or delta is not None
        if delta is not None:
            calls, self._touched_slow = len(self._calls), False
            events += self._delta(delta)
            if was_finished and (events or len(self._calls) > calls):
                self.continued_after_finish = self._has_more = True
        if (reason := _string(choice, "finish_reason")) is not None:
            self._finish = reason
            self._has_more = False
            self._touched_slow = self._touched_slow or self._slow
            self._slow = False
        return events

    def _delta(self, delta: object) -> list[Event]:
        events: list[Event] = []
        content = read_field(delta, "content")
        if _string(delta, "reasoning_content") or _string(delta, "reasoning") or _thinks(content):
            self._slow = self._touched_slow = self._has_thought = True
        self._collect_reasoning(delta)
        said = _text_of(content)
        if self._in_messages and self._emitted:
            said = said.removeprefix(self._emitted)  # each message may repeat what came before
        for text, refusal in (
            (said, False),
            (_string(delta, "refusal") or "", True),
        ):
            events += self._text(text, refusal=refusal)
        if events and self._slow and not self._calls:
            self._slow, self._touched_slow = False, True
        if self._thoughts is not None and self._thoughts.in_thought:
            self._slow = self._touched_slow = True
        given = read_field(delta, "tool_calls")
        pieces = [given] if isinstance(given, Mapping) else _list(delta, "tool_calls")
        if not pieces and (legacy := read_field(delta, "function_call")) is not None:
            pieces = [{"function": legacy}]
        for piece in pieces:
            self._piece(piece)
            self._slow = self._touched_slow = True
        return events

    def _text(self, text: str, *, refusal: bool) -> list[Event]:
        if not text:
            return []
        text, self._half = lenient_json.join(self._half, text)
        self._half_refuses = refusal
        if self._thoughts is not None and not refusal:
            text = self._thoughts.feed(text)
        self._emitted += text
        return [TextDelta(text, refusal)] if text else []

    def _collect_reasoning(self, delta: object) -> None:
        """Collect reasoning next to the text: some hosts require it in the next request."""
        thought = read_field(delta, "reasoning_content")
        if isinstance(thought, str):
            before = self._message_fields.get("reasoning_content", "")
            self._message_fields["reasoning_content"] = (before + thought)[:_MAX_REASONING]
        details = _list(delta, "reasoning_details")
        if details and all(isinstance(one, Mapping) for one in details):
            self._message_fields.setdefault("reasoning_details", []).extend(details)

    def _flush_half(self) -> list[Event]:
        """Replace a surrogate half that was not completed."""
        if not self._half:
            return []
        self._half = ""
        self._emitted += lenient_json.REPLACEMENT
        return [TextDelta(lenient_json.REPLACEMENT, self._half_refuses)]

    def _piece(self, piece: object) -> None:
        """Add a piece to the call that it belongs to."""
        function = read_field(piece, "function") or piece  # seen: its fields without a function
        value = read_field(piece, "index")
        index = value if isinstance(value, int) and not isinstance(value, bool) else None
        call_id, name = _string(piece, "id") or "", _string(function, "name") or ""
        arguments = _arguments(read_field(function, "arguments"))
        call = self._call_of(index, call_id, name)
        extra = {f: v for f in OF_THE_CALL if (v := read_field(piece, f)) not in (None, "", {})}
        if call is None or call.is_followed_by(call_id, name, arguments):
            self._calls.append(_Call(index, call_id, name, arguments, extra))
            return
        call.extra_fields.update(extra)
        call.call_id = call.call_id or call_id
        call.name = _longer_name(call, name)
        call.add(arguments)

    def _call_of(self, index: int | None, call_id: str, name: str) -> _Call | None:
        """Find the call that a piece names by id or index, else the newest one."""
        here = [c for c in self._calls if index is None or c.index in (None, index)]
        if not here and not name:
            # Only a name begins a call. Seen: one that begins with index 0 goes on with index 1.
            here = [c for c in self._calls if not call_id or c.call_id == call_id]
            return here[-1] if here and not is_json(here[-1].arguments) else None
        named = [c for c in here if call_id and c.call_id == call_id]
        found = named or here
        return found[-1] if found else None

    def _called(self) -> list[Event]:
        """Emit the calls; none if the response was cut short, since any may be incomplete."""
        self._slow = False
        if self._reason in _CUT:
            return []
        for place, call in enumerate(self._calls):
            if call.name:
                call_id = call.call_id or self._new_id(place)
                self._emitted_calls.append(
                    ToolCall(
                        call_id,
                        clean_tool_name(call.name),
                        unwrapped(clean_escapes(call.arguments)),
                        carried=pack(
                            call.extra_fields,
                            {} if self._emitted_calls else self._message_fields,
                            self.host,
                        ),
                    )
                )
        return [ToolCallReady(call) for call in self._emitted_calls]

    def _new_id(self, place: int) -> str:
        seed = f"{self.response_id} {place}"
        return f"call_{blake2b(seed.encode(), digest_size=12).hexdigest()}"

    def _end(self) -> ResponseEnded:
        if self._reason in _CUT:
            cause = _CUT[self._reason]
            self.ended = ResponseEnded("incomplete", cause, self.response_id, self._usage)
        else:
            something = bool(self._emitted or self._emitted_calls)
            why = ONLY_THOUGHTS if self._has_thought and not something else None
            self.ended = ResponseEnded(
                "completed" if something else "empty", why, self.response_id, self._usage
            )
        return self.ended


def error_of(chunk: object) -> Fault | None:
    """Return the fault in a data line that holds an error instead of a chunk; None if none."""
    error = read_field(chunk, "error")
    if isinstance(error, str) and error:
        error = {"message": error}
    return from_body(error, None, begun=True) if isinstance(error, Mapping) and error else None


def from_body(
    error: Mapping[str, Any],
    status: int | None,
    headers: Mapping[str, str] | None = None,
    *,
    begun: bool = False,
) -> Fault:
    """Classify an error object; the name of a rejected field is translated to the settings' name.

    Args:
        error: The service's ``error`` object; any field may be missing.
        status: The HTTP status, if one came.
        headers: The headers that came with it.
        begun: Whether the completion had begun.
    """
    param = error.get("param")
    if param is None and (found := _UNRECOGNIZED.match(str(error.get("message")))):
        param = found[1]
        error = {**error, "code": "unknown_parameter", "param": param}
    if (renamed := RESPONSES_NAMES.get(str(param))) is not None:
        error = {**error, "param": renamed}
    return from_error(error, status, headers, begun=begun)


def usage_of(chunk: object, tier: str | None = None) -> Usage | None:
    """Read the ``usage`` of a chunk or a completion; None if it has none."""
    return usage_from(
        read_field(chunk, "usage"),
        sent="prompt_tokens",
        received="completion_tokens",
        into="prompt_tokens_details",
        out="completion_tokens_details",
        tier=tier,
    )


def read_chunk(data: str | bytes) -> Mapping[str, Any] | str | None:
    """Parse a data line of a stream, leniently if it isn't strict JSON.

    Returns:
        The chunk for `ChatDecoder.feed`, or ``[DONE]``; None if it is neither.
    """
    if data.strip()[: len(DONE)] in (DONE, DONE.encode()):
        return DONE  # seen: with a bracket too much; OpenAI's client also reads no further
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        try:
            value = lenient_json.parse(data)
        except ValueError:
            return None
    return value if isinstance(value, dict) else None


def _longer_name(call: _Call, name: str) -> str:
    if not call.name or name.startswith(call.name):
        return name or call.name
    # Names in pieces come before any arguments; a name after them is a repeat.
    return call.name if call.arguments or call.name.endswith(name) else call.name + name


def _arguments(value: object) -> str:
    if isinstance(value, Mapping):  # seen: already decoded
        try:
            return msgspec.json.encode(value).decode()
        except (UnicodeError, RecursionError, TypeError):
            return _encoded_leniently(value)
    return value if isinstance(value, str) else ""


def _encoded_leniently(value: object) -> str:
    try:
        return lenient_json.encode(value).decode()
    except (TypeError, RecursionError):
        return ""


def _is_empty(arguments: str) -> bool:
    return "".join(arguments.split()) == "{}"


def _text_of(content: object) -> str:
    # Seen: parts, texts, or one part in a delta.
    parts = content if isinstance(content, list) else [content]
    return "".join(_text_of_part(part) for part in parts)


def _text_of_part(part: object) -> str:
    if isinstance(part, str):
        return part
    if part is None or read_field(part, "type") in THOUGHT_PARTS:
        return ""
    text = read_field(part, "text")
    return text if isinstance(text, str) else _string(text, "value") or ""


def _thinks(content: object) -> bool:
    """Whether content consists of parts with the model's thoughts."""
    parts = content if isinstance(content, list) else ()
    return any(read_field(part, "type") in THOUGHT_PARTS for part in parts)


def _string(value: object, name: str) -> str | None:
    found = read_field(value, name)
    return found if isinstance(found, str) and found else None


def _list(value: object, name: str) -> Sequence[object]:
    found = read_field(value, name)
    return found if isinstance(found, list | tuple) else ()
