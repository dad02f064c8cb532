"""A client that gets no further requests closes when its answers are over."""

import asyncio
import gc
import re
import subprocess
import sys
import threading
import weakref
from functools import partial
from typing import Any

import pytest

from rtllm import Client, Credentials, TextDelta, TurnError, endpoint
from rtllm.simulator import Pause, Reply, Simulator, Text, fixed
from transport.caller import Caller, MakeClient, spoken


def slow(gate: asyncio.Event) -> Simulator:
    return Simulator(fixed(Reply.of(Text(pieces=("One ", Pause(gate), "two.")))))


async def begun(client: Client) -> asyncio.Task[str]:
    """An answer that is being read, after its first piece."""
    started = asyncio.Event()
    caller = Caller(client)

    async def read() -> str:
        heard = []
        with client.ask(caller.request()) as answer:
            async for event in answer:
                heard.append(event)
                if isinstance(event, TextDelta):
                    started.set()
        return spoken(heard)

    task = asyncio.create_task(read())
    await asyncio.wait_for(started.wait(), 20)
    return task


async def closed(simulator: Simulator) -> None:
    await simulator.journal.wait(lambda journal: not journal.open_connections)
    closing = [t for t in asyncio.all_tasks() if t.get_name() == "rtllm close client"]
    if closing:
        await asyncio.wait(closing, timeout=20)


async def test_an_abandoned_client_ends_its_answers_and_closes(make_client: MakeClient) -> None:
    gate = asyncio.Event()
    async with slow(gate) as simulator:
        client = make_client(simulator)
        task = await begun(client)
        client.close_when_idle()
        await asyncio.sleep(0)
        gate.set()
        assert await asyncio.wait_for(task, 20) == "One two."
        await closed(simulator)


async def test_what_was_asked_before_and_is_read_after_is_answered_and_closed(
    make_client: MakeClient,
) -> None:
    async with Simulator("Hi.") as simulator:
        client = make_client(simulator)
        caller = Caller(client)
        answer = client.ask(caller.request())
        client.close_when_idle()
        with answer:
            assert spoken([event async for event in answer]) == "Hi."
        await closed(simulator)


async def test_an_answer_that_never_ends_is_ended_at_the_limit(make_client: MakeClient) -> None:
    async with slow(asyncio.Event()) as simulator:
        client = make_client(simulator)
        task = await begun(client)
        client.close_when_idle(limit=0.0)
        with pytest.raises(TurnError, match="the client was closed"):
            await asyncio.wait_for(task, 20)
        await closed(simulator)


async def test_closing_waits_for_no_answer_of_an_abandoned_client(make_client: MakeClient) -> None:
    async with slow(asyncio.Event()) as simulator:
        client = make_client(simulator)
        task = await begun(client)
        client.close_when_idle()
        await client.aclose()
        with pytest.raises(TurnError, match="the client was closed"):
            await asyncio.wait_for(task, 20)
        await closed(simulator)


@pytest.mark.real_time
async def test_any_thread_may_abandon_and_a_closed_loop_is_passed_over(
    make_client: MakeClient,
) -> None:
    async with Simulator("Hi.") as simulator:
        client = make_client(simulator)
        await Caller(client).say("Hello")

        async def elsewhere() -> None:
            client.prewarm("gpt-4.1", Caller(client).request().network)

        await asyncio.to_thread(asyncio.run, elsewhere())
        thread = threading.Thread(target=client.close_when_idle)
        thread.start()
        await asyncio.to_thread(thread.join)
        await closed(simulator)


@pytest.mark.real_time
async def test_one_loops_answer_keeps_only_that_loop_open(make_client: MakeClient) -> None:
    gate = asyncio.Event()
    async with slow(gate) as simulator:
        client = make_client(simulator)
        task = await begun(client)
        ready = threading.Event()

        async def other() -> None:
            client.prewarm("gpt-4.1", Caller(client).request().network)
            ready.set()
            async with asyncio.timeout(20):
                while client.connections:
                    await asyncio.sleep(0.002)
            await client.aclose()  # waits for the closing that began

        running = asyncio.create_task(asyncio.to_thread(lambda: asyncio.run(other())))
        await asyncio.to_thread(ready.wait, 20)
        client.close_when_idle()
        await running
        assert client.connections
        gate.set()
        assert await asyncio.wait_for(task, 20) == "One two."
        await closed(simulator)


def test_a_chat_client_imports_what_its_first_turn_needs() -> None:
    program = """
import sys
from rtllm import ChatClient
before = set(sys.modules)
ChatClient(make_client=lambda _: object())
missing = {
    "rtllm.transport.http_faults", "openai", "openai.resources.chat.completions.completions"
} - set(sys.modules)
assert not missing, missing
ready = set(sys.modules)
import openai
openai.AsyncOpenAI(api_key="key").chat.completions
late = set(sys.modules) - ready
assert not late, late
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


_PROGRAM = """
import asyncio, gc, sys
from rtllm import Client, Credentials, Message, Request, TurnError, endpoint

