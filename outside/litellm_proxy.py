"""rtllm against LiteLLM's proxy, a Responses WebSocket in front of a Chat Completions host.

    uv run outside/litellm_proxy.py

The proxy runs in an environment of its own; its upstream is aimock (npm). LiteLLM does not support
lanes and restores its memory from its own ids. Takes about a minute, mostly for the proxy's start.
The result is in ``docs/outside.md``.
"""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from aimock import aimock, free_port, until_ready
from checks import OVER_THE_SOCKET, Server, run_all
from over_http import OVER_HTTP

VERSION = "1.108.7"
KEY = "sk-a-master-key-of-the-length-that-litellm-wants"
CONFIG = """
model_list:
  - model_name: gpt-4.1
    litellm_params: {{ model: hosted_vllm/gpt-4.1, api_base: "{upstream}", api_key: any }}
general_settings: {{ master_key: {key} }}
"""


def write_config(folder: str, upstream: str) -> Path:
    """Write LiteLLM's settings; return the file."""
    path = Path(folder, "litellm.yaml")
    path.write_text(CONFIG.format(upstream=upstream, key=KEY))
    return path


async def main() -> int:
    """Run all checks; return the number of those that failed."""
    uv = shutil.which("uv") or "uv"
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        async with aimock() as upstream:
            config = await asyncio.to_thread(write_config, folder, upstream.base_url)
            proxy = await asyncio.create_subprocess_exec(
                *(uv, "tool", "run", "--python", "3.11"),
                *("--from", f"litellm[proxy]=={VERSION}", "litellm"),
                *("--config", str(config), "--port", str(port)),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "NO_DOCS": "true"},
            )
            try:
                await until_ready(f"http://127.0.0.1:{port}/health/liveliness", 150)
                name = f"LiteLLM's proxy {VERSION} before {upstream.name}"
                server = Server(name, f"http://127.0.0.1:{port}/v1", KEY)
                return await run_all(server, (*OVER_THE_SOCKET, *OVER_HTTP))
            finally:
                if proxy.returncode is None:
                    proxy.terminate()
                await proxy.wait()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
