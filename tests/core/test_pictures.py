"""Pictures get their addresses once, in their places."""

import asyncio
import threading

from rtllm.items import Image, Message, Text
from rtllm.pictures import Pictures, with_pictures


async def test_each_is_encoded_once_and_off_the_loop() -> None:
    threads: list[threading.Thread] = []

    def encode(source: str) -> str:
        threads.append(threading.current_thread())
        return f"data:,{source}"

    pictures = Pictures[str](encode, str)
    assert await pictures.encode(["a", "b", "a"]) == ["data:,a", "data:,b", "data:,a"]
    assert await pictures.encode(["b", "c"]) == ["data:,b", "data:,c"]
    assert len(threads) == 3
    assert threading.main_thread() not in threads


async def test_what_is_kept_is_bounded() -> None:
    pictures = Pictures[str](lambda source: source * 10, str, kept=25)
    for source in "abcd":
        assert await pictures.encode([source]) == [source * 10]
    assert [pictures.has(source) for source in "abcd"] == [False, False, True, True]


async def test_the_last_requests_own_pictures_are_kept_however_large() -> None:
    pictures = Pictures[str](lambda source: source * 100, str, kept=25)
    assert await pictures.encode(["a", "b"]) == ["a" * 100, "b" * 100]


async def test_requests_at_once_for_the_same_picture_count_it_once() -> None:
    encodings: list[str] = []

    def encode(source: str) -> str:
        encodings.append(source)
        return source * 10

    pictures = Pictures[str](encode, str, kept=25)
    await asyncio.gather(*(pictures.encode(["a"]) for _ in range(4)))
    for _ in range(3):
        await pictures.encode(["b"])
        await pictures.encode(["c"])
    assert (encodings.count("b"), encodings.count("c")) == (1, 1)


async def test_one_that_another_request_crowds_out_is_still_given() -> None:
    go_on = threading.Event()

    def encode(source: str) -> str:
        if source == "slow":
            assert go_on.wait(10)
        return source * 10

    pictures = Pictures[str](encode, str, kept=25)
    await pictures.encode(["a"])
    waiting = asyncio.create_task(pictures.encode(["a", "slow"]))
    await asyncio.sleep(0)
    await pictures.encode(["b", "c", "d"])
    assert not pictures.has("a")
    go_on.set()
    assert await asyncio.wait_for(waiting, 10) == ["a" * 10, "slow" * 10]


async def test_one_that_cannot_be_encoded_is_left_out_and_named(caplog: object) -> None:
    def encode(source: str) -> str:
        raise ValueError(source)

    pictures = Pictures[str](encode, str)
    assert await asyncio.wait_for(pictures.encode(["a"]), 10) == [None]
    assert pictures.has("a")


def test_addresses_go_where_none_is_yet() -> None:
    message = Message("user", (Image("https://x/1"), Image(""), Text("and"), Image("")))
    (made,) = with_pictures([message], ["data:,1", None])
    assert made == Message("user", (Image("https://x/1"), Image("data:,1"), Text("and")))
