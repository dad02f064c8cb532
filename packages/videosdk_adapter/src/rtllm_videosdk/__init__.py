"""rtllm for VideoSDK Agents. Not built yet: using it says so.

The name is reserved for the drop-in for ``videosdk.plugins.openai.OpenAILLM``.
"""

try:
    import videosdk.agents as _  # noqa: F401
except ImportError as error:
    raise ImportError(
        "rtllm_videosdk needs videosdk-agents; install it with: pip install 'rtllm[videosdk]'"
    ) from error

from typing import Never

from rtllm import __version__

__all__ = ["OpenAILLM", "__version__"]


class OpenAILLM:
    """The place of the drop-in for ``videosdk.plugins.openai.OpenAILLM``."""

    def __init__(self, *_args: object, **_keywords: object) -> Never:
        raise NotImplementedError(
            "rtllm_videosdk.OpenAILLM is not built yet in this release; "
            "use videosdk.plugins.openai.OpenAILLM until it is"
        )
