"""rtllm: a model client for voice agents, over OpenAI's Responses WebSocket.

Agents use it through an adapter: ``rtllm_livekit`` or ``rtllm_videosdk``. The names here are for
use without a framework, and for what both adapters give to their users: reports, errors and tools.
What an adapter is made of is in ``rtllm.adapters``.
"""

from rtllm._version import __version__
from rtllm.client.chat_client import ChatClient
from rtllm.client.client import Client, FallbackProtocol, Lanes
from rtllm.client.stream import ResponseStream
from rtllm.content.call_identity import CallIdentity
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
from rtllm.content.prices import Cost, ModelPrices, Prices
from rtllm.content.request import Network, Request
from rtllm.content.retries import RetryPolicy
from rtllm.content.timeouts import SILENCE_LIMIT, Timeouts
from rtllm.content.usage import (
    AttemptDetails,
    AttemptUsage,
    Totals,
    Usage,
    UsageCategory,
    UsageLine,
)
from rtllm.content.usage_ledger import ConversationUsage, UsageLedger, UsageSnapshot
from rtllm.context.normalize import ContextRepair
from rtllm.context.prompt_cache import CacheBreak, CacheReports, PromptCacheReport
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
from rtllm.instrumentation.trace_file import TraceFile
from rtllm.instrumentation.trace_reader import read_trace
from rtllm.providers.azure import TokenProvider
from rtllm.providers.credentials import ApiKey, Credentials
from rtllm.providers.dialects import ThinkTags
from rtllm.providers.hosts import Endpoint, HostProfile, endpoint
from rtllm.providers.price_library import PriceLibrary, load_prices
from rtllm.tools.function import FunctionTool
from rtllm.tools.null_defaults import Nulls
from rtllm.tools.strict_check import why_not_strict
from rtllm.tools.structured_output import parse_answer, response_format_of
from rtllm.trace.events import TraceEvent
from rtllm.trace.listeners import TraceListener, TraceListeners
from rtllm.trace.records import TraceReading, TraceRecord

__all__ = [
    "SILENCE_LIMIT",
    "ApiKey",
    "AttemptDetails",
    "AttemptUsage",
    "CacheBreak",
    "CacheReports",
    "CallIdentity",
    "Chaining",
    "ChatClient",
    "Client",
    "ConfigError",
    "ConnectFailed",
    "ConnectionLost",
    "ConnectionSnapshot",
    "ContextRepair",
    "ConversationUsage",
    "Cost",
    "Credentials",
    "Details",
    "EmptyContext",
    "Endpoint",
    "Event",
    "FallbackProtocol",
    "FunctionTool",
    "HostProfile",
    "Image",
    "Item",
    "Lanes",
    "Message",
    "ModelPrices",
    "Network",
    "Nulls",
    "Opaque",
    "Overloaded",
    "PhaseChanged",
    "PriceLibrary",
    "Prices",
    "PromptCacheReport",
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
    "ToolOutput",
    "ToolSchemaError",
    "Totals",
    "TraceEvent",
    "TraceFile",
    "TraceListener",
    "TraceListeners",
    "TraceReading",
    "TraceRecord",
    "TurnError",
    "TurnReport",
    "TurnTimeout",
    "Usage",
    "UsageCategory",
    "UsageLedger",
    "UsageLine",
    "UsageSnapshot",
    "__version__",
    "endpoint",
    "load_prices",
    "parse_answer",
    "read_trace",
    "response_format_of",
    "why_not_strict",
]
