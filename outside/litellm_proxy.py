"""rtllm against LiteLLM's proxy, a Responses WebSocket in front of a Chat Completions host.

    uv run outside/litellm_proxy.py

The proxy runs in an environment of its own. Its upstreams are aimock (npm) and the simulator, which
answers only if the full conversation arrives: once through LiteLLM's bridge from responses to chat
completions, once as responses. LiteLLM does not support lanes and restores its memory from its own
ids. Takes about two minutes. The result is in ``docs/outside.md``.
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
from upstream import simulated_model

VERSION = "1.108.7"
KEY = "sk-a-master-key-of-the-length-that-litellm-wants"
CONFIG = """
model_list:
  - model_name: gpt-4.1
    litellm_params: {{ model: hosted_vllm/gpt-4.1, api_base: "{mock}", api_key: any }}
  - model_name: gpt-4o
    litellm_params: {{ model: hosted_vllm/gpt-4o, api_base: "{model}", api_key: any }}
  - model_name: gpt-4.1-mini
    litellm_params: {{ model: openai/gpt-4.1-mini, api_base: "{model}", api_key: any }}
general_settings: {{ master_key: {key} }}
"""


def write_config(folder: str, mock: str, model: str) -> Path:
    """Write LiteLLM's settings; return the file."""
    path = Path(folder, "litellm.yaml")
    path.write_text(CONFIG.format(mock=mock, model=model, key=KEY))
    return path


async def main() -> int:
    """Run all checks; return the number of those that failed."""
    uv = shutil.which("uv") or "uv"
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        async with aimock() as mock, simulated_model() as model:
            config = await asyncio.to_thread(write_config, folder, mock.base_url, model.base_url)
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
                url = f"http://127.0.0.1:{port}/v1"
                everything = (*OVER_THE_SOCKET, *OVER_HTTP)
                failed = 0
                for upstream, model_name, checks in (
                    (mock.name, "gpt-4.1", everything),
                    ("the simulator, bridged to Chat", "gpt-4o", everything),
                    ("the simulator", "gpt-4.1-mini", OVER_HTTP),
                ):
                    name = f"LiteLLM's proxy {VERSION} before {upstream}"
                    failed += await run_all(Server(name, url, KEY, model_name), checks)
                return failed
            finally:
                if proxy.returncode is None:
                    proxy.terminate()
                await proxy.wait()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
