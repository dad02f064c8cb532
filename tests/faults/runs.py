"""All cases of all rows, and what each is played on."""

from __future__ import annotations

import pkgutil
from importlib import import_module

import faults.cases
from faults.case import Case, Host, NetworkCase, hosts_of

_MODULES = [
    import_module(f"faults.cases.{found.name}")
    for found in pkgutil.iter_modules(faults.cases.__path__)
]

CASES: tuple[Case, ...] = tuple(
    case for module in _MODULES for case in getattr(module, "CASES", ())
)
NETWORK_CASES: tuple[NetworkCase, ...] = tuple(
    case for module in _MODULES for case in getattr(module, "NETWORK_CASES", ())
)

RUNS: dict[str, tuple[Case, Host]] = {
    f"{case.name}: {host}": (case, host) for case in CASES for host in hosts_of(case)
}
NETWORK_RUNS: dict[str, tuple[NetworkCase, Host]] = {
    f"{case.name}: {host}": (case, host) for case in NETWORK_CASES for host in hosts_of(case)
}
