"""Tests for adapters, to be run by their own projects; see ``docs/adapters.md``."""

from rtllm.testing.adapter_contract import CONTRACT, check_adapter
from rtllm.testing.under_test import (
    INSTRUCTIONS,
    AdapterUnderTest,
    Check,
    ContextEntry,
    ContractViolation,
    ConversationUnderTest,
    Heard,
    MakeAdapter,
    Setup,
    call_entry,
    get_weather,
)

__all__ = [
    "CONTRACT",
    "INSTRUCTIONS",
    "AdapterUnderTest",
    "Check",
    "ContextEntry",
    "ContractViolation",
    "ConversationUnderTest",
    "Heard",
    "MakeAdapter",
    "Setup",
    "call_entry",
    "check_adapter",
    "get_weather",
]
