"""The keywords of the adapters' constructors: what each one means, written once.

The adapters' docstrings and the table in ``docs/parameters.md`` are made of these texts.
"""

import inspect
from collections.abc import Callable, Mapping
from textwrap import indent, wrap
from typing import TypeVar

_WIDTH = 88
_RAISES = "\n\nRaises:"

Documented = TypeVar("Documented", bound=Callable[..., object])

KEYWORDS: Mapping[str, str] = {
    # The host.
    "api_key": "The key, or a function (plain or async) that returns one for each handshake and "
    "HTTP request. Default: ``OPENAI_API_KEY``.",
    "base_url": "The API's root, such as ``https://host/v1``, or a full endpoint "
    "(``wss://host/v1/responses``). Default: ``OPENAI_BASE_URL``.",
    "wss_url": "The Responses WebSocket, if it isn't under the API's root.",
    "organization": "The OpenAI organization. Default: ``OPENAI_ORG_ID``.",
    "project": "The OpenAI project. Default: ``OPENAI_PROJECT_ID``.",
    "client": "An openai client (or an object with the same interface) whose address, key, "
    "headers and query are used, and that sends the HTTP requests. It is never closed here.",
    "proxy": "The URL of an HTTP proxy, such as ``http://user:password@host:3128``, for the "
    "WebSocket and HTTP requests. It takes precedence over ``HTTPS_PROXY`` and ``NO_PROXY``. With "
    "`client`, which has its own, only the WebSocket uses it.",
    "host_profile": "The host's properties if its address does not tell them: the name of a known "
    "host (``docs/hosts.md``) or a `HostProfile`.",
    "dialect": "How the host wants requests encoded, by the points of ``docs/hosts.md``. Without "
    "it, this is learned from the host's first rejection.",
    "strict_tools": "False removes the ``strict`` of tools, True always sends it.",
    "think_tags": 'How to handle thoughts between tags in the text: "drop", "speak", or '
    '"prefilled" if the opening tag is never sent. Default: by the host.',
    # The protocol and its connections.
    "streaming": "True for the Responses WebSocket, False for Chat Completions over HTTP.",
    "use_websocket": "False sends Responses requests over HTTP, where only stored responses can "
    "be continued.",
    "lanes": 'Whether a connection runs several responses at once (``stream_id``). "auto": on '
    "hosts known to support it.",
    "warm_connections": "How many warm connections to keep on a host without lanes.",
    "max_connections": "The limit of connections on one event loop. When it is reached, requests "
    "wait for a connection, within their limit for connecting, and a warning is logged.",
    "fallback": "What to use when the WebSocket fails: the host has none, it keeps failing, or "
    "the request is too large. None: the turn fails.",
    "chaining": 'Whether to continue earlier responses. "auto": if the host stores them; with '
    '``RTLLM_CHAINING=off`` in the environment "auto" means False.',
    "rebuild": "Whether contexts that only an old connection remembers (``store=False``) are sent "
    "again to its replacement; that costs their input tokens once an hour. Otherwise the next "
    "turn sends its full context.",
    # The model and its parameters.
    "model": "The model.",
    "model_family": "The model's family if its name does not tell it (a deployment's name). "
    "Default on Azure: that of the model that the responses name, from the second turn on.",
    "user": "OpenAI's ``user`` field.",
    "safety_identifier": "OpenAI's ``safety_identifier`` field.",
    "prompt_cache_key": "OpenAI's ``prompt_cache_key`` field.",
    "prompt_cache_retention": "OpenAI's ``prompt_cache_retention`` field.",
    "prompt_cache_options": "OpenAI's ``prompt_cache_options`` field.",
    "prompt_cache_breakpoints": 'Whether cache breakpoints are sent. "auto": to api.openai.com '
    "and to models that accept them.",
    "metadata": "OpenAI's ``metadata`` field.",
    "service_tier": "OpenAI's ``service_tier`` field.",
    "temperature": "From 0 to 2; no longer sent to a model that rejects it.",
    "top_p": "Nucleus sampling.",
    "frequency_penalty": "Over HTTP only, because the Responses API has no such field.",
    "presence_penalty": "Over HTTP only, because the Responses API has no such field.",
    "seed": "Over HTTP only, because the Responses API has no such field.",
    "max_output_tokens": "The maximum tokens of a response, including reasoning.",
    "max_completion_tokens": "The maximum tokens of a response, including reasoning.",
    "reasoning": "Reasoning settings. Default: the lowest effort that the model accepts.",
    "reasoning_effort": "How much a reasoning model thinks. Default: the lowest effort that it "
    "accepts.",
    "verbosity": "How long responses are.",
    "tool_choice": "Which tool to use, if any; a function in either API's form.",
    "parallel_tool_calls": "Whether the model may call several tools at once.",
    "store": "Whether the service stores responses; the default is yes. Responses are continued "
    "in both cases.",
    "extra_headers": "Additional headers of each request.",
    "extra_query": "Additional query parameters of each request.",
    "extra_body": "Additional fields of each request's body.",
    "parameters": "Additional parameters of each request, by their names in either API, such as "
    '``{"service_tier": "priority"}``. The framework passes none with its calls.',
    "strict_parameters": "Whether it is an error if the model rejects a parameter, or is known "
    "to. Otherwise the nearest supported value is sent, or none, with one warning.",
    # Limits.
    "timeout": "Seconds to connect, or an httpx, httpx2 or openai ``Timeout``, of which only "
    "``connect`` is used. The other limits are those of the session's ``conn_options``.",
    "max_retries": "How often a turn may be retried; replaces the value of the session's "
    "``conn_options``.",
    "speech_floor": "The minimum speed of speech in characters per second; a slower turn fails. 0 "
    "for no minimum.",
    "first_output_timeout": "Seconds for the first output of each attempt. Default: the limit of "
    "each gap.",
    "silence_limit": "Seconds from `chat` to the first output, over all attempts; then the turn "
    "fails. It does not run while the model reasons or uses hosted tools. The default does not "
    "apply with ``conn_options`` of your own. None: no such limit.",
    # What the agent does.
    "conversation": "The name of the conversation of all requests, if the object serves only one. "
    "It proves which responses a context may continue. Default: that is derived from the context.",
    "on_refusal": '"speak" emits the text of a refusal, "error" raises.',
    "failure_text": "Spoken when a turn fails, instead of raising; the ``error`` event comes in "
    "both cases. Leave it out inside the framework's fallback wrapper, except on its last model.",
    "answer_invalid_calls": "Whether a response whose calls can't run (an unknown tool, broken "
    "JSON) is answered inside the same `chat`, at most twice. Otherwise LiveKit answers such calls "
    "itself.",
    "prices": "Prices of your own, for hosts and models that the price library doesn't know "
    "(``docs/usage.md``).",
    "cache_report": "Whether the reports explain how much of the prompt came from the service's "
    'cache, and what broke it (``docs/usage.md``); "texts" also quotes the changed text.',
    "on_turn": "Called with the report of each turn.",
    "on_trace": "A listener of the trace events, or several (``docs/tracing.md``).",
    "label": "A name for the calls of this object, in reports, traces and logs.",
    # Azure.
    "azure_endpoint": "The resource's address. Default: ``AZURE_OPENAI_ENDPOINT``.",
    "azure_deployment": "The deployment. Default: ``AZURE_OPENAI_DEPLOYMENT``, else `model`.",
    "api_version": "Selects the dated API over HTTP. Default: ``OPENAI_API_VERSION``; without one "
    "the v1 API is used. The WebSocket always uses v1.",
    "azure_ad_token": "An Entra token. Default: ``AZURE_OPENAI_AD_TOKEN``.",
    "azure_ad_token_provider": "A function, plain or async, that returns a token for each request "
    "and each handshake.",
    "options": "The other keywords of the constructor.",
}
"""What each keyword of the adapters' constructors means."""

