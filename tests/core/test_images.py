"""Pictures get their addresses once, in their places, and keep them while they live."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest

from rtllm.adapters.images import ImageCache, NewImage, resolve_images
from rtllm.content.items import Image, Message, Text


class Frame:
    """Pixels that can be overwritten."""

    def __init__(self, pixels: bytes) -> None:
        self.pixels = bytearray(pixels)


@dataclass(eq=False)
class Shown:
    """What a framework's context holds: it stands for a frame."""

    frame: Frame
    size: int = 0

    @classmethod
    def of(cls, pixels: str) -> Shown:
        return cls(Frame(pixels.encode()))


@dataclass
class Kind:
    """The framework's pictures, and what was encoded."""

    address: Callable[[str], str] = "data:,{}".format
    encoded: list[str] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)

    def frame(self, source: Shown) -> object:
        return source.frame

    def options(self, source: Shown) -> int:
        return source.size

    def planes(self, source: Shown) -> Iterable[Any]:
        return (source.frame.pixels,)

    def copy(self, source: Shown) -> Shown:
        return Shown(Frame(bytes(source.frame.pixels)), source.size)

    def encode(self, source: Shown) -> str:
        self.threads.append(threading.current_thread())
        self.encoded.append(source.frame.pixels.decode())
        return self.address(self.encoded[-1])


def ten_times(pixels: str) -> str:
    return pixels * 10


async def urls(pictures: ImageCache[Shown], *sources: Shown) -> list[str | None]:
    return await pictures.encode(pictures.take(sources))


def is_known(pictures: ImageCache[Shown], source: Shown) -> bool:
    return not isinstance(pictures.take([source])[0], NewImage)


async def test_each_is_encoded_once_and_off_the_loop() -> None:
    kind = Kind()
    pictures = ImageCache(kind)
    a, b, c = map(Shown.of, "abc")
    assert await urls(pictures, a, b, a) == ["data:,a", "data:,b", "data:,a"]
    assert await urls(pictures, b, c) == ["data:,b", "data:,c"]
    assert len(kind.threads) == 3
    assert threading.main_thread() not in kind.threads


async def test_a_placed_context_is_encoded_once() -> None:
    kind = Kind()
    placed = ImageCache(kind).place([Message("user", (Image(""),))], [Shown.of("a")])
    assert not placed.is_complete
    for _ in range(2):
        assert await placed.encode() == (Message("user", (Image("data:,a"),)),)
        assert placed.is_complete
    assert kind.encoded == ["a"]


async def test_an_address_goes_with_its_picture() -> None:
    pictures = ImageCache(Kind())
    shown = Shown.of("a")
    await urls(pictures, shown)
    frame = weakref.ref(shown.frame)
    assert repr(pictures) == "ImageCache(1 images)"
    del shown
    gc.collect()
    assert frame() is None
    assert len(pictures) == 0


async def test_a_picture_that_dies_before_it_is_encoded_is_given_and_not_kept() -> None:
    pictures = ImageCache(Kind())
    taken = pictures.take([Shown.of("a")])
    gc.collect()
    assert await pictures.encode(taken) == ["data:,a"]
    assert len(pictures) == 0


async def test_an_id_that_comes_to_mean_another_object_shows_that_one() -> None:
    pictures = ImageCache(Kind())
    for number in range(200):  # the allocator gives the same address again and again
        assert await urls(pictures, Shown.of(str(number))) == [f"data:,{number}"]


async def test_a_frame_that_is_overwritten_is_encoded_again() -> None:
    frame = Frame(b"red")
    pictures = ImageCache(Kind())
    first, second = Shown(frame), Shown(frame)
    assert await urls(pictures, first) == ["data:,red"]
    frame.pixels[:] = b"sky"
    assert await urls(pictures, second) == ["data:,sky"]


async def test_a_ring_buffers_older_pictures_keep_what_they_showed() -> None:
    frame = Frame(b"red")
    kind = Kind()
    pictures = ImageCache(kind)
    context: list[Shown] = []
    seen: list[str | None] = []
    for pixels in ("red", "sky", "sun"):
        frame.pixels[:] = pixels.encode()
        context.append(Shown(frame))
        seen = await urls(pictures, *context)
    assert seen == ["data:,red", "data:,sky", "data:,sun"]
    assert len(kind.encoded) == 3


async def test_the_same_object_over_new_pixels_is_encoded_again() -> None:
    pictures = ImageCache(Kind())
    shown = Shown.of("red")
    assert await urls(pictures, shown) == ["data:,red"]
    shown.frame.pixels[:] = b"sky"
    assert await urls(pictures, shown) == ["data:,sky"]


