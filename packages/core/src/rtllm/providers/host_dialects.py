"""Dialects of one host's models: from the table, from the user, and learned from rejections."""

import logging
from collections.abc import Collection, Iterable, Mapping

from rtllm.providers.dialects import Dialect, dialect_of

logger = logging.getLogger(__name__)

Points = tuple[tuple[str, str], ...]
"""Changes of a dialect: names of points with their values."""


class HostDialects:
    """The dialects of one host's models. They change only when the host rejects a request.

    Args:
        host: The host's name.
        forced: The points that the user sets; rejections don't change them.
    """

    def __init__(self, host: str, forced: Mapping[str, str] | None = None) -> None:
        self._host = host
        self._forced = dict(forced or {})
        self._base = dialect_of(host).with_points(self._forced)
        self._learnt: dict[str, dict[str, str]] = {}
        self._plain_is_no_help: set[str] = set()
        self._on_trial: dict[str, set[str]] = {}

    def of(self, model: str) -> Dialect:
        """Return the dialect of a model."""
        return self._base.with_points(self._learnt.get(model, {}))

    def settable(self, points: Iterable[tuple[str, str]]) -> Points:
        """Drop the changes of points that the user has set."""
        return tuple((name, value) for name, value in points if name not in self._forced)

    def learn(
        self, model: str, points: Points, refusal: str, *, guessed: Collection[str] = ()
    ) -> None:
        """Change the dialect of a model that rejected a request; each change is logged once.

        Args:
            model: The model.
            points: The changed points.
            refusal: The host's sentence.
            guessed: The points that the rejection did not ask for.
        """
        learnt = self._learnt.setdefault(model, {})
        if guessed:
            self._on_trial.setdefault(model, set()).update(guessed)
        new = [(name, value) for name, value in points if learnt.get(name) != value]
        learnt.update(points)
        if new:
            logger.warning(
                "%s rejects the form of requests to %s; from now on another form is used. "
                "Pass dialect=%r to avoid the failed attempt",
                self._host,
                model,
                dict(new),
            )
            # Seen: vLLM quotes the part that it rejects, which may be the caller's words.
            logger.debug("%s rejects: %s", self._host, refusal)

    def took(self, model: str) -> None:
        """Record that a model accepted a request, which confirms guessed changes."""
        self._on_trial.pop(model, None)

    def may_try_plain(self, model: str) -> bool:
        """Whether the plainest form was not tried on a model without success."""
        return model not in self._plain_is_no_help

    def refused_again(self, model: str) -> None:
        """Record that another form did not help, and undo the guessed changes of a model."""
        for name in self._on_trial.pop(model, ()):
            self._learnt.get(model, {}).pop(name, None)
            self._plain_is_no_help.add(model)
