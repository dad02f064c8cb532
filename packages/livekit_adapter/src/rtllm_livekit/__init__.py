"""rtllm for LiveKit Agents: a drop-in for ``livekit.plugins.openai.responses.LLM``."""

try:
    import livekit.agents as _  # noqa: F401
except ImportError as error:
    raise ImportError(
        "rtllm_livekit needs livekit-agents; install it with: pip install 'rtllm[livekit]'"
    ) from error

from rtllm import __version__
from rtllm_livekit.llm import LLM
from rtllm_livekit.stream import LLMStream

__all__ = ["LLM", "LLMStream", "__version__"]
