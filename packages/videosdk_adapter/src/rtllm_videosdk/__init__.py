"""rtllm for VideoSDK Agents: a drop-in for ``videosdk.plugins.openai.OpenAILLM``."""

try:
    import videosdk.agents as _  # noqa: F401
except ImportError as error:
    raise ImportError(
        "rtllm_videosdk needs videosdk-agents; install it with: pip install 'rtllm[videosdk]'"
    ) from error

from rtllm import __version__
from rtllm_videosdk.llm import OpenAILLM

__all__ = ["OpenAILLM", "__version__"]
