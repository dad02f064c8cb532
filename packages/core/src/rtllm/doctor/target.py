"""Target: the host to check, with the credentials and the model."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

from rtllm.doctor.judgements.steps import CAP, REASONING_CAP
from rtllm.parameters.families import family_of, quickest_effort
from rtllm.providers.config import ProviderConfig
from rtllm.providers.credentials import ApiKey, Credentials, ask_for_key
from rtllm.providers.hosts import Endpoint, HostProfile, profile_named
from rtllm.providers.http_clients import HttpClients, make_client
from rtllm.providers.network import NetworkConfig, network_of
from rtllm.transport.http import close

_SHORTEST_SECRET = 8
"""Characters of a secret at least: a shorter one may be a word of the host's sentence."""


@dataclass(frozen=True, slots=True, repr=False)
class Target:
    """The host to check.

    Attributes:
        endpoint: Its address and profile.
        credentials: The key or token.
        model: The model; on Azure the deployment.
        network: The proxy and the certificates.
        clients: The HTTP clients.
        has_own_key: Whether the HTTP clients have a key of their own.
        config: The configuration that it was created from.
        secrets: What no report may contain; the keys of a key function are added as it returns
            them.
        is_deployment: Whether the model is the user's own name for it, which no report shows.
    """

    endpoint: Endpoint
    credentials: Credentials
    model: str
    network: NetworkConfig
    clients: HttpClients
    has_own_key: bool
    config: ProviderConfig
    secrets: list[str] = field(default_factory=list)
    is_deployment: bool = False

    def __repr__(self) -> str:
        return f"<Target {self.endpoint.profile.name}, {self.model}>"

    async def aclose(self) -> None:
        """Close the HTTP client, unless it is the user's."""
        if self.clients.is_owned:
            await close(self.clients.made(None))

    @property
    def profile(self) -> HostProfile:
        """What is known about the host."""
        return self.endpoint.profile

    @property
    def shown_model(self) -> str:
        """The model, for reports."""
        return "a deployment" if self.is_deployment else self.model

    @property
    def usual_cap(self) -> int:
        """The limit of output tokens of a short response."""
        family = family_of(self.model)
        if family is None:
            return REASONING_CAP
        return CAP if not family.reasons or quickest_effort(self.model) == "none" else REASONING_CAP

    def optional_settings(self) -> dict[str, Any]:
        """Return the settings that a host may refuse, and that only save tokens."""
        effort = quickest_effort(self.model)
        return {} if effort is None else {"reasoning": {"effort": effort}}


def target_of(
    config: ProviderConfig, model: str, profile: HostProfile | str | None = None
) -> Target:
    """Create the target of a provider configuration, as the adapters create their clients.

    Args:
        config: The address and credentials; see `resolve_provider` and `resolve_azure`.
        model: The model; a deployment of the configuration takes precedence.
        profile: The host's properties if its address does not tell them.

    Raises:
        ConfigError: If there is no key, or the profile's name is not known.
    """
    secrets: list[str] = []
    if callable(config.key):
        config = replace(config, key=_noted(config.key, secrets))
    endpoint, credentials = config.socket({}, {})
    known = (config.key, config.organization, config.project, config.deployment)
    for each in (*known, *config.headers.values(), *endpoint.query.values()):
        _note(each, secrets)
    if profile is not None:
        endpoint = replace(endpoint, profile=profile_named(profile))
    network = NetworkConfig(config.proxy)
    if config.client is not None:
        network = network_of(config.client, f"{endpoint.http_base}/responses") or network
        clients = HttpClients(lambda _: config.client, is_owned=False)
    elif config.make_client is not None:
        clients = HttpClients(config.http, is_owned=True)
    else:
        proxy = network.proxy_for(endpoint.http_base)
        clients = HttpClients(lambda _: make_client(endpoint, proxy), is_owned=True)
    return Target(
        endpoint,
        credentials,
        config.deployment or model,
        network,
        clients,
        config.client is not None or config.make_client is not None,
        config,
        secrets,
        config.deployment is not None,
    )


def _noted(provide: Callable[[], str | Awaitable[str]], secrets: list[str]) -> ApiKey:
    """Wrap a key function so that its keys are noted as secrets."""

    async def noted() -> str:
        key = await ask_for_key(provide)
        _note(key, secrets)
        return key

    return noted


def _note(value: object, secrets: list[str]) -> None:
    """Note a secret, unless it is too short or noted already."""
    secret = value.strip() if isinstance(value, str) else ""
    if len(secret) >= _SHORTEST_SECRET and secret not in secrets:
        secrets.append(secret)
