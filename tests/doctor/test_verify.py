"""Simulated hosts that differ in each question: the report names it, and the right keyword."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from openai import AsyncOpenAI

from doctor.runs import KEY, MODEL, ON, differing, examine, meaning, seen, target_at, verdicts
from rtllm.doctor import CHECKS, QUESTIONS, CannotCheckError, cost, target_of, verify_protocol
from rtllm.doctor.simulated import remembers_words, simulated_host
from rtllm.doctor.verify import checks_of
from rtllm.providers.config import resolve_provider
from rtllm.simulator import (
    HOSTS,
    AcceptThen,
    DelayHandshake,
    ErrorFrame,
    Mangle,
    Pause,
    RefuseHandshake,
    Reply,
    Request,
    Silence,
)

STORED = "store=True (if stored-elsewhere holds), or chaining=False"
WARM_UP = "rebuild=False (the default), and no Client.warm_up"
LANES_OFF = {"lanes": "lanes=False"}
NOT_STORED = {"stored-elsewhere": "store=False", "http-chain": "store=False"}
FORGETFUL = dict.fromkeys(
    ("parent-kept", "unknown-parent", "stored-elsewhere", "http-chain", "http-unknown"),
    "chaining=False",
)
VAGUE = dict.fromkeys(("unknown-parent", "http-unknown"), "chaining=False")
UNNAMED = dict.fromkeys(("parent-named", "http-named"), "chaining=True")
CLAIMED = dict.fromkeys(("parent-named", "http-named"), "chaining=False")
OVER_HTTP = [name for check in checks_of("http") for name in check.answers]


async def test_every_assumption_holds_on_a_host_like_openai() -> None:
    report = await examine()
    expected = {**dict.fromkeys(QUESTIONS, "holds"), "lifetime": "not checked"}
    assert verdicts(report) == expected
    assert "--patience 61" in seen(report, "lifetime")
    assert report.exit_status == 0


@pytest.mark.parametrize("host", ["azure", "xai", "vercel", "litellm"])
async def test_what_is_assumed_of_a_known_host_holds_on_it(host: str) -> None:
    report = await examine(host, **HOSTS[host])
    assert differing(report) == {}
    assert report.exit_status == 0
    assert verdicts(report)["lane-memory"] == "not checked"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"lanes": "off"}, LANES_OFF),
        ({"lanes": "refuse"}, LANES_OFF),
        ({"lanes": "ignore"}, LANES_OFF),
        ({"remembers": "connection"}, {"lane-memory": "lanes=False"}),
        ({"remembers": "nothing"}, {"parent-kept": STORED, "warm-up": WARM_UP}),
        ({"stores": False}, NOT_STORED),
        ({"evicts": "any lane"}, {"failed-fork": ""}),
        ({"no_websocket": 404}, {"websocket": "use_websocket=False"}),
        ({"no_websocket": 403}, {"websocket": "use_websocket=False"}),
        ({"no_responses": 404}, {"http": "fallback=None"}),
        ({"manners": ["ignores parents"]}, {**FORGETFUL, "warm-up": WARM_UP}),
        ({"manners": ["vague misses"]}, VAGUE),
        ({"manners": ["no generate"]}, {"warm-up": WARM_UP}),
        ({"manners": ["ignores generate"]}, {"warm-up": WARM_UP}),
        ({"manners": ["counts only input"]}, {"input-tokens": "", "http-tokens": ""}),
        ({"fault": Mangle("usage_missing")}, {"drained-usage": ""}),
    ],
    ids=str,
)
async def test_a_wrong_assumption_is_named_with_its_keyword(
    options: dict[str, Any], expected: dict[str, str]
) -> None:
    report = await examine(**options)
    assert differing(report) == expected
    assert report.exit_status == 1


async def test_a_host_that_has_lanes_though_none_are_known() -> None:
    report = await examine("azure")
    assert differing(report) == {"lanes": "lanes=True"}
    assert verdicts(report)["lane-memory"] == "holds"


@pytest.mark.parametrize(
    ("manners", "named", "keywords"),
    [
        ((), "the same response", {}),
        (("renames parents",), "another id", {}),
        (("hides parents",), "null", UNNAMED),
        (("omits parents",), "missing", UNNAMED),
        (
            ("ignores parents", "claims parents"),
            "the same response, though it was ignored",
            {**FORGETFUL, **CLAIMED, "warm-up": WARM_UP},
        ),
    ],
)
async def test_what_created_names_decides_on_a_host_that_is_not_known(
    manners: tuple[str, ...], named: str, keywords: dict[str, str]
) -> None:
    report = await examine(None, manners=manners, lanes="off")
    assert (seen(report, "parent-named"), differing(report)) == (named, keywords)


@pytest.mark.parametrize("manner", ["hides parents", "omits parents", "renames parents"])
async def test_what_created_names_is_not_read_on_a_host_that_documents_chaining(
    manner: str,
) -> None:
    report = await examine(manners=[manner])
    assert differing(report) == {}
    assert "not read" in meaning(report, "parent-named")


async def test_an_ignored_parent_is_noticed_on_a_host_that_is_not_known() -> None:
    report = await examine(None, manners=["ignores parents"], lanes="off")
    assert verdicts(report)["unknown-parent"] == "holds"
    assert "noticed" in meaning(report, "parent-kept")


async def test_a_host_that_refuses_parents_with_an_error_of_its_own() -> None:
    report = await examine(None, manners=["no parent"], lanes="off")
    assert differing(report)["parent-kept"] == "chaining=False"
    assert (await examine("openrouter", manners=["no parent"], lanes="off")).exit_status == 1
    kept = verdicts(await examine("openrouter", manners=["no parent"], lanes="off"))
    assert kept["parent-kept"] == kept["unknown-parent"] == "holds"


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"drop_on": "end"}, ["lane-running"]),
        ({"remembers": "everything"}, ["lane-running", "lane-older", "failed-continuation"]),
        ({"remembers": "everywhere"}, ["unstored-elsewhere", "lane-older"]),
        ({"evicts": "never", "drop_on": "end"}, ["failed-continuation"]),
        ({"keeps_incomplete": True}, ["incomplete-parent"]),
    ],
    ids=str,
)
async def test_a_host_that_keeps_more_does_no_harm(
    options: dict[str, Any], names: list[str]
) -> None:
    usual, report = await examine(), await examine(**options)
    assert report.exit_status == 0
    for name in names:
        assert "the answer had the word" in seen(report, name)
        assert meaning(report, name) != meaning(usual, name)


async def test_a_host_that_reports_no_usage_leaves_its_counting_open() -> None:
    report = await examine(fault=Mangle("usage_missing"))
    assert verdicts(report)["input-tokens"] == "not checked"
    assert report.totals.input + report.totals.output == 0
    assert report.totals.unknown > 10


async def test_settings_that_a_host_refuses_are_left_out() -> None:
    assert (await examine(manners=["no effort"])).exit_status == 0


async def test_one_transport_alone() -> None:
    http = await examine(transport="http")
    assert list(verdicts(http)) == OVER_HTTP
    assert "http" not in verdicts(await examine(transport="websocket"))


WITHOUT_SOCKET: dict[str, Any] = {"no_websocket": 404}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {}),
        ({"stores": False}, {"http-chain": "store=False"}),
        ({"manners": ["hides parents"]}, {"http-named": "chaining=True"}),
        ({"manners": ["omits parents"]}, {"http-named": "chaining=True"}),
        ({"manners": ["renames parents"]}, {}),
        ({"manners": ["counts only input"]}, {"http-tokens": ""}),
        ({"manners": ["vague misses"]}, {"http-unknown": "chaining=False"}),
        ({"manners": ["ignores parents"]}, {"http-chain": "chaining=False"}),
        (
            {"manners": ["ignores parents", "claims parents"]},
            dict.fromkeys(("http-chain", "http-named", "http-unknown"), "chaining=False"),
        ),
    ],
    ids=str,
)
async def test_a_host_without_a_websocket_is_asked_over_http(
    options: dict[str, Any], expected: dict[str, str]
) -> None:
    report = await examine(None, **WITHOUT_SOCKET, **options)
    assert differing(report) == {"websocket": "use_websocket=False", **expected}
    asked = {name for name, verdict in verdicts(report).items() if verdict != "not checked"}
    not_telling = {"http-named", "http-tokens"} if "stores" in options else set()
    if "ignores parents" in options.get("manners", ()):
        not_telling = {"http-tokens"}
    assert asked == {"websocket", *OVER_HTTP} - not_telling


@pytest.mark.parametrize(
    ("options", "name", "found"),
    [
        ({}, "http-unstored", "with `store=False` each turn over HTTP sends its full context"),
        ({"remembers": "everywhere"}, "http-unstored", "the code doesn't rely on it"),
        ({}, "http-warm-up", "`Client.warm_up` fails over HTTP"),
        ({"strict": False}, "http-warm-up", "the host takes warm-ups over HTTP"),
        (
            {"strict": False, "manners": ["ignores generate"]},
            "http-warm-up",
            "`Client.warm_up` fails over HTTP",
        ),
    ],
    ids=str,
)
async def test_what_a_host_keeps_over_http_beyond_the_assumptions_does_no_harm(
    options: dict[str, Any], name: str, found: str
) -> None:
    report = await examine(None, **WITHOUT_SOCKET, **options)
    assert verdicts(report)[name] == "holds"
    assert found in meaning(report, name)


async def test_a_client_of_the_users_and_a_token_function() -> None:
    async with simulated_host(api_key=KEY) as service:
        client = AsyncOpenAI(api_key=KEY, base_url=service.base_url)
        ways = (
            resolve_provider(client=client),
            resolve_provider(api_key=lambda: KEY, base_url=service.base_url),
        )
        for config in ways:
            report = await verify_protocol(target_of(config, MODEL, "openai"), on=ON)
            assert report.exit_status == 0
        assert not client.is_closed()
        await client.close()


async def test_the_estimate_names_every_request() -> None:
    async with simulated_host() as service:
        target = target_at(service)
        estimate = cost(target)
        report = await verify_protocol(target, on=ON)
        assert report.totals.attempts == len(service.journal.entries) == estimate.requests - 3
        # Smaller frames are not needed, and no question after a warm-up over HTTP.
        stored = [e for e in service.journal.entries if e.body["store"] is True]
        assert len(stored) == estimate.stored
        most = sum(e.body["max_output_tokens"] for e in service.journal.entries)
    assert report.totals.input / 2 < estimate.input_tokens < 2 * report.totals.input
    assert report.totals.output <= estimate.output_tokens <= estimate.most_output <= most


def test_each_question_is_answered_by_one_check() -> None:
    checks = checks_of("both")
    answered = [name for check in checks for name in check.answers]
    assert sorted(answered) == sorted(QUESTIONS)
    assert set(checks) > set(CHECKS)
    assert len(checks_of("http")) + len(checks_of("websocket")) == len(checks)


# -- limits of connections, and the speed of lanes -------------------------------------------------


async def test_a_host_whose_lanes_look_each_other_up_slowly() -> None:
    script, lanes = remembers_words(), [""]

    def slow_across(request: Request) -> Any:
        is_across = request.lane not in (None, lanes[-1])
        lanes.append(request.lane or "")
        if request.body.get("previous_response_id") and is_across:
            return Reply.of(Pause(1.0), str(script(request)))
        return script(request)

    report = await examine(script=slow_across)
    assert differing(report) == {"lane-speed": "lanes=False"}


@pytest.mark.parametrize(
    ("size", "expected"), [(5 * 2**20, 4 * 2**20), (3 * 2**20, 2**20), (16 * 2**20, None)]
)
async def test_the_largest_frame(size: int, expected: int | None) -> None:
    report = await examine(max_frame=size)
    keyword = f"host_profile=HostProfile(…, max_frame={expected})"
    assert differing(report) == ({} if expected is None else {"frame-size": keyword})


async def test_a_host_that_delays_what_is_sent_at_once() -> None:
    assert seen(await examine(), "at-once").startswith("9 of 9")
    report = await examine(max_active=4)
    assert seen(report, "at-once").startswith("4 of 9")
    assert differing(report) == {}


async def test_an_unknown_event_does_not_end_the_connection() -> None:
    assert "survives" in meaning(await examine(), "unknown-event")


@pytest.mark.parametrize(
    ("options", "found", "keyword"),
    [
        ({}, "answered after 30 minutes", ""),
        ({"lifetime": 600.0}, "over after 10 minutes", "lifetime=600"),
    ],
    ids=str,
)
async def test_how_long_a_connection_lasts(
    options: dict[str, Any], found: str, keyword: str
) -> None:
    async with simulated_host(**options) as service:
        report = await verify_protocol(target_at(service), on=ON, patience=30.0)
    assert found in seen(report, "lifetime")
    named = differing(report).get("lifetime", "")
    assert (keyword in named) if keyword else not named


# -- nothing can be checked -----------------------------------------------------------------------


async def why_not(model: str = MODEL, **options: Any) -> str:
    async with simulated_host(**options) as service:
        with pytest.raises(CannotCheckError) as caught:
            await verify_protocol(target_at(service, model=model), on=ON)
        await service.journal.wait(lambda journal: not journal.open_connections)
    return str(caught.value)


async def test_a_wrong_key() -> None:
    assert "Incorrect API key" in await why_not(api_key="another")
    assert "Incorrect API key" in await why_not(api_key="another", no_websocket=404)


async def test_an_unknown_model() -> None:
    assert "does not exist" in await why_not("gpt-0")
    assert "does not exist" in await why_not("gpt-0", no_websocket=404)


async def test_a_connection_that_closes_at_once() -> None:
    late = AcceptThen(close=1008, reason="not here")
    assert "1008" in await why_not(on_connect=lambda _: late)


async def test_a_rate_limit() -> None:
    limit = RefuseHandshake(429, {"error": {"message": "Too many.", "code": "slow_down"}})
    assert await why_not(on_connect=lambda _: limit) == "Too many."


async def test_a_host_that_never_answers_is_noticed_within_15_seconds() -> None:
    loop = asyncio.get_running_loop()
    for options in ({"fault": Silence()}, {"on_connect": lambda _: DelayHandshake(60.0)}):
        began = loop.time()
        assert "waited 7 s" in await why_not(**options)
        assert loop.time() - began < 15


async def test_a_later_failure_leaves_only_its_own_question_open() -> None:
    busy = ErrorFrame(code="rate_limit_exceeded", status=429, message="Wait.")

    def plan(request: Any) -> Any:
        return busy if request.body.get("generate") is False else None

    report = await examine(fault=plan)
    assert differing(report) == {}
    assert verdicts(report)["warm-up"] == verdicts(report)["warm-up-lane"] == "not checked"
    assert "Wait." in seen(report, "warm-up")
