"""The subjects of a comparison with a stock plugin."""

from collections.abc import Mapping

from rtllm.doctor.judgements.questions import Question

TURNS: Mapping[str, str] = {
    "first": "the first turn, which opens a connection",
    "next": "the second turn",
    "barge-in": "the turn right after an interrupted one",
}
"""The compared turns."""
_TITLES = {"livekit": "LiveKit", "videosdk": "VideoSDK"}
_OF_TURNS = tuple(
    Question(f"{name}-{turn}", f"On {title}: is {text} as quick as with the stock plugin?", "yes")
    for name, title in _TITLES.items()
    for turn, text in TURNS.items()
)
_OF_TOKENS = tuple(
    Question(f"{name}-tokens", f"On {title}: does a conversation need no more tokens?", "yes")
    for name, title in _TITLES.items()
)
COMPARED: Mapping[str, Question] = {each.name: each for each in (*_OF_TURNS, *_OF_TOKENS)}
"""The compared subjects by name."""
