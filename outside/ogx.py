"""rtllm against OGX (formerly Llama Stack), a gateway with a Responses store of its own.

    uv run outside/ogx.py
    uv run outside/ogx.py --python /usr/local/bin/python3.13

OGX stores responses in SQLite and sends each request to its upstream as a chat completion; the
upstream is the simulator, which answers only if the full conversation arrives. It runs in an
environment of its own, with Python 3.12 or later. Takes about a minute. The result is in
``docs/outside.md``.
"""

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from aimock import free_port, until_ready
from checks import Server, run_all
from over_http import OVER_HTTP
from upstream import simulated_model

VERSION = "1.5.0"
WITH = ("aiosqlite", "matplotlib", "pandas", "pillow", "sqlalchemy")


def settings(folder: str, upstream: str) -> dict[str, Any]:
    """Return OGX's settings, with one upstream."""
    stores = {
        name: {"table_name": name, "backend": "sql"}
        for name in ("inference", "conversations", "prompts", "connectors")
    }
    openai = {"api_key": "any", "base_url": upstream}
    files = {"storage_dir": folder, "metadata_store": {"table_name": "files", "backend": "sql"}}
    responses = {"persistence": {"responses": {"table_name": "responses", "backend": "sql"}}}

    def provider(kind: str, config: dict[str, Any]) -> list[dict[str, Any]]:
        return [{"provider_id": kind.split("::")[1], "provider_type": kind, "config": config}]

    return {
        "version": 2,
        "distro_name": "outside",
        "apis": ["files", "inference", "responses", "tool_runtime", "vector_io"],
        "providers": {
            "inference": provider("remote::openai", openai),
            "files": provider("inline::localfs", files),
            "responses": provider("inline::builtin", responses),
            "tool_runtime": provider("inline::file-search", {}),
            "vector_io": [],
        },
        "storage": {
            "backends": {
                "kv": {"type": "kv_sqlite", "db_path": f"{folder}/kv.db"},
                "sql": {"type": "sql_sqlite", "db_path": f"{folder}/sql.db"},
            },
            "stores": {"metadata": {"namespace": "registry", "backend": "kv"}, **stores},
        },
        "registered_resources": {"models": []},
        "server": {"port": 8321},  # replaced by --port
    }


def write_settings(folder: str, upstream: str) -> Path:
    """Write OGX's settings; return the file."""
    path = Path(folder, "ogx.yaml")
    path.write_text(json.dumps(settings(folder, upstream)))  # JSON is YAML
    return path


async def main() -> int:
    """Run all checks; return the number of those that failed."""
    options = argparse.ArgumentParser(description="rtllm against OGX")
    options.add_argument("--python", default="3.12", help="the version or path of OGX's Python")
    python = options.parse_args().python
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        async with simulated_model() as upstream:
            path = await asyncio.to_thread(write_settings, folder, upstream.base_url)
            packages = [part for name in WITH for part in ("--with", name)]
            gateway = await asyncio.create_subprocess_exec(
                *(shutil.which("uv") or "uv", "tool", "run", "--python", python, *packages),
                *("--from", f"ogx=={VERSION}", "ogx", "run", "--insecure"),
                *("--port", str(port), str(path)),
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
            )
            try:
                await until_ready(f"http://127.0.0.1:{port}/v1/health", 200)
                server = Server(
                    f"OGX {VERSION} before the simulator",
                    f"http://127.0.0.1:{port}/v1",
                    model="openai/gpt-4.1",
                    lacks=frozenset({"websocket"}),
                )
                return await run_all(server, OVER_HTTP)
            finally:
                if gateway.returncode is None:
                    gateway.terminate()
                await gateway.wait()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
