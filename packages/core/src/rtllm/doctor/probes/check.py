"""Check: the base class of all checks."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal

from rtllm.doctor.judgements.findings import Finding
from rtllm.doctor.judgements.steps import Step
from rtllm.doctor.probes.lab import Lab
from rtllm.retry.faults import Fault

CHECK_LIMIT = 120.0
"""Seconds for one check."""
Needs = Literal["websocket", "lanes", "http"]


class CannotCheckError(Exception):
    """Nothing can be checked: no network, a wrong key, an unknown model.

    Attributes:
        fault: Why.
    """

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


class Check(ABC):
    """Some requests to a host, and the questions that their replies answer.

    Attributes:
        answers: The names of the questions.
        steps: The requests, for the estimate of their cost.
        needs: What the host must have.
        limit: Seconds that it may take.
    """

    answers: ClassVar[tuple[str, ...]]
    steps: tuple[Step, ...]
    needs: ClassVar[Needs] = "websocket"
    limit: float = CHECK_LIMIT

    @abstractmethod
    async def run(self, lab: Lab) -> Sequence[Finding]:
        """Send the requests and judge the replies.

        Raises:
            FaultError: If a connection can't be opened.
            CannotCheckError: If nothing can be checked.
        """
