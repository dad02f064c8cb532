"""Parameters and tools that models rejected, so that they are not sent again."""

import logging
from collections.abc import Collection, Mapping

from rtllm.content.request import Request
from rtllm.parameters.adjustments import (
    DROPPABLE,
    apply_rejection,
    find_parameter,
    find_replacement,
    get_parameter,
    requested_value,
    set_parameter,
    supported_values,
)

_KEPT = frozenset({"store"})
"""What is not dropped like a parameter, even if the user did not set it: a point of the dialect."""

logger = logging.getLogger(__name__)


class RejectedParameters:
    """Parameters that a model rejected, with their replacements, and rejected tools."""

    def __init__(self) -> None:
        self._of_model: dict[str, dict[str, tuple[str, ...]]] = {}
        self._wanted: dict[str, dict[str, str]] = {}
        self._warned: set[tuple[str, str]] = set()
        self._tools: dict[str, set[bytes]] = {}

    def note(self, request: Request, parameter: str, refusal: str) -> None:
        """Replace or leave out a parameter from now on, for the model that rejected it.

        Args:
            request: The rejected request.
            parameter: The rejected parameter.
            refusal: The service's sentence, which may list the supported values.
        """
        value = requested_value(refusal, parameter)
        if value is not None and get_parameter(self.adjust_settings(request), parameter) != value:
            self._wanted.setdefault(request.model, {})[parameter] = value
            self._warn(request, parameter, value)
            return
        self._wanted.get(request.model, {}).pop(parameter, None)
        other = find_replacement(self.adjust_settings(request), parameter, refusal)
        refused = self._of_model.setdefault(request.model, {})
        refused[parameter] = supported_values(refusal) if other is not None else ()
        if get_parameter(request.settings, parameter) is None:  # set by the library, not the user
            self._warn(request, parameter, None)

    def note_tool(self, model: str, tool: bytes, name: str, refusal: str) -> None:
        """Leave out a tool from now on, as long as its definition is the same.

        Args:
            model: The model that rejected it.
            tool: The encoded tool.
            name: Its name, for the warning.
            refusal: The service's sentence, for the log at DEBUG.
        """
        self._tools.setdefault(model, set()).add(tool)
        logger.warning("model %s rejects the tool %r, which is no longer offered", model, name)
        logger.debug("the rejection of the tool %r: %s", name, refusal)  # it may quote the request

    def offered_tools(self, request: Request) -> tuple[bytes, ...]:
        """Return a request's tools without those that its model rejected."""
        refused = self._tools.get(request.model)
        if not refused or request.strict_parameters:
            return request.tools
        return tuple(tool for tool in request.tools if tool not in refused)

    def adjust_settings(self, request: Request) -> Mapping[str, object]:
        """Return a request's settings as its model accepts them; each change is logged once."""
        settings: Mapping[str, object] = request.settings
        for parameter, supported in self._of_model.get(request.model, {}).items():
            is_chosen = parameter not in request.untouched
            if is_chosen and (request.strict_parameters or parameter not in DROPPABLE):
                continue
            fitting = apply_rejection(settings, parameter, supported)
            if (other := get_parameter(fitting, parameter)) != get_parameter(settings, parameter):
                self._warn(request, parameter, other)
            settings = fitting
        if request.tools:  # seen: it is required only for requests with tools
            for parameter, value in self._wanted.get(request.model, {}).items():
                settings = set_parameter(settings, parameter, value)
        return settings

    def find_rejected(self, request: Request, words: str, param: str | None) -> str | None:
        """Find the parameter that a rejection refers to, if it can be changed or left out.

        Args:
            request: The rejected request.
            words: The full text of the rejection.
            param: The field that it names.
        """
        settings = self.adjust_settings(request)
        droppable = DROPPABLE | (request.untouched - _KEPT)
        if param in droppable and self._can_change(settings, request, param, words):
            return param
        if (param or "").partition("[")[0].partition(".")[0] in ("messages", "input"):
            return None
        for parameter in DROPPABLE:
            value = requested_value(words, parameter)
            if value is not None and request.tools and get_parameter(settings, parameter) != value:
                return parameter
        named = find_parameter(words, settings, droppable)
        if named is None or not self._can_change(settings, request, named, words):
            return None
        return named

    def _can_change(
        self, settings: Mapping[str, object], request: Request, parameter: str, words: str
    ) -> bool:
        if parameter == "stream_options":
            return parameter not in self.of(request.model)
        present = get_parameter(settings, parameter)
        wanted = requested_value(words, parameter) if request.tools else None
        return present is not None or wanted not in (None, present)

    def _warn(self, request: Request, parameter: str, other: object) -> None:
        warning = (request.model, parameter)
        if warning in self._warned or parameter in request.untouched:
            return
        self._warned.add(warning)
        what = "it is not sent" if other is None else f"{other!r} is sent"
        logger.warning("model %s rejects %s; from now on %s", request.model, parameter, what)

    def of(self, model: str) -> Collection[str]:
        """Return the parameters that a model rejected."""
        return self._of_model.get(model, ())
