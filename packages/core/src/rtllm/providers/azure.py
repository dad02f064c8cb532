"""Azure OpenAI: its addresses, its credentials, and its HTTP client."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from rtllm.errors import ConfigError
from rtllm.providers import environment
from rtllm.providers.config import ProviderConfig, as_provider, resolve_provider
from rtllm.providers.credentials import ApiKey, KeyHeaders, checked_key
from rtllm.providers.http_clients import key_auth, patient_http

TokenProvider = Callable[[], str | Awaitable[str]]
"""A function, plain or async, that returns an Entra token."""

CONNECT = 15.0
"""Seconds for an HTTP connection; the turn has a limit of its own."""


def resolve_azure(
    *,
    model: str,
    azure_endpoint: str | None,
    azure_deployment: str | None,
    api_version: str | None,
    api_key: str | None,
    azure_ad_token: str | None,
    azure_ad_token_provider: TokenProvider | None,
    organization: str | None = None,
    project: str | None = None,
    base_url: str | None = None,
    wss_url: str | None = None,
    client: Any = None,
    defaults: Mapping[str, Any] | None = None,
) -> ProviderConfig:
    """Resolve the address and the credentials of an Azure resource.

    An argument takes precedence over the environment, even if they differ in kind: a token argument
    is used instead of a key in the environment. Without an argument, the environment's token takes
    precedence over its key.

    Args:
        model: The model that the deployment runs; also the deployment's name if none is given.
        azure_endpoint: The resource's address. Default: ``AZURE_OPENAI_ENDPOINT``.
        azure_deployment: The deployment. Default: ``AZURE_OPENAI_DEPLOYMENT``.
        api_version: Selects the dated API over HTTP. Default: ``OPENAI_API_VERSION``; without one
            the v1 API is used. The WebSocket always uses v1.
        api_key: The key. Default: ``AZURE_OPENAI_API_KEY``.
        azure_ad_token: An Entra token. Default: ``AZURE_OPENAI_AD_TOKEN``.
        azure_ad_token_provider: A function, plain or async, that returns a token for each request
            and each handshake.
        organization: Default: ``OPENAI_ORG_ID``.
        project: Default: ``OPENAI_PROJECT_ID``.
        base_url: The API's root instead of the resource's address.
        wss_url: The Responses WebSocket, if it isn't under the resource's address.
        client: An ``AsyncAzureOpenAI`` of the user's; its address and credentials are used.
        defaults: Settings that the user did not choose.

    Raises:
        ConfigError: If the address or the credential is missing or given twice.
    """
    env = environment.variable
    if client is not None:
        provider = resolve_provider(wss_url=wss_url, client=client)
        return replace(provider, defaults=defaults or {})
    key, is_token = _credential(api_key, azure_ad_token, azure_ad_token_provider)
    if not callable(key):
        checked_key(key)
    if base_url and azure_endpoint:
        raise ConfigError("both azure_endpoint and base_url are set; pass only one of them")
    name = "base_url" if base_url else "azure_endpoint"
    address = base_url or azure_endpoint
    if not address:
        name, address = environment.AZURE_ENDPOINT, env(environment.AZURE_ENDPOINT)
    if not address:
        raise ConfigError(
            "Azure endpoint must be provided either through azure_endpoint parameter "
            "or AZURE_OPENAI_ENDPOINT environment variable"
        )
    where = azure_address(address, name)
    deployment = azure_deployment or env(environment.AZURE_DEPLOYMENT) or where.deployment
    version = api_version or where.version
    if version is None and not where.is_v1:
        version = env(environment.AZURE_API_VERSION)
    is_dated = version is not None and version not in V1_VERSIONS and not where.is_v1
    if where.is_v1 and version not in V1_VERSIONS:
        version = None  # documented: the v1 API has no dated versions

    def make_client(config: ProviderConfig) -> Any:
        return _client(
            config, where, deployment or model, version, dated=is_dated, is_token=is_token
        )

    return ProviderConfig(
        key,
        base_url=f"{where.root}/openai/v1",
        socket_url=wss_url,
        organization=organization or env(environment.ORGANIZATION),
        project=project or env(environment.PROJECT),
        make_client=make_client,
        deployment=deployment,
        azure=True,
        defaults=defaults or {},
        key_headers=None if is_token else KeyHeaders(),
    )


FOUNDRY = ".services.ai.azure.com"
"""The end of the hosts of Foundry's resources."""
_INFERENCE = re.compile(r"(.*)/models(?:/chat/completions)?/?")
"""The path of Foundry's model inference API, as its portal shows it."""
V1_VERSIONS = ("preview", "latest", "v1")
"""Versions of the v1 API, which has no deployments in its URLs (documented)."""


