"""Checks of settings in the constructors that get them."""

import inspect
from collections.abc import Callable, Collection
from typing import Any

from rtllm.content.prices import Prices
from rtllm.errors import ConfigError
from rtllm.parameters.families import checked_family
from rtllm.providers.hosts import profile_named


def check_settings(**settings: Any) -> None:
    """Check settings that are given, by their keywords; None is checked like any other value.

    Known keywords are those of the clients, of the adapters' constructors, `api` and
    `model_family`.

    Raises:
        ConfigError: If one is not valid. It tells what was given and what is accepted.
    """
    for name, value in settings.items():
        _CHECKS[name](name, value)


def _switch(name: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise ConfigError(f"{name} is {value!r}; expected True or False")


def _switch_or_none(name: str, value: Any) -> None:
    if value is not None and not isinstance(value, bool):
        raise ConfigError(f"{name} is {value!r}; expected True, False or None")


def _switch_or_auto(name: str, value: Any) -> None:
    if not isinstance(value, bool) and value != "auto":
        raise ConfigError(f"{name} is {value!r}; expected True, False or 'auto'")


def _text(name: str, value: Any) -> None:
    if value is not None and not isinstance(value, str):
        raise ConfigError(f"{name} is {value!r}; expected a text or None")


def _model(name: str, value: Any) -> None:
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"{name} is {value!r}; expected the name of a model")


def _fallback(name: str, value: Any) -> None:
    if value not in ("http", None):
        raise ConfigError(f"{name} is {value!r}; expected 'http' or None")


def _count(least: int, unit: str = "") -> Callable[[str, Any], None]:
    def check(name: str, value: Any) -> None:
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ConfigError(f"{name} is {value!r}; expected {least} or more{unit}")

    return check


def _callback(name: str, value: Any) -> None:
    if value is not None:
        _check_function(name, value, "report")


def _check_function(name: str, value: Any, what: str) -> None:
    called = getattr(value, "__call__", None)  # noqa: B004 - an object with an async call
    if inspect.iscoroutinefunction(value) or inspect.iscoroutinefunction(called):
        raise ConfigError(f"{name} is async; expected a plain function, which is not awaited")
    if not callable(value):
        raise ConfigError(f"{name} is {type(value).__name__}; expected a function of one {what}")


def _listeners(name: str, value: Any) -> None:
    if value is None:
        return
    several = isinstance(value, Collection) and not callable(value) and not isinstance(value, str)
    for listener in value if several else (value,):
        _check_function(name, listener, "event, or several such functions")


def _name(name: str, value: Any) -> None:
    if value is not None and (not isinstance(value, str) or not value):
        raise ConfigError(f"{name} is {value!r}; expected a text that is not empty, or None")


def _api(name: str, value: Any) -> None:
    if value not in ("responses", "chat"):
        raise ConfigError(f"{name} is {value!r}; expected 'responses' or 'chat'")


def _refusal(name: str, value: Any) -> None:
    if value not in ("speak", "error"):
        raise ConfigError(f"{name} is {value!r}; expected 'speak' or 'error'")


def _profile(_: str, value: Any) -> None:
    if value is not None:
        profile_named(value)


def _cache_report(name: str, value: Any) -> None:
    if not isinstance(value, bool) and value != "texts":
        raise ConfigError(f"{name} is {value!r}; expected True, False or 'texts'")


def _prices(name: str, value: Any) -> None:
    if value is not None and not isinstance(value, Prices):
        raise ConfigError(f"{name} is {type(value).__name__}; expected Prices or None")


def _family(_: str, value: Any) -> None:
    checked_family(value)


_CHECKS: dict[str, Callable[[str, Any], None]] = {
    "answer_invalid_calls": _switch,
    "api": _api,
    "cache_report": _cache_report,
    "chaining": _switch_or_auto,
    "conversation": _name,
    "failure_text": _text,
    "fallback": _fallback,
    "host_profile": _profile,
    "label": _name,
    "lanes": _switch_or_auto,
    "max_connections": _count(1),
    "max_retries": _count(0),
    "model": _model,
    "model_family": _family,
    "on_refusal": _refusal,
    "on_trace": _listeners,
    "on_turn": _callback,
    "prices": _prices,
    "rebuild": _switch,
    "store": _switch_or_none,
    "streaming": _switch,
    "strict_parameters": _switch,
    "use_websocket": _switch,
    "warm_connections": _count(0, " connections"),
    "websocket": _switch,
}
