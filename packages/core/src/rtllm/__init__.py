"""rtllm: a model client for voice agents, over OpenAI's Responses WebSocket.

Agents use it through an adapter: ``rtllm_livekit`` or ``rtllm_videosdk``. The names here are for
adapters, tests and tools.
"""

from rtllm._version import __version__
from rtllm.adapters.images import ImageCache, ImageSource, NewImage, resolve_images
from rtllm.adapters.refusals import OnRefusal, refusal_error
from rtllm.client.chat_client import ChatClient
from rtllm.client.checks import check_settings
from rtllm.client.client import Client, FallbackProtocol, Lanes
from rtllm.client.stream import ResponseStream
from rtllm.codec.carried_fields import signature_of, with_signature
from rtllm.content.events import Event, PhaseChanged, ResponseEnded, TextDelta, ToolCallReady
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
from rtllm.content.timeouts import SILENCE_LIMIT, RetryPolicy, Timeouts
from rtllm.content.tool_names import ToolNames, legal_tool_name
from rtllm.content.usage import Totals, Usage, UsageLedger, UsageSnapshot
from rtllm.context.normalize import ContextRepair
from rtllm.engine.options import Chaining
from rtllm.engine.report import Recovery, TurnReport
from rtllm.engine.snapshot import ConnectionSnapshot
from rtllm.errors import (
    ConfigError,
    ConnectFailed,
    ConnectionLost,
    Details,
    EmptyContext,
    Overloaded,
    RateLimited,
    RequestRejected,
    ResponseFailed,
    RtllmError,
    ToolArgumentsError,
    ToolSchemaError,
    TurnError,
    TurnTimeout,
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
from rtllm.providers.azure import TokenProvider, resolve_azure
from rtllm.providers.config import ProviderConfig, resolve_provider
from rtllm.providers.credentials import ApiKey, Credentials
from rtllm.providers.dialects import ThinkTags, dialect_with
from rtllm.providers.hosts import Endpoint, HostProfile, endpoint
from rtllm.tools.function import FunctionTool
from rtllm.tools.null_defaults import Nulls
from rtllm.tools.strict_check import why_not_strict
from rtllm.tools.structured_output import parse_answer, response_format_of, with_form

__all__ = [
    "SILENCE_LIMIT",
    "Api",
    "ApiKey",
    "Body",
    "Chaining",
    "ChatClient",
    "Client",
    "ConfigError",
    "ConnectFailed",
    "ConnectionLost",
    "ConnectionSnapshot",
    "ContextRepair",
    "Credentials",
    "Details",
    "Effort",
    "EmptyContext",
    "Endpoint",
    "Event",
    "FallbackProtocol",
    "FunctionTool",
    "HostProfile",
    "Image",
    "ImageCache",
    "ImageSource",
    "Item",
    "Lanes",
    "Message",
    "Network",
    "NewImage",
    "Nulls",
    "OnRefusal",
    "Opaque",
    "Overloaded",
    "Parameters",
    "PhaseChanged",
    "ProviderConfig",
    "RateLimited",
    "Reasoning",
    "Recovery",
    "Request",
    "RequestRejected",
    "ResponseEnded",
    "ResponseFailed",
    "ResponseStream",
    "RetryPolicy",
    "Role",
    "RtllmError",
    "Text",
    "TextDelta",
    "ThinkTags",
    "Timeouts",
    "TokenProvider",
    "ToolArgumentsError",
    "ToolCall",
    "ToolCallReady",
    "ToolNames",
    "ToolOutput",
    "ToolSchemaError",
    "Totals",
    "TurnError",
    "TurnReport",
    "TurnTimeout",
    "Usage",
    "UsageLedger",
    "UsageSnapshot",
    "__version__",
    "check_settings",
    "dialect_with",
    "endpoint",
    "legal_tool_name",
    "parse_answer",
    "quickest_effort",
    "refusal_error",
    "resolve_azure",
    "resolve_images",
    "resolve_provider",
    "response_format_of",
    "signature_of",
    "takes_cache_breakpoints",
    "text_format_of",
    "tool_choice_of",
    "why_not_strict",
    "with_form",
    "with_signature",
    "without_nulls",
]