async def test_the_same_object_with_other_options_or_another_frame_is_encoded_again() -> None:
    kind = Kind()
    pictures = ImageCache(kind)
    shown = Shown.of("red")
    await urls(pictures, shown)
    shown.size = 2
    await urls(pictures, shown)
    shown.frame = Frame(b"red")
    await urls(pictures, shown)
    assert kind.encoded == ["red"] * 3


async def test_a_change_anywhere_in_a_large_picture_of_one_colour_is_seen() -> None:
    pictures = ImageCache(Kind())
    shown = Shown.of("r" * 1_000_000)
    await urls(pictures, shown)
    assert is_known(pictures, shown)
    shown.frame.pixels[500_000:510_000] = b"b" * 10_000
    assert not is_known(pictures, shown)


async def test_pixels_are_taken_when_they_are_asked_with() -> None:
    pictures = ImageCache(Kind())
    shown = Shown.of("red")
    taken = pictures.take([shown])
    shown.frame.pixels[:] = b"sky"
    assert await pictures.encode(taken) == ["data:,red"]
    assert await urls(pictures, shown) == ["data:,sky"]


async def test_what_is_kept_is_bounded() -> None:
    pictures = ImageCache(Kind(ten_times), kept=25)
    shown = [Shown.of(pixels) for pixels in "abcd"]
    for one in shown:
        await urls(pictures, one)
    assert [is_known(pictures, one) for one in shown] == [False, False, True, True]
    pictures.clear()
    assert not any(is_known(pictures, one) for one in shown)


async def test_the_last_requests_own_pictures_are_kept_however_large() -> None:
    kind = Kind(ten_times)
    pictures = ImageCache(kind, kept=25)
    shown = [Shown.of(pixels) for pixels in "abcd"]
    for upto in range(1, 5):
        await urls(pictures, *shown[:upto])
    assert kind.encoded == list("abcd")


async def test_one_that_another_request_crowds_out_is_still_given() -> None:
    go_on = threading.Event()

    def encode(pixels: str) -> str:
        if pixels == "slow":
            assert go_on.wait(10)
        return pixels * 10

    pictures = ImageCache(Kind(encode), kept=25)
    a, slow, b, c, d = map(Shown.of, ("a", "slow", "b", "c", "d"))
    await urls(pictures, a)
    waiting = asyncio.create_task(urls(pictures, a, slow))
    await asyncio.sleep(0)
    await urls(pictures, b, c, d)
    assert not is_known(pictures, a)
    go_on.set()
    assert await asyncio.wait_for(waiting, 10) == ["a" * 10, "slow" * 10]


async def test_one_that_cannot_be_encoded_is_left_out_and_named_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse(pixels: str) -> str:
        raise ValueError(pixels)

    pictures = ImageCache(Kind(refuse))
    shown = Shown.of("no such format")
    for _ in range(2):
        assert await asyncio.wait_for(urls(pictures, shown), 10) == [None]
    assert caplog.text.count("no such format") == 1


async def test_many_pictures_that_are_no_longer_used_leave_nothing() -> None:
    pictures = ImageCache(Kind(lambda pixels: pixels * 1000))
    for number in range(150):
        await urls(pictures, Shown.of(f"{number:04d}" * 250))
    gc.collect()
    assert len(pictures) == 0


def test_addresses_go_to_images_without_one() -> None:
    message = Message("user", (Image("https://x/1"), Image(""), Text("and"), Image("")))
    (made,) = resolve_images([message], ["data:,1", None])
    assert made == Message("user", (Image("https://x/1"), Image("data:,1"), Text("and")))


async def test_a_context_has_placeholders_until_its_pictures_are_encoded() -> None:
    pictures, shown = ImageCache(Kind()), Shown.of("a")
    items = [Message("user", (Text("Look."), Image(""))), Message.of("assistant", "I see.")]
    placed = pictures.place(items, [shown])
    assert not placed.is_complete
    assert placed.items[0] == Message("user", (Text("Look."), Image("data:,")))
    shown.frame.pixels[:] = b"b"  # afterwards, so it is not seen
    encoded = await placed.encode()
    assert encoded == (Message("user", (Text("Look."), Image("data:,a"))), items[1])
    assert pictures.place(items[1:], []).is_complete
    assert await pictures.place(items[1:], []).encode() == (items[1],)


async def test_a_context_is_complete_if_its_pictures_are_known() -> None:
    pictures, shown = ImageCache(Kind()), Shown.of("a")
    items = [Message("user", (Image(""),))]
    first = await pictures.place(items, [shown]).encode()
    placed = pictures.place(items, [shown])
    assert placed.is_complete
    assert placed.items == first