def connections():
    return [task for task in asyncio.all_tasks() if task.get_name().startswith("rtllm")]

async def main(url, keeps, until):
    client = Client(endpoint(url), Credentials("key"), fallback=None)
    if keeps:
        globals()["kept"] = client
    for turn in range(2):
        items = (Message.of("user", "Hi"),)
        with client.ask(Request(items, "gpt-4.1", lambda items: items)) as stream:
            try:
                await stream.text()
            except TurnError as error:
                print(type(error).__name__)
    while until == "all are closed" and connections():
        await asyncio.sleep(0.005)
    del client
    gc.collect()

asyncio.run(main(sys.argv[1], sys.argv[2] == "kept", sys.argv[3]))
"""


async def program_output(simulator: Simulator, keeps: str, until: str) -> tuple[int, str, str]:
    """The return code and the output of a program that doesn't close its client."""
    command = [sys.executable, "-c", _PROGRAM, simulator.base_url, keeps, until]
    run = partial(subprocess.run, command, capture_output=True, text=True, check=False)
    process = await asyncio.get_running_loop().run_in_executor(None, run)
    logged = re.compile("does not support lanes|the turn failed after")
    said = [line for line in process.stderr.splitlines() if not logged.search(line)]
    return process.returncode, process.stdout, "\n".join(said)


@pytest.mark.parametrize("keeps", ["kept", "dropped"])
@pytest.mark.parametrize("lanes", ["on", "off"])
async def test_a_program_that_ends_without_closing_says_nothing(keeps: str, lanes: Any) -> None:
    async with Simulator("Hi.", lanes=lanes) as simulator:
        assert await program_output(simulator, keeps, "the turns are over") == (0, "", "")


@pytest.mark.real_time
@pytest.mark.parametrize("keeps", ["kept", "dropped"])
async def test_a_program_that_ends_after_its_connections_says_nothing(keeps: str) -> None:
    async with Simulator("Hi.", idle=0.2) as simulator:
        assert await program_output(simulator, keeps, "all are closed") == (0, "", "")


@pytest.mark.parametrize("keeps", ["kept", "dropped"])
async def test_a_program_that_ends_without_a_connection_says_nothing(keeps: str) -> None:
    async with Simulator("Hi.", api_key="another") as simulator:
        output = await program_output(simulator, keeps, "the turns are over")
    assert output == (0, "RequestRejected\nRequestRejected\n", "")


@pytest.mark.parametrize("steps", range(6))
async def test_closing_goes_on_when_who_waits_for_it_is_cancelled(
    make_client: MakeClient, steps: int
) -> None:
    async with Simulator("Hi.") as simulator:
        client = make_client(simulator)
        await Caller(client).say("Hello")
        closing = asyncio.create_task(client.aclose())
        for _ in range(steps):
            await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait([closing])
        await client.aclose()
        assert not [t for t in asyncio.all_tasks() if t.get_name().startswith("rtllm")]
        await closed(simulator)


# A session whose loop has ended can't be closed any more; aiohttp tells of it when it is freed.
@pytest.mark.real_time
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_loop_that_ends_opens_nothing_any_more() -> None:
    async with Simulator("Hi.") as simulator:
        held: list[Client] = []

        async def program() -> None:
            held.append(
                Client(endpoint(simulator.base_url), Credentials("key"), lanes=True, fallback=None)
            )
            await Caller(held[0]).say("Hello")

        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, lambda: asyncio.run(program()))
        await closed(simulator)
        assert len(simulator.journal.connections) == 1
        held.clear()
        gc.collect()


async def test_a_client_that_is_dropped_while_its_answer_is_read_ends_it_first() -> None:
    gate = asyncio.Event()
    async with slow(gate) as simulator:
        client = Client(endpoint(simulator.base_url), Credentials("key"), lanes=True)
        task = await begun(client)
        known = weakref.ref(client)
        del client
        gc.collect()
        assert known() is not None
        gate.set()
        assert await asyncio.wait_for(task, 20) == "One two."
        del task
        gc.collect()
        assert known() is None
        await closed(simulator)


async def test_an_answer_that_is_dropped_in_its_midst_lets_its_client_go() -> None:
    gate = asyncio.Event()
    async with slow(gate) as simulator:
        client = Client(endpoint(simulator.base_url), Credentials("key"), lanes=True, rebuild=True)
        answer = client.ask(Caller(client).request())
        assert isinstance(await anext(answer), TextDelta)
        known = weakref.ref(client)
        del client, answer
        gate.set()
        await simulator.journal.wait_for(1, "completed")
        async with asyncio.timeout(20):
            while known() is not None:
                gc.collect()
                await asyncio.sleep(0.002)
        await closed(simulator)
