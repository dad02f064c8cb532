"""Checks over HTTP: of hosts without a WebSocket, and of the fallback of the others."""

from collections.abc import Sequence
from dataclasses import replace

from rtllm.doctor.judgements.chains import (
    Continued,
    judge_named,
    judge_stored,
    judge_tokens,
    judge_unknown,
    judge_unstored_over_http,
    judge_warm_up_over_http,
)
from rtllm.doctor.judgements.connections import judge_http
from rtllm.doctor.judgements.findings import Finding
from rtllm.doctor.judgements.replies import Baseline, HostReply
from rtllm.doctor.judgements.steps import ALONE, ASKED, ASKED_STORED, GIVEN, NO_RESPONSE, STORED
from rtllm.doctor.probes.check import CannotCheckError, Check
from rtllm.doctor.probes.lab import Lab, new_word

_WARMED = replace(STORED, generates=False)


class OverHttp(Check):
    """Two turns over HTTP whose responses are stored."""

    answers = ("http", "http-chain", "http-named", "http-tokens")
    steps = (ALONE, STORED, ASKED_STORED)
    needs = "http"

    async def run(self, lab: Lab) -> Sequence[Finding]:
        """Ask for a word that was never given; give one, stored, and ask for it."""
        word, is_first = new_word(), not lab.replies
        await lab.prepare_http()
        alone = await lab.first(lambda: lab.post(ALONE, ""))
        if is_first and alone.fault is not None:
            raise CannotCheckError(alone.fault)
        found = judge_http(alone)
        lab.has_http = alone.fault is None
        if alone.fault is not None:
            return [found]
        first = await lab.wait_for(lab.post(STORED, word))
        baseline = Baseline.of(first, alone)
        second = await lab.wait_for(lab.post(ASKED_STORED, word, first.response_id))
        turn = Continued(first, second, word, baseline)
        if not lab.has_websocket:
            lab.keeps_stored = turn.is_kept
            lab.names_parents = bool(second.parent) if turn.is_kept else None
        return [
            found,
            judge_stored(lab.profile, turn, "http-chain"),
            judge_named(lab.profile, turn, "http-named"),
            judge_tokens(turn, "http-tokens"),
        ]


class StateOverHttp(Check):
    """What a host keeps over HTTP of responses that are not stored, unknown, or only prepared."""

    answers = ("http-unstored", "http-unknown", "http-warm-up")
    steps = (GIVEN, ASKED, ALONE, _WARMED, ASKED_STORED)
    needs = "http"

    async def run(self, lab: Lab) -> Sequence[Finding]:
        """Continue a response that is not stored, one that never existed, and a warm-up."""
        word = new_word()
        first = await lab.wait_for(lab.post(GIVEN, word))
        second = await lab.wait_for(lab.post(ASKED, word, first.response_id))
        found = [judge_unstored_over_http(Continued(first, second, word))]
        reply = await lab.wait_for(lab.post(ALONE, "", NO_RESPONSE))
        found.append(judge_unknown(lab.profile, reply, "http-unknown"))
        word = new_word()
        warmed = await lab.wait_for(lab.post(_WARMED, word))
        second = HostReply(fault=warmed.fault)
        if warmed.fault is None and not warmed.text:
            second = await lab.wait_for(lab.post(ASKED_STORED, word, warmed.response_id))
        found.append(judge_warm_up_over_http(warmed, Continued(warmed, second, word)))
        return found
