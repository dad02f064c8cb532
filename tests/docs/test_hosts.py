"""docs/hosts.md agrees with the tables in the code."""

from __future__ import annotations

from pathlib import Path

from rtllm.providers.dialects import POINTS, Point
from rtllm.providers.hosts import PROFILES, HostProfile

PAGE = Path(__file__).parents[2] / "docs" / "hosts.md"


def point_row(point: Point) -> str:
    by_host: dict[str, list[str]] = {}
    for host, value in point.hosts.items():
        by_host.setdefault(value, []).append(host)
    known = "; ".join(f"`{value}`: {', '.join(hosts)}" for value, hosts in by_host.items())
    learnt = sorted({refusal.value for refusal in point.refusals})
    cells = (
        f"`{point.name}`",
        point.about,
        ", ".join(f"`{value}`" for value in point.values),
        known or "none",
        ", ".join(f"`{value}`" for value in learnt) or "nothing",
        point.source,
    )
    return f"| {' | '.join(cells)} |"


def host_row(profile: HostProfile) -> str:
    memory = {
        "connection": "its connections and its store",
        "stored": "its store",
        "none": "nothing",
    }[profile.memory]
    proof = "documented" if profile.keeps_parents else "checked at the first continued turn"
    cells = (
        f"`{profile.name}`",
        "yes" if profile.lanes else "no",
        memory if profile.memory == "none" else f"{memory}, {proof}",
        f"{profile.lifetime / 60:g} min",
        profile.source,
        profile.sure,
    )
    return f"| {' | '.join(cells)} |"


def rows_after(head: str) -> list[str]:
    lines = PAGE.read_text().splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith(head)) + 2
    end = next(n for n in range(start, len(lines)) if not lines[n].startswith("|"))
    return lines[start:end]


def test_each_point_of_the_dialects_is_in_the_page() -> None:
    assert rows_after("| point |") == [point_row(point) for point in POINTS]


def test_each_known_host_is_in_the_page() -> None:
    assert rows_after("| host |") == [host_row(profile) for profile in PROFILES.values()]
