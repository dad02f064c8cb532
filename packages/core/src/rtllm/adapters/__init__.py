"""The parts that framework adapters are made of; see ``docs/adapters.md``.

An adapter uses these names and those of `rtllm`, nothing else.
"""

from rtllm.adapters.call_gate import CallGate
from rtllm.adapters.call_history import CallGroup, CallHistory, Unseen, arrange
from rtllm.adapters.clients import Clients
from rtllm.adapters.connection_options import ConnectionOptions
from rtllm.adapters.emitted_calls import EmittedCalls
from rtllm.adapters.emitted_output import EmittedOutput, SpentTokens
from rtllm.adapters.expected_history import (
    HistoryMapping,
    Recording,
    find_unrecognized,
    message_then_calls,
)
from rtllm.adapters.images import ImageCache, ImageSource, PlacedImages
from rtllm.adapters.kept_fields import carried_in, fields_to_keep, mark_in
from rtllm.adapters.keywords import KEYWORDS, OF_AZURE, with_keyword_docs
from rtllm.adapters.options import (
    KeywordGroups,
    Options,
    RequestBuilder,
    TimeoutParts,
    group_keywords,
    timeout_parts,
)
from rtllm.adapters.refusals import OnRefusal, refusal_error
from rtllm.adapters.span_attributes import span_attributes
from rtllm.adapters.tool_cache import ToolCache, ToolSource, offer_tools
from rtllm.adapters.warm_up import warm_up
from rtllm.client.checks import check_settings
from rtllm.codec.carried_fields import signature_of, with_signature
from rtllm.content.tool_names import ToolNames, legal_tool_name
from rtllm.parameters import (
    Api,
    Body,
    Effort,
    Parameters,
    ServiceTier,
    Verbosity,
    quickest_effort,
)
from rtllm.providers.azure import resolve_azure
from rtllm.providers.config import ProviderConfig, resolve_provider
from rtllm.tools.content_key import content_key
from rtllm.tools.offered_tools import OfferedTools, RunnableTool, explain_unreadable

__all__ = [
    "KEYWORDS",
    "OF_AZURE",
    "Api",
    "Body",
    "CallGate",
    "CallGroup",
    "CallHistory",
    "Clients",
    "ConnectionOptions",
    "Effort",
    "EmittedCalls",
    "EmittedOutput",
    "HistoryMapping",
    "ImageCache",
    "ImageSource",
    "KeywordGroups",
    "OfferedTools",
    "OnRefusal",
    "Options",
    "Parameters",
    "PlacedImages",
    "ProviderConfig",
    "Recording",
    "RequestBuilder",
    "RunnableTool",
    "ServiceTier",
    "SpentTokens",
    "TimeoutParts",
    "ToolCache",
    "ToolNames",
    "ToolSource",
    "Unseen",
    "Verbosity",
    "arrange",
    "carried_in",
    "check_settings",
    "content_key",
    "explain_unreadable",
    "fields_to_keep",
    "find_unrecognized",
    "group_keywords",
    "legal_tool_name",
    "mark_in",
    "message_then_calls",
    "offer_tools",
    "quickest_effort",
    "refusal_error",
    "resolve_azure",
    "resolve_provider",
    "signature_of",
    "span_attributes",
    "timeout_parts",
    "warm_up",
    "with_keyword_docs",
    "with_signature",
]
