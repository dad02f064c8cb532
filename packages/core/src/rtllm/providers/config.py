"""Provider configuration: base URL, credentials, and the HTTP clients built from them.

Objects that hold a key have a repr without it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from rtllm.errors import ConfigError
from rtllm.providers import environment
from rtllm.providers.credentials import (
    ApiKey,
    Credentials,
    KeyHeaders,
    ask_for_key,
    checked_key,
)
from rtllm.providers.hosts import (
    OPENAI_BASE_URL,
    PROFILES,
    Endpoint,
    HostProfile,
    api_root,
    endpoint,
)
from rtllm.providers.http_clients import patient_http
from rtllm.providers.network import PROXY_OF_CLIENT, NetworkConfig, checked_proxy
from rtllm.providers.openai_client import (
    has_token,
    is_azure,
    key_of,
    query_of,
    root_of,
    texts,
)
from rtllm.providers.origins import same_origin

AZURE = PROFILES["azure"]
NO_KEY = (
    "OpenAI API key must be provided either through api_key parameter "
    "or OPENAI_API_KEY environment variable"
)


@dataclass(frozen=True, slots=True, repr=False)
class ProviderConfig:
    """The address and the credentials of a service, as configured.

    Attributes:
        key: The key or token, or a function that returns one.
        base_url: The API's root; None for OpenAI's own.
        socket_url: The Responses WebSocket, if the user set it.
        organization: The OpenAI organization.
        project: The OpenAI project.
        headers: Additional headers, from a client that the user passed.
        query: Additional query parameters, likewise.
        client: The openai client that the user passed.
        make_client: Creates the HTTP client, if it is not an ordinary one.
        deployment: Azure's name for the model, which is sent in the body.
        azure: Whether the host is known to be Azure, whatever its address.
        defaults: Settings that the user did not choose.
        proxy: The URL of a proxy; None for the client's or the environment's.
        key_headers: The headers for a key of Azure's, as far as is known.
    """

    key: ApiKey | None
    base_url: str | None = None
    socket_url: str | None = None
    organization: str | None = None
    project: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    client: Any = None
    make_client: Callable[["ProviderConfig"], Any] | None = None
    deployment: str | None = None
    azure: bool = False
    defaults: Mapping[str, Any] = field(default_factory=dict)
    proxy: str | None = None
    key_headers: KeyHeaders | None = None

    def __repr__(self) -> str:
        return "ProviderConfig(…)"

    @property
    def host(self) -> str:
        """The host's name, if known."""
        if self.azure:
            return AZURE.name
        return endpoint(self.base_url).profile.name

    @property
    def profile(self) -> HostProfile:
        """The known properties of the host."""
        return AZURE if self.azure else endpoint(self.base_url).profile

    def socket(
        self, headers: Mapping[str, str], query: Mapping[str, str]
    ) -> tuple[Endpoint, Credentials]:
        """Return the Responses WebSocket's address, and the credentials of its handshake.

        Raises:
            ConfigError: If there is no key.
        """
        if not self.key:
            raise ConfigError(
                "the WebSocket needs an API key: pass api_key=…, set OPENAI_API_KEY, or pass a "
                "client that has one"
            )
        credentials = Credentials(
            self.key,
            organization=self.organization,
            project=self.project,
            headers={**self.headers, **headers},
            key_headers=self.key_headers,
        )
        name = "wss_url" if self.socket_url else "base_url"
        url = self.socket_url or self.base_url
        where = endpoint(url, {**self.query, **query}, name=name)
        if self.azure and where.profile.name != AZURE.name:
            where = replace(where, profile=AZURE)
        return where, credentials

    def http(self, proxy: str | None = None) -> Any:
        """Create an HTTP client for Chat Completions, without retries of its own.

        Args:
            proxy: The proxy of the requests' network settings, if this configuration has none.
        """
        url = self.base_url or OPENAI_BASE_URL
        proxy = NetworkConfig(self.proxy).proxy_for(url, proxy)
        if self.make_client is not None:
            return self.make_client(replace(self, proxy=proxy))
        import openai  # noqa: PLC0415 - slow to import, and needed over HTTP only

        root, query = api_root(self.base_url) if self.base_url else (None, {})
        return openai.AsyncOpenAI(
            api_key=as_provider(self.key),
            base_url=root,
            default_query=query or None,
            organization=self.organization,
            project=self.project,
            max_retries=0,
            http_client=patient_http(url, proxy),
        )

    def check(self) -> None:
        """Check the addresses.

        Raises:
            ConfigError: If one is not valid.
        """
        for name, url in (("base_url", self.base_url), ("wss_url", self.socket_url)):
            endpoint(url, name=name)

    def check_http(self) -> None:
        """Check that a proxy can be used for HTTP requests.

        Raises:
            ConfigError: If a client of the user's sends them.
        """
        if self.proxy and self.client is not None:
            raise ConfigError(PROXY_OF_CLIENT)