@dataclass(frozen=True, slots=True)
class AzureAddress:
    """The parts of the address of an Azure resource, or of a gateway in front of one.

    Attributes:
        root: The part before ``/openai``.
        is_v1: Whether it is an address of the v1 API.
        deployment: The deployment in it.
        version: The version in it.
        base: The API's root as given, if it has no ``/openai``.
    """

    root: str
    is_v1: bool = False
    deployment: str | None = None
    version: str | None = None
    base: str | None = None


def azure_address(address: str, name: str = "azure_endpoint") -> AzureAddress:
    """Parse an address in the form in which a portal, a page or a gateway shows it.

    Args:
        address: The resource alone, or with ``/openai``, ``/openai/v1``, a deployment, an operation
            and a version.
        name: The keyword that it was passed as, or its variable.

    Raises:
        ConfigError: If it has no scheme or no host.
    """
    parts = urlsplit(address.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        shown = address.strip().partition("?")[0]
        raise ConfigError(
            f"{name} {shown!r} is not a valid URL; expected for example "
            "'https://my-resource.openai.azure.com'"
        )
    if parts.hostname.endswith(FOUNDRY) and (inference := _INFERENCE.fullmatch(parts.path)):
        # Documented: the resource serves the same models by the v1 API, without this version.
        root = urlunsplit((parts.scheme, parts.netloc, inference[1], "", ""))
        return AzureAddress(root, is_v1=True)
    path, found, rest = (parts.path.rstrip("/") + "/").partition("/openai/")
    root = urlunsplit((parts.scheme, parts.netloc, path.rstrip("/"), "", ""))
    version = dict(parse_qsl(parts.query)).get("api-version")
    steps = [step for step in rest.split("/") if step]
    is_v1 = steps[:1] == ["v1"]
    deployment = steps[1] if steps[:1] == ["deployments"] and len(steps) > 1 else None
    base = root if not found and name == "base_url" else None
    return AzureAddress(root, is_v1, deployment, version, base)


def _credential(
    api_key: str | None, token: str | None, provider: TokenProvider | None
) -> tuple[ApiKey, bool]:
    """Return the credential, and whether it is a token."""
    passed = [
        name
        for name, value in (
            ("api_key", api_key),
            ("azure_ad_token", token),
            ("azure_ad_token_provider", provider),
        )
        if value
    ]
    if len(passed) > 1:
        raise ConfigError(f"{' and '.join(passed)} are set; pass only one of them")
    if provider is not None:
        return provider, True
    if token or api_key:
        return token or api_key or "", bool(token)
    env = environment.variable
    if token := env(environment.AZURE_AD_TOKEN):
        return token, True
    if key := env(environment.AZURE_API_KEY):
        return key, False
    raise ConfigError(
        "Either API key or Azure AD token must be provided: pass api_key, azure_ad_token or "
        "azure_ad_token_provider, or set AZURE_OPENAI_API_KEY or AZURE_OPENAI_AD_TOKEN"
    )


def _client(
    config: ProviderConfig,
    where: AzureAddress,
    deployment: str,
    version: str | None,
    *,
    dated: bool,
    is_token: bool,
) -> Any:
    """Create an openai client for HTTP: for the dated API if a version is known, else for v1."""
    import openai  # noqa: PLC0415 - slow to import, and needed over HTTP only

    common: dict[str, Any] = {
        "organization": config.organization,
        "project": config.project,
        "max_retries": 0,
        "timeout": openai.Timeout(120.0, connect=CONNECT),
        "http_client": patient_http(where.root, config.proxy),
    }
    if config.key_headers is not None and isinstance(config.key, str):
        http = common["http_client"]
        http.auth = key_auth(http, checked_key(config.key), config.key_headers)
    if not dated:
        if version:
            common["default_query"] = {"api-version": version}
        return openai.AsyncOpenAI(
            api_key=as_provider(config.key), base_url=config.base_url, **common
        )
    common["api_version"] = version
    if where.base is not None:
        common["base_url"] = where.base
    else:
        common |= {"azure_endpoint": where.root, "azure_deployment": deployment}
    kind = "api_key"
    if is_token:
        kind = "azure_ad_token_provider" if callable(config.key) else "azure_ad_token"
    common[kind] = as_provider(config.key)  # a plain function may block, so it runs in a thread
    return openai.AsyncAzureOpenAI(**common)
