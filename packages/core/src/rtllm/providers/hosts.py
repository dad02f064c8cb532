"""Hosts: the known properties of services, and the URLs derived from a base URL."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit, urlunsplit

from rtllm.errors import ConfigError

OPENAI_BASE_URL = "https://api.openai.com/v1"


Memory = Literal["connection", "stored", "none"]


@dataclass(frozen=True, slots=True)
class HostProfile:
    """The known properties of a host.

    Attributes:
        name: The host's name, for logs, metrics and ``provider``.
        lanes: Whether it supports ``stream_id`` (documented for api.openai.com only).
        memory: Which responses it can continue. "connection": the last one on each connection (with
            lanes: on each lane), and stored ones; "stored": only stored ones; or "none".
        lifetime: Seconds that a connection lasts; it is replaced shortly before.
        max_frame: The largest frame that it accepts, in bytes.
        one_model: Whether a connection serves one model only.
        model_in_query: Whether the WebSocket's URL must name the model, because a gateway routes
            the connection before it reads the first frame.
        keeps_parents: Whether it documents that responses can be continued. On other hosts the
            first continued turn is checked.
        source: Where this is known from.
        sure: How sure it is.
    """

    name: str
    lanes: bool = False
    memory: Memory = "connection"
    lifetime: float = 3600.0
    max_frame: int = 16 * 2**20 - 1
    one_model: bool = False
    model_in_query: bool = True
    keeps_parents: bool = False
    source: str = ""
    sure: Literal["documented", "seen", "assumed"] = "assumed"


# Hosts without a Responses WebSocket, as far as is known. If their memory is only assumed, the
# first continued turn checks it.
_OVER_HTTP: tuple[tuple[str, Memory, str, Literal["documented", "seen", "assumed"]], ...] = (
    ("gemini", "stored", "livekit/agents #4767: Chat, with signatures", "seen"),
    ("vertex", "stored", "as gemini", "assumed"),
    ("deepseek", "none", "docs.rs/openai-interface: its Responses are stateless", "seen"),
    ("mistral", "stored", "zed #31736, mistral-common #169: Chat", "seen"),
    ("groq", "stored", "groq-dart #15: Responses over HTTP", "seen"),
    ("cerebras", "stored", "RooCode #10334: Chat", "seen"),
    ("fireworks", "stored", "docs.fireworks.ai/guides/response-api", "documented"),
    ("together", "stored", "Chat", "assumed"),
    (
        "perplexity",
        "stored",
        "docs.perplexity.ai/docs/agent-api/conversation-state",
        "documented",
    ),
    ("openrouter", "none", "langchain PR 38898: refuses a parent", "seen"),
    ("sambanova", "stored", "Chat", "assumed"),
    ("telnyx", "stored", "Chat", "assumed"),
    ("letta", "stored", "Chat; its agents have a memory of their own", "assumed"),
    ("ollama", "none", "ollama PR 15404: a parent is ignored", "seen"),
    ("lmstudio", "stored", "lmstudio-bug-tracker #1188: continues, and may forget", "seen"),
    ("vllm", "stored", "its Responses server: 404 without a store", "seen"),
    ("sglang", "stored", "Chat and Responses", "assumed"),
    ("llama-cpp", "none", "its server refuses a parent", "seen"),
    ("localai", "stored", "Chat", "assumed"),
)

# Frame limits: 16 MiB measured (seen: opencodex); Vercel's 4 MiB documented, and assumed to be
# the first size that is refused. Lifetimes: OpenAI, Azure and xAI documented, Vercel "about 13
# minutes".
PROFILES: Mapping[str, HostProfile] = {
    profile.name: profile
    for profile in (
        HostProfile(
            "openai",
            lanes=True,
            model_in_query=False,
            keeps_parents=True,
            source="OpenAI's guide to the WebSocket mode",
            sure="documented",
        ),
        HostProfile(
            "azure",
            model_in_query=False,
            keeps_parents=True,
            source="Azure's page on the Responses API",
            sure="documented",
        ),
        HostProfile(
            "azure-foundry",
            memory="none",
            source="refusals of its other vendors' models (litellm #11696)",
            sure="seen",
        ),
        HostProfile(
            "xai",
            lifetime=25 * 60.0,
            model_in_query=False,
            keeps_parents=True,
            source="xAI's Responses pages",
            sure="documented",
        ),
        HostProfile(
            "vercel",
            lifetime=13 * 60.0,
            max_frame=4 * 2**20 - 1,
            one_model=True,
            model_in_query=False,
            keeps_parents=True,
            source="AI Gateway's page on the Responses socket",
            sure="documented",
        ),
        HostProfile(
            "litellm", keeps_parents=True, source="the proxy's page on responses", sure="documented"
        ),
        *(
            HostProfile(name, memory=memory, source=source, sure=sure)
            for name, memory, source, sure in _OVER_HTTP
        ),
    )
}
"""Known hosts by name. LiteLLM has no address of its own, so it must be named."""

_ADDRESSES = (
    ("api.openai.com", "openai"),
    (".openai.azure.com", "azure"),
    (".openai.azure.us", "azure"),
    (".cognitiveservices.azure.com", "azure"),
    (".services.ai.azure.com", "azure-foundry"),
    (".models.ai.azure.com", "azure-foundry"),
    ("generativelanguage.googleapis.com", "gemini"),
    ("-aiplatform.googleapis.com", "vertex"),
    ("aiplatform.googleapis.com", "vertex"),
    ("api.deepseek.com", "deepseek"),
    ("api.mistral.ai", "mistral"),
    ("codestral.mistral.ai", "mistral"),
    ("api.groq.com", "groq"),
    ("api.cerebras.ai", "cerebras"),
    ("api.fireworks.ai", "fireworks"),
    ("api.together.xyz", "together"),
    ("api.together.ai", "together"),
    ("api.x.ai", "xai"),
    (".api.x.ai", "xai"),
    ("api.perplexity.ai", "perplexity"),
    ("openrouter.ai", "openrouter"),
    ("api.sambanova.ai", "sambanova"),
    ("api.telnyx.com", "telnyx"),
    ("api.letta.com", "letta"),
    ("ollama.com", "ollama"),
    ("ai-gateway.vercel.sh", "vercel"),
)


def profile_of(host: str) -> HostProfile:
    """Find the properties of a host by its address; an unknown one has no lanes."""
    name = host.rstrip(".").lower()
    for pattern, known in _ADDRESSES:
        if name == pattern or (pattern.startswith((".", "-")) and name.endswith(pattern)):
            return PROFILES[known]
    return HostProfile(name)


def profile_named(profile: HostProfile | str) -> HostProfile:
    """Return a profile, or the profile of a known host.

    Raises:
        ConfigError: If the name is not that of a known host.
    """
    if isinstance(profile, HostProfile):
        return profile
    if profile not in PROFILES:
        near = get_close_matches(str(profile), PROFILES, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(
            f"host_profile is {profile!r}; expected one of {', '.join(map(repr, PROFILES))} "
            f"or a HostProfile{hint}"
        )
    return PROFILES[profile]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The Responses WebSocket of a host.

    Attributes:
        url: Its URL with the user's query, ``ws://`` or ``wss://``.
        host: The host's name without the port.
        profile: The known properties of the host.
    """

    url: str
    host: str
    profile: HostProfile

    def __repr__(self) -> str:
        address, found, _ = self.url.partition("?")
        return f"<Endpoint {address}{found and '?…'}: {self.profile}>"

    @property
    def http_base(self) -> str:
        """The API's root over HTTP, without the query."""
        parts = urlsplit(self.url)
        scheme = {"ws": "http", "wss": "https"}[parts.scheme]
        path = parts.path.removesuffix("/responses")
        return urlunsplit((scheme, parts.netloc, path, "", ""))

    @property
    def server(self) -> str:
        """The host's address with the port."""
        parts = urlsplit(self.url)
        return f"{self.host}:{parts.port or {'ws': 80, 'wss': 443}[parts.scheme]}"

    @property
    def query(self) -> dict[str, str]:
        """The user's query parameters."""
        return dict(parse_qsl(urlsplit(self.url).query, keep_blank_values=True))

    def for_model(self, model: str) -> str:
        """Return the URL to connect to for a model."""
        if not self.profile.model_in_query:
            return self.url
        parts = urlsplit(self.url)
        query = parse_qsl(parts.query, keep_blank_values=True)
        if not any(key == "model" for key, _ in query):
            query.append(("model", model))
        return urlunsplit(parts._replace(query=urlencode(query)))


