"""Settings of requests that must not be printed.

The framework dumps an LLM's public instance attributes (`Pipeline.get_component_configs`), so these
settings are properties of private objects, whose reprs show nothing.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rtllm_videosdk.clients import Clients


class ExtraSettings:
    """Settings that are sent with requests, in an object without a repr of its contents."""

    def __init__(self, headers: Any, query: Any, body: Any, parameters: Any) -> None:
        self.headers, self.query, self.body = headers, query, body
        self.parameters = parameters

    def __repr__(self) -> str:
        return "ExtraSettings(…)"


class PrivateSettings:
    """The private settings of an LLM: key, headers, query, body, parameters. Never printed."""

    _clients: Clients
    _extra: ExtraSettings

    @property
    def api_key(self) -> str | None:
        """The key, if it is a text; a new value applies to the next connection."""
        key = self._clients.provider.key
        return key if isinstance(key, str) else None

    @api_key.setter
    def api_key(self, key: str) -> None:
        self._clients.set_provider(replace(self._clients.provider, key=key))

    @property
    def extra_headers(self) -> Mapping[str, Any] | None:
        """Additional headers of each request."""
        headers: Mapping[str, Any] | None = self._extra.headers
        return headers

    @extra_headers.setter
    def extra_headers(self, headers: Mapping[str, Any] | None) -> None:
        self._extra.headers = headers

    @property
    def extra_query(self) -> Mapping[str, Any] | None:
        """Additional query parameters of each request."""
        query: Mapping[str, Any] | None = self._extra.query
        return query

    @extra_query.setter
    def extra_query(self, query: Mapping[str, Any] | None) -> None:
        self._extra.query = query

    @property
    def extra_body(self) -> Mapping[str, Any] | None:
        """Additional fields of each request's body."""
        body: Mapping[str, Any] | None = self._extra.body
        return body

    @extra_body.setter
    def extra_body(self, body: Mapping[str, Any] | None) -> None:
        self._extra.body = body

    @property
    def parameters(self) -> Mapping[str, Any] | None:
        """Additional parameters of each request."""
        parameters: Mapping[str, Any] | None = self._extra.parameters
        return parameters

    @parameters.setter
    def parameters(self, parameters: Mapping[str, Any] | None) -> None:
        self._extra.parameters = parameters
