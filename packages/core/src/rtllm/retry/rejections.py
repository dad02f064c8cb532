"""What models refused, so that it isn't sent to them again."""

import logging
from collections.abc import Collection, Mapping

from rtllm.content.request import Request
from rtllm.parameters.rejections import (
    apply_rejection,
    nearest_supported,
    supported_values,
    value_of,
)

logger = logging.getLogger(__name__)


class RejectedParameters:
    """Parameters that a model refused, and what has been sent instead since."""

    def __init__(self) -> None:
        self._of_model: dict[str, dict[str, tuple[str, ...]]] = {}
        self._told: set[tuple[str, str]] = set()

    def note(self, request: Request, parameter: str, refusal: str) -> None:
        """Step a parameter or leave it out from now on, for the model that refused it.

        Args:
            request: What was refused.
            parameter: What of it was refused.
            refusal: The service's sentence, which may name the values that it takes.
        """
        other = nearest_supported(self.applied_to(request), parameter, refusal)
        refused = self._of_model.setdefault(request.model, {})
        refused[parameter] = supported_values(refusal) if other is not None else ()
        if value_of(request.settings, parameter) is None:  # this library's own, not a setting
            self._warn(request, parameter, None)

    def applied_to(self, request: Request) -> Mapping[str, object]:
        """A request's settings as its model takes them; what was chosen is told once."""
        settings: Mapping[str, object] = request.settings
        for parameter, supported in self._of_model.get(request.model, {}).items():
            if request.strict_parameters and parameter not in request.untouched:
                continue
            fitting = apply_rejection(settings, parameter, supported)
            if (other := value_of(fitting, parameter)) != value_of(settings, parameter):
                self._warn(request, parameter, other)
            settings = fitting
        return settings

    def _warn(self, request: Request, parameter: str, other: object) -> None:
        told = (request.model, parameter)
        if told in self._told or parameter in request.untouched:
            return
        self._told.add(told)
        what = "it is left out" if other is None else f"{other!r} is sent"
        logger.warning("%s refuses %s; %s from now on", request.model, parameter, what)

    def of(self, model: str) -> Collection[str]:
        """What a model refused."""
        return self._of_model.get(model, ())
