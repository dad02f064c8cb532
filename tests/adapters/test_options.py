"""The options of an LLM: one checked value, and the requests that are built from it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx
import pytest

from rtllm import ConfigError, RetryPolicy, Timeouts
from rtllm.adapters import Options, RequestBuilder, group_keywords, timeout_parts

LIMITS: dict[str, Any] = {"limits": Timeouts(), "retry": RetryPolicy()}


def options(**keywords: Any) -> Options:
    return Options(**{"api": "responses", "model": "gpt-4.1", **keywords})


def builder(**keywords: Any) -> RequestBuilder:
    return RequestBuilder(options(**keywords), lambda _: None)


def test_a_request_has_the_options_and_the_calls_settings_take_precedence() -> None:
    requests = builder(fields={"temperature": 0.2, "user": "me"}, conversation="call-7")
    request = requests.request({"temperature": 0.9, "model": "gpt-4o"}, **LIMITS)
    assert request.settings == {"temperature": 0.9, "user": "me"}
    assert (request.model, request.conversation) == ("gpt-4o", "call-7")


def test_parameters_override_fields_of_the_same_place() -> None:
    fields = {"max_output_tokens": None, "reasoning_effort": None, "temperature": 0.2}
    more = {"max_completion_tokens": 50, "reasoning": {"effort": "low"}, "temperature": None}
    request = builder(model="gpt-5.1", fields=fields, parameters=more).request({}, **LIMITS)
    assert request.settings == {"max_output_tokens": 50, "reasoning": {"effort": "low"}}


def test_a_default_is_dropped_without_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    default = {"temperature": 0.7}
    request = builder(model="gpt-5", fields=default, defaults=default).request({}, **LIMITS)
    assert request.settings == {}
    assert caplog.records == []


def test_the_voice_default_of_effort_is_not_the_users() -> None:
    request = builder(model="gpt-5.1", voice_effort=True).request({}, **LIMITS)
    assert request.settings == {"reasoning": {"effort": "none"}}
    assert request.untouched == {"reasoning.effort"}
    call = {"reasoning_effort": "low"}
    request = builder(model="gpt-5.1", voice_effort=True).request(call, **LIMITS)
    assert request.settings == {"reasoning": {"effort": "low"}}


@pytest.mark.parametrize(
    ("host", "model", "sent"),
    [("openai", "gpt-5.6", True), ("openai", "gpt-5.1", False), ("groq", "gpt-5.6", False)],
)
def test_by_default_breakpoints_go_only_to_openai_and_models_that_accept_them(
    host: str, model: str, sent: bool
) -> None:
    requests = builder(model=model, host=host)
    assert requests.breakpoints("auto") is sent
    assert requests.breakpoints("auto", "gpt-5.6") is (host == "openai")
    assert requests.breakpoints(wanted=False) is False


def test_a_deployment_is_sent_until_the_model_is_changed() -> None:
    azure = options(model="gpt-5.1", deployment="prod", host="azure", voice_effort=True)
    requests = RequestBuilder(azure, {"next": "gpt-5"}.get)
    assert requests.request({}, **LIMITS).model == "prod"
    assert azure.updated({"model": "gpt-5.1"}).deployment == "prod"
    requests.use(azure.updated({"model": "next"}))
    request = requests.request({}, **LIMITS)
    assert request.model == "next"
    assert request.settings == {"reasoning": {"effort": "minimal"}}


@pytest.mark.parametrize(
    "place", [{"fields": {"timeout": 3.0}}, {"parameters": {"extra_query": {}}}]
)
def test_what_only_a_handshake_has_is_refused_for_an_open_websocket(place: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="can't be set per request"):
        builder(request_headers=False, **place)


def test_options_that_can_not_be_sent_change_nothing() -> None:
    requests = builder(fields={"temperature": 0.2})
    with pytest.raises(ConfigError, match="temperature is 7"):
        requests.use(options(fields={"temperature": 7}))
    assert requests.request({}, **LIMITS).settings == {"temperature": 0.2}


def test_what_is_not_a_keyword_can_not_be_changed() -> None:
    for keyword in ("api", "fields", "host", "lanes"):
        with pytest.raises(ConfigError, match=f"{keyword} can't be changed; .* model, .* speech"):
            options().updated({keyword: None})


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("api", "completions"),
        ("model", ""),
        ("max_retries", -1),
        ("speech_floor", -1),
        ("timeout", 0),
        ("timeout", "soon"),
        ("parameters", 3),
        ("strict_parameters", 1),
    ],
)
def test_each_value_is_checked(keyword: str, value: object) -> None:
    with pytest.raises(ConfigError, match=keyword):
        replace(options(), **{keyword: value})  # type: ignore[arg-type]  # wrong on purpose


def test_the_parts_of_a_timeout() -> None:
    assert timeout_parts(None) == (None, None)
    assert timeout_parts(3) == (3.0, 3.0)
    assert timeout_parts(httpx.Timeout(None, read=5.0)) == (5.0, None)


def test_keywords_are_grouped_by_what_they_are_for() -> None:
    groups = group_keywords({"api_key": "k", "lanes": True, "model": "m", "seed": 7})
    assert groups.provider == {"api_key": "k"}
    assert groups.connection == {"lanes": True}
    assert groups.options == {"model": "m"}
    assert groups.fields == {"seed": 7}


def test_nothing_secret_is_shown() -> None:
    shown = repr(options(fields={"extra_headers": {"X-Token": "secret"}}))
    assert shown == "<Options of gpt-4.1>"


def test_an_object_that_is_changed_in_place_is_another_option() -> None:
    body: dict[str, Any] = {"a": {"b": 1}}
    requests = builder(fields={"extra_body": body})
    body["a"]["b"] = 2
    assert requests.request({}, **LIMITS).settings == {"a": {"b": 1}}
    requests.use(options(fields={"extra_body": body}))
    assert requests.request({}, **LIMITS).settings == {"a": {"b": 2}}
