"""A headless Chromium, driven over its DevTools socket; no further package is needed."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import aiohttp

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--remote-debugging-port=0",
)
LIMIT = 40.0
"""Seconds that the browser has for each answer."""


def find_browser() -> str | None:
    """The path of an installed Chromium or Chrome; None if there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@dataclass
class Tab:
    """A tab.

    Attributes:
        messages: What the page's console, and the browser's log, have.
        requests: The addresses that the page has requested.
    """

    socket: aiohttp.ClientWebSocketResponse
    session: str = ""
    messages: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    async def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command, and return its result."""
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        await self.socket.send_json(message)
        async with asyncio.timeout(LIMIT):
            while True:
                received = json.loads(await self.socket.receive_str())
                self._note(received)
                if received.get("id") == number:
                    assert "error" not in received, received
                    result: dict[str, Any] = received["result"]
                    return result

    def _note(self, received: dict[str, Any]) -> None:
        parameters = received.get("params", {})
        match received.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(parameters["request"]["url"])
            case "Runtime.exceptionThrown" | "Log.entryAdded" | "Runtime.consoleAPICalled":
                self.messages.append(json.dumps(parameters))

    async def run(self, script: str) -> Any:
        """Evaluate JavaScript, and return its value."""
        result = await self.command("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def wait_for(self, script: str) -> None:
        """Wait until a script is true."""
        async with asyncio.timeout(LIMIT):
            while not await self.run(f"Boolean({script})"):
                await asyncio.sleep(0.02)

    async def look(self, *, width: int, height: int, theme: Literal["light", "dark"]) -> None:
        """Set the size of the window, and the theme that the system prefers."""
        await self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 700,
        )
        features = [{"name": "prefers-color-scheme", "value": theme}]
        await self.command("Emulation.setEmulatedMedia", features=features)

    async def open(self, page: Path) -> None:
        """Open a page, whose path is absolute, and wait until it is ready."""
        await self.command("Page.navigate", url=page.as_uri())
        await self.wait_for("document.documentElement?.dataset.ready")

    async def screenshot(self) -> bytes:
        """Return a picture of the entire page, as PNG."""
        shot = await self.command(
            "Page.captureScreenshot", format="png", captureBeyondViewport=True
        )
        return base64.b64decode(shot["data"])


@asynccontextmanager
async def browser(program: str, profile: Path) -> AsyncIterator[Tab]:
    """Run a browser with one tab."""
    process = await asyncio.create_subprocess_exec(
        program,
        *FLAGS,
        f"--user-data-dir={profile}",
        "about:blank",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        address = await _address_of(process)
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(address, max_msg_size=0) as socket,
        ):
            tab = Tab(socket)
            target = await tab.command("Target.createTarget", url="about:blank")
            attached = await tab.command(
                "Target.attachToTarget", targetId=target["targetId"], flatten=True
            )
            tab.session = attached["sessionId"]
            for domain in ("Page", "Runtime", "Log", "Network"):
                await tab.command(f"{domain}.enable")
            yield tab
    finally:
        process.terminate()
        await process.communicate()


async def _address_of(process: asyncio.subprocess.Process) -> str:
    assert process.stderr is not None
    async with asyncio.timeout(LIMIT):
        async for line in process.stderr:
            if b"DevTools listening on " in line:
                return line.decode().split("listening on ")[1].strip()
    raise RuntimeError("the browser has ended")
