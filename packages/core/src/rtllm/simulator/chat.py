"""``POST /v1/chat/completions``: one request over HTTP, from its checks to its last chunk."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web

from rtllm.simulator import chat_checks, chat_messages, manners
from rtllm.simulator.chat_chunks import Chunk, Completion
from rtllm.simulator.connection import reset
from rtllm.simulator.error_frame import ErrorFrame, Stage
from rtllm.simulator.faults import (
    Abort,
    Close,
    CutResponse,
    FailedResponse,
    Fault,
    Garbage,
    HangUp,
    MangleChat,
    RefuseRequest,
    Silence,
    spoil_reply,
)
from rtllm.simulator.journal import Entry
from rtllm.simulator.posted import (
    AnswerError,
    EndedError,
    Posted,
    plain,
    refused,
    scripted,
    service_headers,
)
from rtllm.simulator.refusal import RequestError
from rtllm.simulator.script import Completed, Ending, Failed, Incomplete, Reply, Request
from rtllm.simulator.service import Service

_log = logging.getLogger(__name__)


class _EndNowError(Exception):
    """A fault ends the completion in one of its ordinary ways."""

    def __init__(self, ending: Ending) -> None:
        super().__init__()
        self.ending = ending


class ChatExchange(Posted):
    """The exchange of one chat completion.

    Args:
        service: The service.
        request: The HTTP request.
        deployment: The deployment in an Azure URL, None elsewhere.
    """

    def __init__(self, service: Service, request: web.Request, deployment: str | None) -> None:
        super().__init__(service, request, "chat")
        self._deployment = deployment
        self._faults: list[Fault] = []

    async def _respond(self, entry: Entry) -> web.StreamResponse:
        try:
            asked = self._prepare(entry)
        except RequestError as error:
            self._end("refused", error.code, error.message)
            return refused(error)
        self._faults = self._service.faults(asked)
        return await self._complete(entry, asked)

    def _prepare(self, entry: Entry) -> Request:
        body = entry.body
        options = self._service.options
        if options.strict:
            chat_checks.check_body(body, options.models, self._deployment)
        manners.check(body, options.manners)
        entry.context = chat_messages.as_items(body.get("messages"))
        return Request(
            body=body,
            context=list(entry.context),
            instructions=None,
            tools=[chat_checks.flat(tool) for tool in body.get("tools") or ()],
            connection=entry.connection,
            lane=None,
            index=entry.index,
            api="chat",
        )

    async def _complete(self, entry: Entry, asked: Request) -> web.StreamResponse:
        body = entry.body
        counted = self._service.count(asked)
        completion = Completion(
            body,
            model=body.get("model") or self._deployment or "",
            input_tokens=counted.input,
            cached_tokens=counted.cached,
            cache_write_tokens=counted.written,
            pace=self._service.options.pace,
            flaws=[fault.flaw for fault in self._faults if isinstance(fault, MangleChat)],
            azure=self._deployment is not None,
        )
        await self._reach("sent")
        reply = await self._reply(asked)
        entry.response_id = completion.id
        if body.get("stream"):
            return await self._streamed(entry, completion, reply)
        return await self._in_one(entry, completion, reply)

    async def _reply(self, asked: Request) -> Reply:
        try:
            reply = await self._service.reply(asked)
        except Exception as error:
            _log.warning("The script raised %r; the completion fails.", error)
            self._service.crashes.append(error)
            failed = Failed()
            self._end("failed", failed.code, failed.message)
            raise AnswerError(_failed(failed)) from error
        return spoil_reply(reply, self._faults)

    async def _in_one(self, entry: Entry, completion: Completion, reply: Reply) -> web.Response:
        async for _ in completion.pieces(reply):
            entry.deltas += 1
        entry.reply_text = completion.message["content"] or completion.message["refusal"] or ""
        ending: Ending = reply.ending
        if completion.is_full:
            ending = Incomplete("max_output_tokens")
        if isinstance(ending, Failed):
            self._end("failed", ending.code, ending.message)
            return _failed(ending)
        self._settle(entry, completion, ending)
        body = completion.whole(_reason(completion, ending))
        return web.json_response(body, headers=service_headers())

    async def _streamed(
        self, entry: Entry, completion: Completion, reply: Reply
    ) -> web.StreamResponse:
        stream = await self._open_stream()
        await self._reach("headers")
        chunks = self._chunks(entry, completion, reply)
        if self._has("content_with_finish"):
            chunks = _finish_joined(chunks)
        async for chunk in chunks:
            await self._send(json.dumps(chunk, ensure_ascii=False, separators=(",", ":")))
        if not self._has("done_missing"):
            await self._send("[DONE]")
        await stream.write_eof()
        return stream

    async def _chunks(
        self, entry: Entry, completion: Completion, reply: Reply
    ) -> AsyncIterator[Chunk]:
        ending: Ending = reply.ending
        try:
            for chunk in completion.opening():
                for piece in manners.dressed(chunk, self._service.options.manners):
                    yield piece
            await self._reach("created")
            async for chunk in completion.pieces(reply):
                self._note(entry, chunk)
                for piece in manners.dressed(chunk, self._service.options.manners):
                    yield piece
                await self._reach("output", entry.deltas)
            await self._reach("complete")
        except _EndNowError as end:
            ending = end.ending
        if completion.is_full:
            ending = Incomplete("max_output_tokens")
        if isinstance(ending, Failed):
            self._end("failed", ending.code, ending.message)
            yield {"error": _error(ending)}
            return
        self._settle(entry, completion, ending)
        for chunk in completion.finish(_reason(completion, ending)):
            yield chunk

    def _note(self, entry: Entry, chunk: Chunk) -> None:
        delta = chunk["choices"][0]["delta"]
        entry.deltas += 1
        entry.reply_text += delta.get("content") or delta.get("refusal") or ""
        self._service.journal.changed()

    def _settle(self, entry: Entry, completion: Completion, ending: Ending) -> None:
        entry.usage = completion.usage()
        self._end("completed" if isinstance(ending, Completed) else "incomplete")

    def _has(self, flaw: str) -> bool:
        return any(isinstance(fault, MangleChat) and fault.flaw == flaw for fault in self._faults)

    async def _send(self, data: str | bytes) -> None:
        line = data.encode() if isinstance(data, str) else data
        await self._write(b"data: %b\n\n" % line)

    # -- faults ----------------------------------------------------------------------------

    async def _reach(self, phase: Stage, deltas: int = 0) -> None:
        """Apply the faults that are due at this moment."""
        for fault in self._faults:
            match fault:
                case RefuseRequest() if phase == "sent":
                    self._end("refused", str(fault.status))
                    raise AnswerError(plain(fault))
                case Garbage() if fault.is_due(phase, deltas):
                    await self._send(fault.frame)
                case FailedResponse() if fault.is_due(phase, deltas):
                    await self._fail(Failed(fault.code, fault.message))
                case CutResponse() if fault.is_due(phase, deltas):
                    raise _EndNowError(Incomplete(fault.reason))
                case ErrorFrame() if fault.is_due(phase, deltas):
                    await self._fail(fault)
                case Close() | HangUp() | Abort() if fault.is_due(phase, deltas):
                    await self._drop(fault)
                case Silence() if fault.is_due(phase, deltas):
                    await self._fall_silent(fault)

    async def _fail(self, fault: ErrorFrame | Failed) -> None:
        """Send an error: as an HTTP status before the response, else as a line of the stream."""
        began = self._stream is not None
        self._end("failed" if began else "refused", fault.code, fault.message)
        response = _failed(fault) if isinstance(fault, Failed) else scripted(fault)
        if self._stream is None:
            raise AnswerError(response)
        await self._send(str(response.text))
        await self._stream.write_eof()
        raise EndedError

    async def _drop(self, fault: Close | HangUp | Abort) -> None:
        """End the body normally, or reset it; before the response began, end the connection."""
        self._end("dropped")
        match fault:
            case Abort():
                reset(self._request.transport)
            case HangUp():
                self._hang_up()
            case Close():
                await self._finish_early()
        raise EndedError

    async def _fall_silent(self, fault: Silence) -> None:
        while fault.noise is not None and self._stream is not None:
            await asyncio.sleep(fault.every)
            if fault.noise == "keepalive":
                await self._write(b": keepalive\n\n")
            else:
                choice = {"index": 0, "delta": {}, "finish_reason": None}
                await self._send(json.dumps({"choices": [choice]}))
        await asyncio.Event().wait()


async def _finish_joined(chunks: AsyncIterator[Chunk]) -> AsyncIterator[Chunk]:
    """Merge the last text into the chunk that ends the choice."""
    held: Chunk | None = None
    async for chunk in chunks:
        choice = (chunk.get("choices") or [{}])[0]
        if held is not None and choice.get("finish_reason") is not None:
            choice["delta"] = held["choices"][0]["delta"]
        elif held is not None:
            yield held
        held = None
        if (choice.get("delta") or {}).get("content") and choice.get("finish_reason") is None:
            held = chunk
        else:
            yield chunk
    if held is not None:
        yield held


def _reason(completion: Completion, ending: Ending) -> str:
    if isinstance(ending, Incomplete):
        return "content_filter" if ending.reason == "content_filter" else "length"
    return "tool_calls" if completion.message.get("tool_calls") else "stop"


def _error(failed: Failed) -> dict[str, Any]:
    return {
        "message": failed.message,
        "type": "server_error",
        "param": None,
        "code": failed.code,
    }


def _failed(failed: Failed) -> web.Response:
    return web.json_response({"error": _error(failed)}, status=500, headers=service_headers())
