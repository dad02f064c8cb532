"""Azure OpenAI: where it is, and what opens it."""

import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from rtllm.errors import ConfigError
from rtllm.providers.config import ProviderConfig, as_provider, resolve_provider
from rtllm.providers.credentials import ApiKey
from rtllm.providers.http_clients import patient_http
from rtllm.providers.openai_client import v1_root

TokenProvider = Callable[[], str | Awaitable[str]]

CONNECT = 15.0
"""Seconds that a connection for HTTP may take; the turn has a limit of its own."""


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
    """Find out where an Azure resource is and what opens it.

    An argument beats the environment, also where they differ in kind: a token beats a key in
    the environment. Without an argument, the environment's token comes before its key.

    Args:
        model: What the deployment runs; the deployment's name where none is given.
        azure_endpoint: The resource's address. Default: ``AZURE_OPENAI_ENDPOINT``.
        azure_deployment: The deployment. Default: ``AZURE_OPENAI_DEPLOYMENT``.
        api_version: Selects the dated API over HTTP. Default: ``OPENAI_API_VERSION``; without
            one it is the v1 API. The socket is always v1.
        api_key: The key. Default: ``AZURE_OPENAI_API_KEY``.
        azure_ad_token: An Entra token. Default: ``AZURE_OPENAI_AD_TOKEN``.
        azure_ad_token_provider: A function, plain or async, that is asked for a token with each
            request and each handshake.
        organization: Default: ``OPENAI_ORG_ID``.
        project: Default: ``OPENAI_PROJECT_ID``.
        base_url: The API's root instead of the resource's address.
        wss_url: The Responses socket, if it isn't under the resource's address.
        client: An ``AsyncAzureOpenAI`` of the user's; then the address and credentials are its.
        defaults: Settings that count as set by nobody.

    Raises:
        ConfigError: If there is no address, no credential, or too much of either.
    """
    env = os.environ.get
    if client is not None:
        lent = resolve_provider(wss_url=wss_url, client=client)
        return replace(lent, defaults=defaults or {})
    key, is_token = _credential(api_key, azure_ad_token, azure_ad_token_provider)
    if base_url and azure_endpoint:
        raise ConfigError("azure_endpoint and base_url are two addresses; pass one of them")
    address = base_url or azure_endpoint or env("AZURE_OPENAI_ENDPOINT")
    if not address:
        raise ConfigError(
            "Azure endpoint must be provided either through azure_endpoint parameter "
            "or AZURE_OPENAI_ENDPOINT environment variable"
        )
    deployment = azure_deployment or env("AZURE_OPENAI_DEPLOYMENT")
    in_v1 = address.rstrip("/").endswith("/v1")
    version = api_version or (None if in_v1 else env("OPENAI_API_VERSION"))
    dated = version is not None and not in_v1

    def make_client(reach: ProviderConfig) -> Any:
        return _client(
            reach,
            address,
            deployment or model,
            version,
            dated=dated,
            is_token=is_token,
            is_root=bool(base_url),
        )

    return ProviderConfig(
        key,
        base_url=v1_root(address),
        socket_url=wss_url,
        organization=organization or env("OPENAI_ORG_ID"),
        project=project or env("OPENAI_PROJECT_ID"),
        make_client=make_client,
        deployment=deployment,
        azure=True,
        defaults=defaults or {},
    )


def _credential(
    api_key: str | None, token: str | None, provider: TokenProvider | None
) -> tuple[ApiKey, bool]:
    """The credential, and whether it is a token."""
    given = [
        name
        for name, value in (
            ("api_key", api_key),
            ("azure_ad_token", token),
            ("azure_ad_token_provider", provider),
        )
        if value
    ]
    if len(given) > 1:
        raise ConfigError(f"{' and '.join(given)} are two credentials; pass one of them")
    if provider is not None:
        return provider, True
    if token or api_key:
        return token or api_key or "", bool(token)
    if token := os.environ.get("AZURE_OPENAI_AD_TOKEN"):
        return token, True
    if key := os.environ.get("AZURE_OPENAI_API_KEY"):
        return key, False
    raise ConfigError(
        "Either API key or Azure AD token must be provided: pass api_key, azure_ad_token or "
        "azure_ad_token_provider, or set AZURE_OPENAI_API_KEY or AZURE_OPENAI_AD_TOKEN"
    )


def _client(
    reach: ProviderConfig,
    address: str,
    deployment: str,
    version: str | None,
    *,
    dated: bool,
    is_token: bool,
    is_root: bool,
) -> Any:
    """An openai client for HTTP: the dated API where a version is known, else v1."""
    import openai  # noqa: PLC0415 - slow to import, and needed over HTTP only

    common: dict[str, Any] = {
        "organization": reach.organization,
        "project": reach.project,
        "max_retries": 0,
        "timeout": openai.Timeout(120.0, connect=CONNECT),
        "http_client": patient_http(),
    }
    if not dated:
        query = {"api-version": version} if version else None
        return openai.AsyncOpenAI(
            api_key=as_provider(reach.key), base_url=reach.base_url, default_query=query, **common
        )
    common["api_version"] = version
    if is_root:
        common["base_url"] = address
    else:
        common |= {"azure_endpoint": address, "azure_deployment": deployment}
    kind = "api_key"
    if is_token:
        kind = "azure_ad_token_provider" if callable(reach.key) else "azure_ad_token"
    common[kind] = reach.key if callable(reach.key) else (reach.key or "").strip()
    return openai.AsyncAzureOpenAI(**common)
