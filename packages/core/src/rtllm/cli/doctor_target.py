"""The host that ``rtllm doctor`` checks: its options, as the constructors' keywords."""

import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from rtllm.doctor import Target, target_of
from rtllm.errors import ConfigError
from rtllm.providers import environment
from rtllm.providers.azure import resolve_azure
from rtllm.providers.config import ProviderConfig, resolve_provider

DEFAULT_MODEL = "gpt-5.6-luna"


@dataclass(frozen=True, slots=True)
class TargetOptions:
    """The options that say where the host is, and how to get there.

    Attributes:
        model: The model.
        base_url: The API's root.
        wss_url: The Responses WebSocket.
        api_key_env: The environment variable with the key.
        organization: The OpenAI organization.
        project: The OpenAI project.
        proxy: The URL of a proxy.
        client: An openai client, as ``module:name``.
        token_provider: A function that returns a key or a token, as ``module:name``.
        azure: Whether the host is Azure OpenAI.
        azure_endpoint: The resource.
        azure_deployment: The deployment.
        api_version: Azure's API version.
        host_profile: The name of a known host.
    """

    model: str | None = None
    base_url: str | None = None
    wss_url: str | None = None
    api_key_env: str | None = None
    organization: str | None = None
    project: str | None = None
    proxy: str | None = None
    client: str | None = None
    token_provider: str | None = None
    azure: bool = False
    azure_endpoint: str | None = None
    azure_deployment: str | None = None
    api_version: str | None = None
    host_profile: str | None = None

    @property
    def has_key(self) -> bool:
        """Whether there is a key, or an object that has one."""
        if self.client is not None or self.token_provider is not None:
            return True
        if self.api_key_env is not None:
            names: tuple[str, ...] = (self.api_key_env,)
        elif self.azure:
            names = (environment.AZURE_AD_TOKEN, environment.AZURE_API_KEY)
        else:
            names = (environment.API_KEY,)
        return any(environment.variable(name) for name in names)

    @property
    def names_host(self) -> bool:
        """Whether a host is named, or how to get to it."""
        named = (self.base_url, self.wss_url, self.api_key_env, self.azure_endpoint)
        return self.azure or any(each is not None for each in named)

    @property
    def key_variables(self) -> str:
        """The environment variables that a key is read from, for messages."""
        if self.api_key_env is not None:
            return self.api_key_env
        if self.azure:
            return f"{environment.AZURE_API_KEY} or {environment.AZURE_AD_TOKEN}"
        return environment.API_KEY

    def target(self) -> Target:
        """Create the target.

        Raises:
            ConfigError: If the address, the key or the model is missing or not valid.
        """
        config = self._config(self.model or DEFAULT_MODEL)
        target = target_of(config, self.model or DEFAULT_MODEL, self.host_profile)
        is_named = self.model is not None or config.deployment is not None
        if not is_named and (self.azure or target.endpoint.host != "api.openai.com"):
            wanted = "--azure-deployment" if self.azure else "--model"
            raise ConfigError(f"pass {wanted}: only at OpenAI there is a default model")
        return target

    def _config(self, model: str) -> ProviderConfig:
        name = self.api_key_env
        key = environment.variable(name) if name is not None else None
        client = loaded(self.client, "--client")
        provider = loaded(self.token_provider, "--token-provider")
        if self.azure:
            config = resolve_azure(
                model=model,
                azure_endpoint=self.azure_endpoint,
                azure_deployment=self.azure_deployment,
                api_version=self.api_version,
                api_key=key,
                azure_ad_token=None,
                azure_ad_token_provider=provider,
                organization=self.organization,
                project=self.project,
                base_url=self.base_url,
                wss_url=self.wss_url,
                client=client,
            )
            return resolve_provider(client=config, proxy=self.proxy)
        return resolve_provider(
            api_key=provider or key,
            base_url=self.base_url,
            wss_url=self.wss_url,
            organization=self.organization,
            project=self.project,
            client=client,
            proxy=self.proxy,
        )


def loaded(place: str | None, option: str) -> Any:
    """Import the object that an option names as ``module:name``; None if it names none.

    Raises:
        ConfigError: If there is no such object.
    """
    if place is None:
        return None
    module, _, name = place.partition(":")
    if not module or not name:
        raise ConfigError(f"{option} is {place!r}; expected module:name")
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)  # as `python -m` does
    try:
        found: Any = import_module(module)
        for each in name.split("."):
            found = getattr(found, each)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{option} is {place!r}, which can't be imported: {error}") from None
    return found
