"""A stand-in for OpenAI's Responses service, for tests and for trying out.

It answers responses over WebSocket and HTTP, and chat completions.

It reads the protocol by itself and shares no code with the client, so that both can't be
wrong together. ``Simulator`` is the server; scripts say what is answered, faults what goes
wrong, the journal what happened.
"""

from rtllm.simulator.error_frame import ErrorFrame, connection_limit, overloaded, rate_limited
from rtllm.simulator.faults import (
    GARBAGE,
    Abort,
    AcceptThen,
    BrokenArguments,
    Close,
    CutResponse,
    DelayHandshake,
    Dribble,
    Empty,
    FailedResponse,
    Fault,
    FaultPlan,
    Garbage,
    HandshakeFault,
    HangUp,
    Mangle,
    MangleAll,
    MangleChat,
    RefuseHandshake,
    RefuseRequest,
    Silence,
    in_turn,
    only,
    refusing,
)
from rtllm.simulator.hosts import HOSTS
from rtllm.simulator.journal import ConnectionEntry, Entry, Journal
from rtllm.simulator.manners import MANNERS
from rtllm.simulator.script import (
    Call,
    Completed,
    Failed,
    Hosted,
    Incomplete,
    Pause,
    Reasoning,
    Refusal,
    Reply,
    Request,
    Script,
    Text,
    calls_on_demand,
    echo,
    fixed,
)
from rtllm.simulator.serve import SCRIPTS, serve
from rtllm.simulator.server import Simulator

__all__ = [
    "GARBAGE",
    "HOSTS",
    "MANNERS",
    "SCRIPTS",
    "Abort",
    "AcceptThen",
    "BrokenArguments",
    "Call",
    "Close",
    "Completed",
    "ConnectionEntry",
    "CutResponse",
    "DelayHandshake",
    "Dribble",
    "Empty",
    "Entry",
    "ErrorFrame",
    "Failed",
    "FailedResponse",
    "Fault",
    "FaultPlan",
    "Garbage",
    "HandshakeFault",
    "HangUp",
    "Hosted",
    "Incomplete",
    "Journal",
    "Mangle",
    "MangleAll",
    "MangleChat",
    "Pause",
    "Reasoning",
    "Refusal",
    "RefuseHandshake",
    "RefuseRequest",
    "Reply",
    "Request",
    "Script",
    "Silence",
    "Simulator",
    "Text",
    "calls_on_demand",
    "connection_limit",
    "echo",
    "fixed",
    "in_turn",
    "only",
    "overloaded",
    "rate_limited",
    "refusing",
    "serve",
]
