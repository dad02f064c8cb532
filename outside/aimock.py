"""rtllm against @copilotkit/aimock (npm), a server of another project: WebSocket and HTTP.

    uv run outside/aimock.py

aimock answers from fixtures, does not support lanes (it ignores ``stream_id``) and remembers
nothing. The script installs it into a temporary folder, which requires Node.js with npm; without
them it ends with code 3. The result is in ``docs/outside.md``.
"""

import asyncio
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from checks import OVER_THE_SOCKET, Server, run_all
from over_http import OVER_HTTP

VERSION = "1.43.0"
NOT_HERE = 3


@asynccontextmanager
async def aimock() -> AsyncIterator[Server]:
    """Install and start the server."""
    npm = shutil.which("npm")
    if npm is None:
        print("npm was not found, so aimock can't be installed; install Node.js", file=sys.stderr)
        raise SystemExit(NOT_HERE)
    fixtures = Path(__file__).with_name("aimock.json")
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        install = ["install", "--silent", "--no-fund", "--no-audit", "--prefix", folder]
        await asyncio.to_thread(
            subprocess.run,
            [npm, *install, f"@copilotkit/aimock@{VERSION}"],
            check=True,
            timeout=100,
        )
        server = await asyncio.create_subprocess_exec(
            f"{folder}/node_modules/.bin/llmock",
            *("--port", str(port), "--fixtures", str(fixtures), "--log-level", "warn"),
            stdout=subprocess.DEVNULL,
        )
        try:
            await until_ready(f"http://127.0.0.1:{port}/health", 20)
            yield Server(f"@copilotkit/aimock {VERSION}", f"http://127.0.0.1:{port}/v1")
        finally:
            server.terminate()
            await server.wait()


def free_port() -> int:
    """Find a port that no process listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def until_ready(url: str, limit: float) -> None:
    """Wait until a server responds, with a limit in seconds."""
    async with asyncio.timeout(limit), aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(url):
                    return
            except aiohttp.ClientError:
                await asyncio.sleep(0.1)


async def main() -> int:
    """Run all checks; return the number of those that failed."""
    async with aimock() as server:
        return await run_all(server, (*OVER_THE_SOCKET, *OVER_HTTP))


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
