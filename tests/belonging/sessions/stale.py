"""What an application changes in place between two turns, and what its caller's requests show."""

from __future__ import annotations

from typing import Any

from belonging.sessions.hall import Hall, caller_of, names_of

TURNS = ("hello", "more", "thanks")
SHADES = 40
"""How far the shades of two callers' frames are apart."""


async def play_new_descriptions(hall: Hall, callers: int) -> list[str]:
    """Play agents that describe their tool otherwise in each turn; return what was stale."""
    side: Any = hall.side

    async def call(name: str) -> None:
        tool = side.tool()
        async with hall.line(agent=side.agent(tool)) as line:
            for turn, text in enumerate(TURNS):
                side.describe(tool, f"Looks up for {name}, as of turn {turn}.")
                await hall.together()
                await line.say(text)

    await hall.play(callers, call)
    return [
        f"{name} shows {entry.body['tools']} in turn {turn}"
        for name in names_of(callers)
        for turn, entry in enumerate(hall.of(name))
        if [tool["description"] for tool in entry.body["tools"]]
        != [f"Looks up for {name}, as of turn {turn}."]
    ]


async def play_overwritten_frames(hall: Hall, callers: int) -> list[str]:
    """Play cameras that overwrite their frames in each turn; return what was stale.

    Equal frames have equal addresses, and different ones different addresses.
    """
    side: Any = hall.side
    names = names_of(callers)

    async def call(name: str) -> None:
        frame = side.frame()
        async with hall.line() as line:
            await side.show(line, frame)
            for turn, text in enumerate(TURNS):
                side.paint(frame, shade_of(names, name, turn))
                await hall.together()
                await line.say(text)

    await hall.play(callers, call)
    shown: dict[str, int] = {}
    stale: list[str] = []
    for entry in hall.entries:
        name = caller_of(entry)
        turn = hall.of(name).index(entry)
        shade = shade_of(names, name, turn)
        for url in pictures_in(entry.context):
            if shown.setdefault(url, shade) != shade:
                stale.append(f"{name} shows shade {shown[url]} in turn {turn}")
    assert stale or len(shown) == callers * len(TURNS), hall.story()
    return stale


def shade_of(names: list[str], name: str, turn: int) -> int:
    return names.index(name) * SHADES * len(TURNS) + turn * SHADES


def pictures_in(context: Any) -> list[str]:
    return [
        part["image_url"]
        for item in context
        for part in item.get("content") or ()
        if isinstance(part, dict) and part["type"] == "input_image"
    ]
