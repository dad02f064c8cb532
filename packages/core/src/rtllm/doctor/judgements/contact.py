"""Judgements about the first contact: the key and the model."""

from collections.abc import Sequence
from difflib import get_close_matches

from rtllm.doctor.judgements.findings import Finding, differs, fails, holds
from rtllm.doctor.judgements.replies import HostReply
from rtllm.errors import ConnectFailed, ConnectionLost, RateLimited, TurnTimeout
from rtllm.retry.faults import Fault
from rtllm.retry.policy import TABLE, exceeds_quota, rejects_account

_ASKED = "a short request"


def judge_contact(fault: Fault | None, model: str, known: Sequence[str] = ()) -> list[Finding]:
    """Judge the outcome of the first request.

    Args:
        fault: Why it failed; None if it succeeded.
        model: The model.
        known: The models that the host lists.
    """
    if fault is None:
        return [
            holds("key", _ASKED, "accepted", "the key is valid, and has credit"),
            holds("model", _ASKED, "answered", "the model can be used"),
        ]
    shown = HostReply(fault=fault).summary
    if rejects_account(fault):
        return [_judge_key(fault, shown)]
    error = TABLE[fault.kind].error
    if error in (ConnectFailed, ConnectionLost, TurnTimeout):
        meaning = "the host is reachable, but answers no request; is it the address of an API?"
        return [fails("model", _ASKED, shown, meaning, "base_url=")]
    accepted = holds("key", _ASKED, "not rejected", "the request got as far as the model")
    if error is RateLimited:
        meaning = "too many requests, or the host is overloaded; try again later"
        return [accepted, fails("model", _ASKED, shown, meaning)]
    return [accepted, _judge_model(fault, shown, model, known)]


def _judge_key(fault: Fault, shown: str) -> Finding:
    if exceeds_quota(fault):
        meaning = "the account has no credit left, or its limit is reached"
        return fails("key", _ASKED, shown, meaning)
    if fault.status != 401:
        meaning = "the key may not use this address or this model"
        return fails("key", _ASKED, shown, meaning, "api_key=")
    meaning = "the key is wrong, revoked, or of another host"
    return fails("key", _ASKED, shown, meaning, "api_key=")


def _judge_model(fault: Fault, shown: str, model: str, known: Sequence[str]) -> Finding:
    if known and model not in known:
        near = get_close_matches(model, known, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        meaning = f"the host does not list it{hint}"
        return fails("model", _ASKED, shown, meaning, f'model="{near[0]}"' if near else "model=")
    if fault.status == 404:
        meaning = "the host has no such model or address"
        return fails("model", _ASKED, shown, meaning, "model=, base_url=")
    return fails("model", _ASKED, shown, "the host refuses even a plain request")


def judge_chat(fault: Fault | None) -> Finding:
    """Judge Chat Completions on a host without the Responses API."""
    name, asked = "chat", "`POST /responses`, then `POST /chat/completions`"
    if fault is None:
        meaning = "responses can't be continued here; use the classes for Chat Completions"
        keyword = "rtllm_livekit.ChatLLM, or rtllm_videosdk.OpenAILLM without streaming=True"
        return differs(name, asked, "only Chat Completions", meaning, keyword)
    meaning = "the host has neither API at this address"
    return fails(name, asked, HostReply(fault=fault).summary, meaning, "base_url=")
