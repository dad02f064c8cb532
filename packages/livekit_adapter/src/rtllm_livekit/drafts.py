"""Drafts: responses that LiveKit has asked for ahead, and then thrown away."""

import weakref

from livekit.agents.voice import SpeechHandle

from rtllm import ChatClient, Client, TurnReport
from rtllm_livekit.late_usage import current_speech


class Draft:
    """The turns of a speech, which count as drafts if LiveKit never schedules it.

    LiveKit generates a response before the caller has finished (preemptive generation) as a speech
    that it schedules only if the words stay the same (*seen* in 1.8). Any other speech is scheduled
    at once.

    Args:
        client: The client, which must not be kept alive until the speech is over.
    """

    def __init__(self, client: Client | ChatClient) -> None:
        self._client = weakref.ref(client)
        self._speech = current_speech()

    def note(self, report: TurnReport) -> None:
        """Note a turn that is over."""
        if self._speech is None or self._speech.scheduled:
            return

        def on_done(speech: SpeechHandle) -> None:
            client = self._client()
            if client is not None and speech.interrupted and not speech.scheduled:
                client.discard(report)

        self._speech.add_done_callback(on_done)
