"""Parameters that models rejected, so that they are not sent again."""

import logging
from collections.abc import Collection, Mapping

from rtllm.content.request import Request
from rtllm.parameters.rejections import (
    DROPPABLE,
    apply_rejection,
    named_in,
    nearest_supported,
    put,
    supported_values,
    value_of,
    wanted_value,
)

logger = logging.getLogger(__name__)


class RejectedParameters:
    """Parameters that a model rejected, and their replacements."""

    def __init__(self) -> None:
        self._of_model: dict[str, dict[str, tuple[str, ...]]] = {}
        self._wanted: dict[str, dict[str, str]] = {}
        self._told: set[tuple[str, str]] = set()

    def note(self, request: Request, parameter: str, refusal: str) -> None:
        """Replace or leave out a parameter from now on, for the model that rejected it.

        Args:
            request: The rejected request.
            parameter: The rejected parameter.
            refusal: The service's sentence, which may list the supported values.
        """
        value = wanted_value(refusal, parameter)
        if value is not None and value_of(self.applied_to(request), parameter) != value:
            self._wanted.setdefault(request.model, {})[parameter] = value
            self._warn(request, parameter, value)
            return
        self._wanted.get(request.model, {}).pop(parameter, None)
        other = nearest_supported(self.applied_to(request), parameter, refusal)
        refused = self._of_model.setdefault(request.model, {})
        refused[parameter] = supported_values(refusal) if other is not None else ()
        if value_of(request.settings, parameter) is None:  # set by the library, not by the user
            self._warn(request, parameter, None)

    def applied_to(self, request: Request) -> Mapping[str, object]:
        """Return a request's settings as its model accepts them; each change is logged once."""
        settings: Mapping[str, object] = request.settings
        for parameter, supported in self._of_model.get(request.model, {}).items():
            if request.strict_parameters and parameter not in request.untouched:
                continue
            fitting = apply_rejection(settings, parameter, supported)
            if (other := value_of(fitting, parameter)) != value_of(settings, parameter):
                self._warn(request, parameter, other)
            settings = fitting
        if request.tools:  # seen: it is required only for requests with tools
            for parameter, value in self._wanted.get(request.model, {}).items():
                settings = put(settings, parameter, value)
        return settings

    def meant_by(self, request: Request, words: str, param: str | None) -> str | None:
        """Find the parameter that a rejection refers to, if it can be changed or left out.

        Args:
            request: The rejected request.
            words: The full text of the rejection.
            param: The field that it names.
        """
        settings = self.applied_to(request)
        if param in DROPPABLE and self._can_change(settings, request, param, words):
            return param
        if (param or "").partition("[")[0].partition(".")[0] in ("messages", "input"):
            return None
        for parameter in DROPPABLE:
            value = wanted_value(words, parameter)
            if value is not None and request.tools and value_of(settings, parameter) != value:
                return parameter
        named = named_in(words, settings)
        if named is None or not self._can_change(settings, request, named, words):
            return None
        return named

    def _can_change(
        self, settings: Mapping[str, object], request: Request, parameter: str, words: str
    ) -> bool:
        if parameter == "stream_options":
            return parameter not in self.of(request.model)
        present = value_of(settings, parameter)
        wanted = wanted_value(words, parameter) if request.tools else None
        return present is not None or wanted not in (None, present)

    def _warn(self, request: Request, parameter: str, other: object) -> None:
        told = (request.model, parameter)
        if told in self._told or parameter in request.untouched:
            return
        self._told.add(told)
        what = "it is not sent" if other is None else f"{other!r} is sent"
        logger.warning("model %s rejects %s; from now on %s", request.model, parameter, what)

    def of(self, model: str) -> Collection[str]:
        """Return the parameters that a model rejected."""
        return self._of_model.get(model, ())
