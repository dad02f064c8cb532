"""Phone calls in tests of agents: simulated hearing, voice, caller and time.

A `PhoneCall` is a real `AgentSession` between a caller with scripted words and a loudspeaker that
records which words were played. It works with any LiveKit LLM; `rtllm.simulator` has a service for
`rtllm_livekit.LLM`. On a `VirtualTimeLoop` a call of minutes takes less than a second::
than a second::

    def test_the_agent_can_be_interrupted() -> None:
        async def call_it() -> None:
            async with Simulator("Our opening hours are as follows. ...") as service:
                model = LLM(api_key="none", base_url=service.base_url)
                async with PhoneCall(Receptionist(), llm=model) as call:
                    await call.caller_says("When are you open?")
                    await call.agent_says(4)  # words
                    await call.caller_says("Never mind.")
                    await call.quiet()
                    assert call.heard[0].interrupted
                await model.aclose()

        run_in_virtual_time(call_it())

With pytest-asyncio 1.4 and later, a hook in ``conftest.py`` runs all tests of its folder on virtual
time::

    def pytest_asyncio_loop_factories():
        return {"virtual": VirtualTimeLoop}
"""

from rtllm_livekit.testing.audio import FakeAudioInput, FakeAudioOutput, FakeTextOutput, Heard
from rtllm_livekit.testing.call import HungUp, PhoneCall
from rtllm_livekit.testing.clock import VirtualTimeLoop, run_in_virtual_time
from rtllm_livekit.testing.stt import FakeSTT
from rtllm_livekit.testing.tts import FakeTTS
from rtllm_livekit.testing.vad import FakeVAD

__all__ = [
    "FakeAudioInput",
    "FakeAudioOutput",
    "FakeSTT",
    "FakeTTS",
    "FakeTextOutput",
    "FakeVAD",
    "Heard",
    "HungUp",
    "PhoneCall",
    "VirtualTimeLoop",
    "run_in_virtual_time",
]