def endpoint(
    base_url: str | None, query: Mapping[str, str] | None = None, *, name: str = "base_url"
) -> Endpoint:
    """Derive the WebSocket's URL from an API root or a full endpoint.

    Args:
        base_url: For example ``https://host/v1``; also with ``http``, ``ws`` or ``wss``, and with
            ``/responses`` at the end. None for OpenAI's own.
        query: Additional query parameters, which override those of the URL.
        name: The keyword that the URL was passed as, for errors.

    Raises:
        ConfigError: If the URL has no host, another scheme, a fragment or credentials.
    """
    given = base_url or OPENAI_BASE_URL
    parts = _checked(given, name)
    path = parts.path.rstrip("/")
    path = _without_operation(path) + "/responses"
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    pairs = dict(parse_qsl(parts.query, keep_blank_values=True)) | dict(query or {})
    url = urlunsplit((scheme, parts.netloc, path, urlencode(pairs), ""))
    host = parts.hostname or ""
    return Endpoint(url, host, profile_of(host))


OPERATIONS = ("/chat/completions", "/responses", "/completions")


def _without_operation(path: str) -> str:
    """Remove the operation from a path; users paste the full URL of an operation."""
    found = next((end for end in OPERATIONS if path.endswith(end)), "")
    return path.removesuffix(found)