def as_provider(key: ApiKey | None) -> Any:
    """Wrap a key as the openai client takes it, which accepts only async key functions."""
    if not callable(key):
        return checked_key(key) if key else key

    async def provide() -> str:
        return checked_key(await ask_for_key(key))

    return provide


def resolve_provider(
    *,
    api_key: ApiKey | None = None,
    base_url: str | None = None,
    wss_url: str | None = None,
    organization: str | None = None,
    project: str | None = None,
    client: Any = None,
    proxy: str | None = None,
) -> ProviderConfig:
    """Resolve the address and credentials: from arguments, then the client, then the environment.

    Args:
        api_key: The key, or a function that returns one. Default: ``OPENAI_API_KEY``.
        base_url: The API's root or a full endpoint. Default: ``OPENAI_BASE_URL``.
        wss_url: The Responses WebSocket, if it isn't under the root.
        organization: The OpenAI organization. Default: ``OPENAI_ORG_ID``.
        project: The OpenAI project. Default: ``OPENAI_PROJECT_ID``.
        client: An openai client whose address and credentials are used; or a `ProviderConfig`,
            which is returned, with `proxy` if it is given.
        proxy: The URL of an HTTP proxy, for the WebSocket and HTTP. Default: the client's, else
            ``HTTPS_PROXY``.

    Raises:
        ConfigError: If there is no key, the client's key would be sent to another host, or the
            proxy's URL is not valid.
    """
    env = environment.variable
    proxy = checked_proxy(proxy)
    if isinstance(client, ProviderConfig):  # already resolved, by `azure`
        return replace(client, proxy=proxy) if proxy else client
    if client is not None:
        return replace(_config_from_client(client, api_key, base_url, wss_url), proxy=proxy)
    key = api_key or env(environment.API_KEY)
    if not key:
        raise ConfigError(NO_KEY)
    if not callable(key):
        checked_key(key)
    return ProviderConfig(
        key,
        base_url=base_url or env(environment.BASE_URL),
        socket_url=wss_url,
        organization=organization or env(environment.ORGANIZATION),
        project=project or env(environment.PROJECT),
        proxy=proxy,
    )


def _config_from_client(
    client: Any, api_key: ApiKey | None, base_url: str | None, wss_url: str | None
) -> ProviderConfig:
    """Return the configuration of an openai client, for its own host only."""
    root = root_of(client)
    for name, address in (("base_url", base_url), ("wss_url", wss_url)):
        if address and not api_key and root and not same_origin(address, root):
            raise ConfigError(
                f"{name} names another host than client, whose key must not be sent there; pass "
                "the api_key of that host"
            )
    key = api_key or key_of(client)
    if root is None and not wss_url and not api_key:
        key = None  # the client names no host, so its key is for an unknown one
    addresses = [address for address in (base_url, wss_url) if address]
    if root and not all(same_origin(address, root) for address in addresses):
        # The client's headers and organization are for its own host only.
        return ProviderConfig(key, base_url=base_url or root, socket_url=wss_url)
    return ProviderConfig(
        key,
        base_url=base_url or root,
        socket_url=wss_url,
        organization=getattr(client, "organization", None),
        project=getattr(client, "project", None),
        headers=texts(getattr(client, "_custom_headers", None)),
        query=query_of(client),
        client=_with_settings(client, api_key, base_url),
        deployment=getattr(client, "_azure_deployment", None),
        azure=is_azure(client),
        key_headers=KeyHeaders() if is_azure(client) and not has_token(client) else None,
    )


def _with_settings(client: Any, api_key: ApiKey | None, base_url: str | None) -> Any:
    """Return a client for HTTP requests with an explicit key and URL, as the WebSocket uses them.

    It is a copy that shares the HTTP client. Azure's clients also have the key in headers of their
    own, and objects that are not of the SDK have no copies; they stay as they are.

    Raises:
        ConfigError: If the client can't be copied.
    """
    changes: dict[str, Any] = {}
    if api_key:
        changes["api_key"] = as_provider(api_key)
    if base_url:
        changes["base_url"], query = api_root(base_url)
        changes["default_query"] = query_of(client) | query
    if not changes or is_azure(client) or not hasattr(client, "with_options"):
        return client
    try:
        return client.with_options(**changes)
    except TypeError as error:  # a subclass whose constructor takes other arguments
        raise ConfigError(
            f"a {type(client).__name__} can't be copied with another api_key or base_url "
            f"({error}); set them on the client itself"
        ) from error
