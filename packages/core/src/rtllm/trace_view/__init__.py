"""Views of a trace file for people: a page, a text, and what both tell.

`read_calls` turns the events into turns with the parts of their time; `summarize` finds what
matters first; `explain` says why a turn took as long as it did. Nothing here does I/O.
"""

from rtllm.trace_view.calls import read_calls
from rtllm.trace_view.page import page_of
from rtllm.trace_view.summary import summarize
from rtllm.trace_view.terminal import lines_of, text_of

__all__ = ["lines_of", "page_of", "read_calls", "summarize", "text_of"]
