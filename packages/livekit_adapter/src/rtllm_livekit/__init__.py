"""rtllm for LiveKit Agents.

`LLM` is a drop-in for ``livekit.plugins.openai.responses.LLM``, `ChatLLM` for
``livekit.plugins.openai.LLM``.
"""

try:
    import livekit.agents as _  # noqa: F401
except ImportError as error:
    raise ImportError(
        "rtllm_livekit needs livekit-agents; install it with: pip install 'rtllm[livekit]'"
    ) from error

from rtllm import __version__
from rtllm_livekit.chat_llm import ChatLLM
from rtllm_livekit.llm import LLM
from rtllm_livekit.stream import LLMStream

__all__ = ["LLM", "ChatLLM", "LLMStream", "__version__"]
