"""rtllm against llm-mock-api (PyPI), a mock with both HTTP APIs that remembers nothing.

    uv run outside/mock_api.py

It runs in an environment of its own (`mock_api_server.py`). The result is in
``docs/outside.md``.
"""

import asyncio
import sys

from checks import Server, run_all
from local_model import NO_SOCKET, own_server
from over_http import OVER_HTTP


async def main() -> int:
    """Run all checks; return the number of those that failed."""
    async with own_server("mock_api_server.py", "/health") as url:
        server = Server("llm-mock-api 0.1.2", url, lacks=NO_SOCKET)
        return await run_all(server, OVER_HTTP)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
