"""The installed versions of this library, the frameworks, and what they need."""

from importlib import metadata

from rtllm.doctor.judgements.findings import Finding
from rtllm.doctor.judgements.versions import judge_versions

_OURS = ("rtllm", "rtllm-livekit", "rtllm-videosdk")
_THEIRS = (
    "openai",
    "aiohttp",
    "livekit-agents",
    "livekit-plugins-openai",
    "videosdk-agents",
    "videosdk-plugins-openai",
)


def probe_versions() -> Finding:
    """Compare what is installed with what is required."""
    installed = {name: found for name in (*_OURS, *_THEIRS) if (found := _version(name))}
    requirements = {name: metadata.requires(name) or () for name in _OURS if name in installed}
    return judge_versions(installed, requirements)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
