"""The doctor: checks on a host what this library assumes, with the user's own key.

`diagnose` examines everything between an agent and its model. `verify_protocol` sends a few small
requests and returns a `Report` that can be posted. What the replies mean is decided in
``judgements``, without I/O; ``probes`` sends the requests.
"""

from rtllm.doctor.compare import compare, cost_of_comparison
from rtllm.doctor.diagnose import cost_of_diagnosis, diagnose
from rtllm.doctor.judgements.findings import Finding
from rtllm.doctor.judgements.questions import QUESTIONS
from rtllm.doctor.judgements.report import Report, scrub, to_data, to_markdown
from rtllm.doctor.judgements.steps import Estimate
from rtllm.doctor.judgements.subjects import SUBJECTS
from rtllm.doctor.probes.check import CannotCheckError, Check
from rtllm.doctor.target import Target, target_of
from rtllm.doctor.verify import CHECKS, Transport, cost, verify_protocol

__all__ = [
    "CHECKS",
    "QUESTIONS",
    "SUBJECTS",
    "CannotCheckError",
    "Check",
    "Estimate",
    "Finding",
    "Report",
    "Target",
    "Transport",
    "compare",
    "cost",
    "cost_of_comparison",
    "cost_of_diagnosis",
    "diagnose",
    "scrub",
    "target_of",
    "to_data",
    "to_markdown",
    "verify_protocol",
]