def api_root(base_url: str) -> tuple[str, dict[str, str]]:
    """Split a base URL as users write it into the API's root over HTTP and its query."""
    parts = urlsplit(base_url.strip())
    scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
    path = _without_operation(parts.path.rstrip("/"))
    root = urlunsplit((scheme, parts.netloc, path, "", ""))
    return root, dict(parse_qsl(parts.query, keep_blank_values=True))


def _checked(base_url: str, name: str) -> SplitResult:
    wanted = "expected for example 'https://api.openai.com/v1'"
    if not isinstance(base_url, str):
        raise ConfigError(f"{name} is of type {type(base_url).__name__}; {wanted}")
    address = base_url.strip()
    if "@" in address.partition("?")[0]:  # first, so that no later message repeats them
        raise ConfigError(f"{name} contains credentials; remove them and pass the key as api_key")
    # A query or fragment may hold a key, so that no message repeats it.
    shown = re.split(r"[?#]", address, maxsplit=1)[0]
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError as error:
        raise ConfigError(f"{name} {shown!r} is not a valid URL ({error}); {wanted}") from None
    if "://" not in address:
        raise ConfigError(f"{name} {shown!r} has no scheme; {wanted}")
    if parts.scheme not in ("http", "https", "ws", "wss"):
        raise ConfigError(
            f"{name} {shown!r} has the scheme {parts.scheme!r}, "
            f"not http, https, ws or wss; {wanted}"
        )
    if not parts.hostname:
        raise ConfigError(f"{name} {shown!r} names no host; {wanted}")
    if parts.fragment:
        raise ConfigError(f"{name} {shown!r} has a fragment ('#…'); {wanted}")
    return parts
