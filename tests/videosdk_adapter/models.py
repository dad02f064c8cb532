"""Our LLM and the stock one, which note each context by value when `chat()` is called."""

from __future__ import annotations

from typing import Any, cast

from videosdk.agents import ChatContext
from videosdk.plugins.openai import OpenAILLM as StockLLM

from rtllm.simulator import Entry, Reply, Request, Script
from rtllm_videosdk import OpenAILLM
from support.contexts import Unit
from support.scripts import NotedScript, calls_of, words_of
from videosdk_adapter.contexts import as_recorded, wanted


class ContextScript(NotedScript):
    """A script that also notes the framework's context when a request is answered."""

    def __init__(self, script: Script | Reply | str, contexts: list[ChatContext]) -> None:
        super().__init__(script)
        self.at_answer: dict[int, list[Unit]] = {}
        self._contexts = contexts

    async def __call__(self, request: Request) -> Reply:
        self.at_answer[request.index] = wanted(self._contexts[number_of(request)])
        return await super().__call__(request)

    def words(self, index: int) -> str:
        """What the model said in an answer, several messages with a blank between."""
        return " ".join(words_of(self.replies[index]))

    def calls(self, index: int) -> list[Unit]:
        """What it called, as the framework has it."""
        return [as_recorded(call) for call in calls_of(self.replies[index])]


def number_of(request: Request | Entry) -> int:
    """The number of the `chat()` call that a request is for."""
    given = request.body.get("metadata") or {}
    return int(given["asked"])


class _Notes:
    """Numbers its calls and notes their contexts; the number travels with the request."""

    def __init__(self, contexts: list[ChatContext], asked: list[list[Unit]], **options: Any):
        self.contexts_asked = contexts
        self._units_asked = asked
        super().__init__(**options)

    async def chat(self, messages: ChatContext, *args: Any, **kwargs: Any) -> Any:
        self.contexts_asked.append(messages)
        self._units_asked.append(wanted(messages))
        kwargs["metadata"] = {"asked": str(len(self.contexts_asked) - 1)}
        if not cast("Any", self).streaming:
            kwargs["extra_body"] = {"store": True}  # else there is no metadata
        task: Any = super()
        async for response in task.chat(messages, *args, **kwargs):
            yield response


class RecordingLLM(_Notes, OpenAILLM): ...


class RecordingStock(_Notes, StockLLM): ...  # type: ignore[misc]  # it has no types
