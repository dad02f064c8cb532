"""rtllm: a model client for voice agents, over OpenAI's Responses WebSocket.

Agents use it through an adapter: ``rtllm_livekit`` or ``rtllm_videosdk``. What stands here is
what adapters are made of.
"""

from rtllm._version import __version__
from rtllm.adapters.images import NewPicture, PictureKind, Pictures, with_pictures
from rtllm.client.chat_client import ChatClient
from rtllm.client.client import Client, FallsBack, Lanes
from rtllm.client.stream import Answer
from rtllm.content.events import Called, Delta, Ended, Event, Phased
from rtllm.content.items import (
    Image,
    Item,
    Message,
    Opaque,
    Reasoning,
    Role,
    Text,
    ToolCall,
    ToolOutput,
)
from rtllm.content.request import Network, Request
from rtllm.content.timeouts import Limits, Retry
from rtllm.content.usage import Books, Snapshot, Totals, Usage
from rtllm.context.normalize import Note
from rtllm.engine.report import Recovery, TurnReport
from rtllm.engine.snapshot import ConnectionSnapshot
from rtllm.errors import (
    Busy,
    ConfigError,
    Details,
    Dropped,
    EmptyContext,
    Failed,
    Refused,
    RtllmError,
    Silent,
    ToolArgumentsError,
    ToolSchemaError,
    TurnError,
    Unreachable,
)
from rtllm.parameters import (
    Api,
    Body,
    Effort,
    Parameters,
    quickest_effort,
    takes_cache_breakpoints,
    text_format_of,
    tool_choice_of,
    without_nulls,
)
from rtllm.providers.azure import TokenProvider, azure_reach
from rtllm.providers.config import Reach, reached
from rtllm.providers.credentials import ApiKey, Credentials
from rtllm.providers.hosts import Endpoint, HostProfile, endpoint
from rtllm.tools.function import FunctionTool
from rtllm.tools.null_defaults import Nulls
from rtllm.tools.strict_check import why_not_strict
from rtllm.tools.structured_output import parse_answer, response_format_of, with_form

__all__ = [
    "Answer",
    "Api",
    "ApiKey",
    "Body",
    "Books",
    "Busy",
    "Called",
    "ChatClient",
    "Client",
    "ConfigError",
    "ConnectionSnapshot",
    "Credentials",
    "Delta",
    "Details",
    "Dropped",
    "Effort",
    "EmptyContext",
    "Ended",
    "Endpoint",
    "Event",
    "Failed",
    "FallsBack",
    "FunctionTool",
    "HostProfile",
    "Image",
    "Item",
    "Lanes",
    "Limits",
    "Message",
    "Network",
    "NewPicture",
    "Note",
    "Nulls",
    "Opaque",
    "Parameters",
    "Phased",
    "PictureKind",
    "Pictures",
    "Reach",
    "Reasoning",
    "Recovery",
    "Refused",
    "Request",
    "Retry",
    "Role",
    "RtllmError",
    "Silent",
    "Snapshot",
    "Text",
    "TokenProvider",
    "ToolArgumentsError",
    "ToolCall",
    "ToolOutput",
    "ToolSchemaError",
    "Totals",
    "TurnError",
    "TurnReport",
    "Unreachable",
    "Usage",
    "__version__",
    "azure_reach",
    "endpoint",
    "parse_answer",
    "quickest_effort",
    "reached",
    "response_format_of",
    "takes_cache_breakpoints",
    "text_format_of",
    "tool_choice_of",
    "why_not_strict",
    "with_form",
    "with_pictures",
    "without_nulls",
]