OF_AZURE: Mapping[str, str] = {
    "model": "The model that the deployment runs; it determines the family of its parameters.",
    "api_key": "The key. Default: ``AZURE_OPENAI_API_KEY``.",
    "base_url": "The API's root instead of the resource's address.",
    "client": "An ``AsyncAzureOpenAI`` of yours; its address and credentials are used.",
}
"""The keywords that mean something else to the factories for Azure."""


def with_keyword_docs(**own: str) -> Callable[[Documented], Documented]:
    """Return a decorator that adds the meaning of each keyword to a docstring.

    Args:
        **own: The texts of keywords that mean something else there.

    Raises:
        KeyError: (from the decorator) If a keyword is not in the table.
    """
    texts = {**KEYWORDS, **own}

    def document(target: Documented) -> Documented:
        if target.__doc__ is not None:  # Python may have been started without docstrings
            before, raises, after = inspect.cleandoc(target.__doc__).partition(_RAISES)
            given = inspect.signature(target).parameters
            rows = [_row(name, texts[name]) for name in given if name not in ("self", "cls")]
            target.__doc__ = "\n".join([f"{before}\n\nArgs:", *rows]) + raises + after
        return target

    return document


def _row(name: str, text: str) -> str:
    first, *rest = wrap(f"{name}: {text}", _WIDTH - 4, break_on_hyphens=False)
    return "\n".join([f"    {first}", *(indent(line, " " * 8) for line in rest)])
