"""Azure: a key in the other header after a 401, and the model of a deployment."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest
from aiohttp import web

from network.requests import ask, closing
from rtllm import ConfigError
from rtllm.providers.azure import AzureAddress, azure_address
from rtllm.simulator import Simulator, echo
from rtllm_livekit import LLM, ChatLLM
from rtllm_videosdk import OpenAILLM

KEY = "azure-key-1"
TOKEN = "entra-token-1"
CLASSES: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "livekit": (LLM.with_azure, {}),
    "livekit responses": (LLM.with_azure, {"use_websocket": False}),
    "livekit dated responses": (
        LLM.with_azure,
        {"use_websocket": False, "api_version": "2025-04-01-preview"},
    ),
    "livekit chat": (ChatLLM.with_azure, {}),
    "livekit dated chat": (ChatLLM.with_azure, {"api_version": "2024-10-21"}),
    "videosdk": (OpenAILLM.azure, {"streaming": True}),
    "videosdk responses": (OpenAILLM.azure, {"streaming": True, "use_websocket": False}),
    "videosdk chat": (OpenAILLM.azure, {}),
    "videosdk dated chat": (OpenAILLM.azure, {"api_version": "2024-10-21"}),
}
every_class = pytest.mark.parametrize("name", CLASSES)


class Resource:
    """An Azure resource, or a gateway, that accepts the key in one header only.

    Attributes:
        accepts: The header that it accepts; None for none.
        model: The model of every deployment.
        requests: The header that each request had.
        bodies: The bodies of the requests.
    """

    def __init__(self, accepts: str | None, model: str = "gpt-4.1-2025-04-14") -> None:
        self.accepts = accepts
        self.model = model
        self.requests: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self.url = ""

    def reject(self, request: web.Request) -> web.Response | None:
        form = "api-key" if "api-key" in request.headers else "bearer"
        both = "api-key" in request.headers and "Authorization" in request.headers
        self.requests.append("both" if both else form)
        sent = {request.headers.get("api-key"), request.headers.get("Authorization")} - {None}
        if form == self.accepts and sent in ({KEY}, {f"Bearer {KEY}"}):
            return None
        body = {"error": {"code": "401", "message": f"Access denied by {form}."}}
        return web.json_response(body, status=401)

    def events(self, response_id: str = "resp_1") -> list[dict[str, Any]]:
        item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed"}
        whole = {**item, "content": [{"type": "output_text", "text": "Hi.", "annotations": []}]}
        response = {"id": response_id, "model": self.model, "status": "in_progress"}
        done = {**response, "status": "completed", "output": [whole]}
        return [
            {"type": "response.created", "response": response},
            {"type": "response.output_item.added", "output_index": 0, "item": item},
            {"type": "response.output_item.done", "output_index": 0, "item": whole},
            {"type": "response.completed", "response": done},
        ]

    async def socket(self, request: web.Request) -> web.StreamResponse:
        if (rejected := self.reject(request)) is not None:
            return rejected
        opened = web.WebSocketResponse()
        await opened.prepare(request)
        async for message in opened:
            self.bodies.append(json.loads(message.data))
            for event in self.events(f"resp_{len(self.bodies)}"):
                await opened.send_json(event)
        return opened

    async def post(self, request: web.Request) -> web.StreamResponse:
        if (rejected := self.reject(request)) is not None:
            return rejected
        self.bodies.append(await request.json())
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        if request.path.endswith("/chat/completions"):
            delta = {"index": 0, "delta": {"content": "Hi."}, "finish_reason": "stop"}
            lines = [json.dumps({"id": "c", "model": self.model, "choices": [delta]}), "[DONE]"]
        else:
            lines = [json.dumps(event) for event in self.events()]
        for line in lines:
            await response.write(f"data: {line}\n\n".encode())
        return response


@asynccontextmanager
async def resource(*given: Any) -> AsyncIterator[Resource]:
    found = Resource(*given)
    app = web.Application()
    app.router.add_get("/openai/v1/responses", found.socket)
    app.router.add_post("/openai/{path:.*}", found.post)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield found
    finally:
        await runner.cleanup()


def made(name: str, service: Resource, **options: Any) -> Any:
    make, fixed = CLASSES[name]
    options.setdefault("api_key", KEY)
    options.setdefault("azure_deployment", "prod")
    if "chat" not in name:
        options.setdefault("warm_connections", 0)
    return make(azure_endpoint=service.url, **fixed, **options)


def first_form(name: str) -> str:
    return "bearer" if name in ("livekit", "videosdk") else "api-key"


@every_class
@pytest.mark.parametrize("accepts", ["bearer", "api-key"])
async def test_a_key_is_tried_once_in_the_other_header_and_that_is_remembered(
    name: str, accepts: str
) -> None:
    async with resource(accepts) as service, closing(made(name, service)) as model:
        assert await ask(model) == "Hi."
        tried = [first_form(name), accepts] if accepts != first_form(name) else [accepts]
        assert service.requests == tried
        await model.aclose()  # the next turn opens another connection
        assert await ask(model) == "Hi."
        assert service.requests == [*tried, accepts]


@every_class
async def test_a_wrong_key_is_tried_in_both_headers_and_reported_in_the_hosts_words(
    name: str,
) -> None:
    async with resource(None) as service, closing(made(name, service)) as model:
        with pytest.raises(Exception, match=r"Access denied by .*status 401"):
            await ask(model)
        assert sorted(service.requests) == ["api-key", "bearer"]


@every_class
async def test_a_token_is_never_sent_as_a_key(name: str) -> None:
    options = {"api_key": None, "azure_ad_token": KEY}
    async with (
        resource("api-key") as service,
        closing(made(name, service, **options)) as model,
    ):
        with pytest.raises(Exception, match="Access denied by bearer"):
            await ask(model)
        assert set(service.requests) == {"bearer"}


@every_class
async def test_a_token_that_expired_is_requested_again_within_the_turn(name: str) -> None:
    given: list[str] = []

    def provide() -> str:
        given.append(TOKEN if given else "expired-token")
        return given[-1]

    async with Simulator(echo(), api_key=TOKEN, lanes="off") as service:
        make, fixed = CLASSES[name]
        model = make(
            azure_endpoint=service.azure_endpoint, azure_ad_token_provider=provide, **fixed
        )
        async with closing(model):
            assert await ask(model) == "You said: Hello"
    assert given[:2] == ["expired-token", TOKEN]


@every_class
async def test_a_token_provider_that_fails_is_named_without_its_words(name: str) -> None:
    def provide() -> str:
        raise RuntimeError("AADSTS7000215 hunter2")

    async with Simulator(echo(), api_key=TOKEN) as service:
        make, fixed = CLASSES[name]
        model = make(
            azure_endpoint=service.azure_endpoint, azure_ad_token_provider=provide, **fixed
        )
        async with closing(model):
            with pytest.raises(
                Exception, match=r"key or token function.* raised RuntimeError"
            ) as e:
                await ask(model)
        assert service.journal.entries == []
    assert "hunter2" not in str(e.value)


@every_class
async def test_a_plain_token_provider_is_called_off_the_event_loop(name: str) -> None:
    threads: list[threading.Thread] = []

    def provide() -> str:
        threads.append(threading.current_thread())
        return KEY

    options = {"api_key": None, "azure_ad_token_provider": provide}
    async with resource("bearer") as service, closing(made(name, service, **options)) as model:
        assert await ask(model) == "Hi."
    assert threads
    assert threading.main_thread() not in threads


@pytest.mark.parametrize("make", [LLM, lambda **o: OpenAILLM(streaming=True, **o)])
async def test_the_key_of_a_passed_client_is_tried_in_both_headers_on_the_socket(make: Any) -> None:
    async with resource("api-key") as service:
        client = openai.AsyncAzureOpenAI(
            azure_endpoint=service.url,
            api_key=KEY,
            api_version="2025-04-01-preview",
            azure_deployment="prod",
        )
        async with client, closing(make(client=client)) as model:
            assert await ask(model) == "Hi."
        assert service.requests[:2] == ["bearer", "api-key"]


async def test_another_hosts_key_is_only_a_bearer() -> None:
    async with resource("api-key") as service:
        async with closing(LLM(base_url=f"{service.url}/openai/v1", api_key=KEY)) as model:
            with pytest.raises(Exception, match="Access denied by bearer"):
                await ask(model)
        assert service.requests == ["bearer"]


# -- the model of a deployment -------------------------------------------------------------------


def effort_in(body: dict[str, Any]) -> Any:
    return body.get("reasoning_effort") or (body.get("reasoning") or {}).get("effort")


@every_class
async def test_the_family_is_that_of_the_responses_model_after_the_first_turn(name: str) -> None:
    async with resource(first_form(name), "gpt-5-mini-2025-08-07") as service:
        model = made(name, service, model="gpt-4.1")
        if name.startswith("videosdk"):
            model.reasoning_effort = "minimal"
        async with closing(model):
            assert await ask(model) == "Hi."
            assert await ask(model) == "Hi."
        first, second = service.bodies
        assert effort_in(first) is None
        assert effort_in(second) == "minimal"
        assert "temperature" not in second


@every_class
async def test_a_family_that_is_named_stays(name: str) -> None:
    async with resource(first_form(name), "gpt-5-mini-2025-08-07") as service:
        model = made(name, service, model_family="gpt-4.1")
        async with closing(model):
            for _ in range(2):
                assert await ask(model) == "Hi."
        assert [effort_in(body) for body in service.bodies] == [None, None]


@every_class
async def test_a_model_without_a_known_name_changes_nothing(name: str) -> None:
    async with resource(first_form(name), "my-own-model") as service:
        async with closing(made(name, service, model="gpt-4.1")) as model:
            for _ in range(2):
                assert await ask(model) == "Hi."
        assert [effort_in(body) for body in service.bodies] == [None, None]


# -- addresses -----------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [LLM.with_azure, ChatLLM.with_azure, OpenAILLM.azure])
@pytest.mark.parametrize("keyword", ["azure_endpoint", "base_url"])
@pytest.mark.parametrize(
    "address", ["my-resource.openai.azure.com", "//my-resource", "ftp://r.example", "https://"]
)
def test_an_address_without_a_scheme_or_host_is_refused_at_once(
    make: Callable[..., Any], keyword: str, address: str
) -> None:
    with pytest.raises(ConfigError) as error:
        make(**{keyword: address}, api_key="k", model="gpt-4.1")
    assert str(error.value) == (
        f"{keyword} {address!r} is not a valid URL; expected for example "
        "'https://my-resource.openai.azure.com'"
    )


@pytest.mark.parametrize("make", [LLM.with_azure, ChatLLM.with_azure, OpenAILLM.azure])
def test_the_environments_address_is_checked_too(
    make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "my-resource.openai.azure.com")
    with pytest.raises(ConfigError, match=r"AZURE_OPENAI_ENDPOINT 'my-resource.*not a valid URL"):
        make(api_key="k")


ADDRESSES = {
    "the resource": "",
    "with a slash": "/",
    "the old root": "/openai",
    "the v1 root": "/openai/v1",
    "the v1 root with a slash": "/openai/v1/",
    "the v1 operation": "/openai/v1/responses",
    "the v1 operation with preview": "/openai/v1/responses?api-version=preview",
    "chat of v1": "/openai/v1/chat/completions",
    "a deployment": "/openai/deployments/prod",
    "a deployment's operation": "/openai/deployments/prod/chat/completions",
    "with a version": "/openai/deployments/prod/chat/completions?api-version=2024-10-21",
    "responses with a version": "/openai/responses?api-version=2025-04-01-preview",
}
VERSIONS = [None, "preview", "latest", "v1", "2025-04-01-preview"]


@every_class
@pytest.mark.parametrize("address", ADDRESSES)
async def test_every_address_of_the_portal_works(name: str, address: str) -> None:
    async with resource(first_form(name)) as service:
        service.url += ADDRESSES[address]
        async with closing(made(name, service)) as model:
            assert await ask(model) == "Hi."


@every_class
@pytest.mark.parametrize("version", VERSIONS)
async def test_every_version_works(name: str, version: str | None) -> None:
    if "dated" in name:
        return
    async with (
        resource(first_form(name)) as service,
        closing(made(name, service, api_version=version)) as model,
    ):
        assert await ask(model) == "Hi."


@pytest.mark.parametrize(
    "path", ["/models", "/models/", "/models/chat/completions?api-version=2024-05-01-preview"]
)
def test_foundrys_inference_address_leads_to_the_v1_api(path: str) -> None:
    where = azure_address(f"https://r.services.ai.azure.com{path}")
    assert where == AzureAddress("https://r.services.ai.azure.com", is_v1=True)
