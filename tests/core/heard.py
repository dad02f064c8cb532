"""A model of a careful listener: what the frames of one response say, each word once.

It knows which item each frame means, as a listener does who has the whole response before them;
the decoder must find out. It knows nothing of how the decoder does it.
"""

import asyncio
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rtllm.simulator import Reply
from rtllm.simulator.generation import Generation, Pace
from rtllm.simulator.mangling import MangledFrame

Event = dict[str, Any]


def events_of(reply: Reply, split: Any) -> list[Event]:
    """The well-formed events of a response."""
    generation = Generation(
        {"model": "m"}, input_tokens=10, cached_tokens=0, pace=Pace(split=split)
    )

    async def collect() -> list[Event]:
        events = generation.opening()
        events += [event async for event in generation.items(reply)]
        return events + generation.end(generation.ending)

    return asyncio.run(collect())


@dataclass
class Listener:
    """What was heard so far.

    Attributes:
        text: Everything, in the order in which it was said.
        calls: The calls that may run, by their ids, with their arguments.
    """

    text: str = ""
    calls: dict[str, Any] = field(default_factory=dict)
    _heard: dict[str, str] = field(default_factory=dict)
    _names: dict[str, str] = field(default_factory=dict)
    _arguments: dict[str, str] = field(default_factory=dict)

    def hear(self, event: Event, sent: Event) -> None:
        """Take an event, and what was sent of it."""
        match event["type"]:
            case "response.output_text.delta":
                self._say(event["item_id"], event["delta"])
            case "response.output_text.done":
                self._final(event["item_id"], event["text"])
            case "response.content_part.done":
                self._final(event["item_id"], event["part"]["text"])
            case "response.output_item.added":
                self._know(event["item"])
            case "response.output_item.done":
                self._item(event["item"], sent["item"])
            case "response.function_call_arguments.delta":
                so_far = self._arguments.get(event["item_id"], "")
                self._arguments[event["item_id"]] = so_far + event["delta"]
            case "response.function_call_arguments.done":
                self._arguments[event["item_id"]] = event["arguments"]
            case "response.completed":
                by_place = sent["response"].get("output") or ()
                for item, told in zip(event["response"]["output"], by_place, strict=False):
                    self._item(item, told)
                for item_id, call_id in self._names.items():
                    if whole := _parsed(self._arguments.get(item_id, "")):
                        self.calls.setdefault(call_id, whole)
            case _:
                pass

    def _say(self, item_id: str, text: str) -> None:
        self._heard[item_id] = self._heard.get(item_id, "") + text
        self.text += text

    def _final(self, item_id: str, text: str) -> None:
        heard = self._heard.get(item_id, "")
        if text.startswith(heard):
            self._say(item_id, text[len(heard) :])

    def _know(self, item: Event) -> None:
        if item["type"] == "function_call":
            self._names[item["id"]] = item["call_id"]

    def _item(self, item: Event, told: Event) -> None:
        self._know(item)
        if item["type"] == "message":
            self._final(item["id"], "".join(part["text"] for part in item["content"]))
        elif item["type"] == "function_call" and told.get("arguments"):
            self._arguments[item["id"]] = item["arguments"]


def listen(frames: Iterable[MangledFrame]) -> Listener:
    """Hear all frames of a response."""
    listener = Listener()
    for frame in frames:
        if frame.event is not None and not frame.is_repeat:
            listener.hear(frame.event, _sent(frame.data))
    return listener


def _sent(data: str | bytes) -> Event:
    text = data if isinstance(data, str) else data.decode(errors="replace")
    deep = text.find(',"extensions":[[')
    end = text.rfind("]]]]") + 4
    sent: Event = json.loads(text if deep < 0 else text[:deep] + text[end:])
    return sent


def words_of(text: str) -> str:
    """A text without its blanks: those between messages are the decoder's."""
    return "".join(text.split())


def _parsed(arguments: str) -> Any:
    try:
        return json.loads(arguments)
    except ValueError:
        return None


def texts_of(reply: Sequence[str]) -> str:
    """What a whole response says."""
    return words_of("".join(reply))
