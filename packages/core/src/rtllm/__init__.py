"""rtllm: a model client for voice agents, over OpenAI's Responses WebSocket.

Agents use it through an adapter: ``rtllm_livekit`` or ``rtllm_videosdk``. What stands here is
what adapters are made of.
"""

from rtllm._version import __version__
from rtllm.answer import Answer
from rtllm.azure import TokenProvider, azure_reach
from rtllm.carried import signature_of, with_signature
from rtllm.client import ChatClient, Client, FallsBack, Lanes
from rtllm.context import Note
from rtllm.dialects import ThinkTags, dialect_with
from rtllm.engine.options import Chaining
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
from rtllm.events import Called, Delta, Ended, Event, Phased
from rtllm.hosts import Endpoint, HostProfile, endpoint
from rtllm.items import Image, Item, Message, Opaque, Reasoning, Role, Text, ToolCall, ToolOutput
from rtllm.params import (
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
from rtllm.pictures import NewPicture, PictureKind, Pictures, with_pictures
from rtllm.reach import Reach, reached
from rtllm.report import Recovery, TurnReport
from rtllm.request import Network, Request
from rtllm.structured import parse_answer, response_format_of, with_form
from rtllm.tools.function import FunctionTool
from rtllm.tools.nulls import Nulls
from rtllm.tools.strict import why_not_strict
from rtllm.transport.auth import ApiKey, Credentials
from rtllm.turn import Limits, Retry
from rtllm.usage import Books, Snapshot, Totals, Usage

__all__ = [
    "Answer",
    "Api",
    "ApiKey",
    "Body",
    "Books",
    "Busy",
    "Called",
    "Chaining",
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
    "ThinkTags",
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
    "dialect_with",
    "endpoint",
    "parse_answer",
    "quickest_effort",
    "reached",
    "response_format_of",
    "signature_of",
    "takes_cache_breakpoints",
    "text_format_of",
    "tool_choice_of",
    "why_not_strict",
    "with_form",
    "with_pictures",
    "with_signature",
    "without_nulls",
]
