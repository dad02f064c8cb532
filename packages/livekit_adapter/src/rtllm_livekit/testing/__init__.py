"""Phone calls without a phone, to test agents with: fake ears, voices, callers and time."""

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
