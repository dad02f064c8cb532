"""The dialects of one host's models: what is known, what the user sets, what refusals taught."""

import logging
from collections.abc import Collection, Iterable, Mapping

from rtllm.providers.dialects import Dialect, dialect_of

logger = logging.getLogger(__name__)

Points = tuple[tuple[str, str], ...]
"""Changes of a dialect: names of points, each with its value."""


class HostDialects:
    """What the models of one host want said otherwise. It only grows, by refusals.

    Args:
        host: The host's name.
        forced: What the user sets; refusals don't change it.
    """

    def __init__(self, host: str, forced: Mapping[str, str] | None = None) -> None:
        self._host = host
        self._forced = dict(forced or {})
        self._base = dialect_of(host).with_points(self._forced)
        self._learnt: dict[str, dict[str, str]] = {}
        self._plain_is_no_help: set[str] = set()
        self._on_trial: dict[str, set[str]] = {}

    def of(self, model: str) -> Dialect:
        """The dialect of a model."""
        return self._base.with_points(self._learnt.get(model, {}))

    def settable(self, points: Iterable[tuple[str, str]]) -> Points:
        """Those of some changes that the user's own settings leave open."""
        return tuple((name, value) for name, value in points if name not in self._forced)

    def learn(
        self, model: str, points: Points, refusal: str, *, guessed: Collection[str] = ()
    ) -> None:
        """Say something otherwise from now on, for the model that refused it; told once.

        Args:
            model: The model.
            points: What is said otherwise.
            refusal: The host's sentence.
            guessed: The points that the refusal did not ask for.
        """
        learnt = self._learnt.setdefault(model, {})
        if guessed:
            self._on_trial.setdefault(model, set()).update(guessed)
        new = [(name, value) for name, value in points if learnt.get(name) != value]
        learnt.update(points)
        if new:
            logger.warning(
                "%s refuses how %s is asked; from now on it is asked with another wording. "
                "Pass dialect=%r to save the try",
                self._host,
                model,
                dict(new),
            )
            # Seen: vLLM quotes what it refuses, which may be the caller's words.
            logger.debug("%s refuses: %s", self._host, refusal)

    def took(self, model: str) -> None:
        """Note that a model took a request: what was on trial stays."""
        self._on_trial.pop(model, None)

    def may_try_plain(self, model: str) -> bool:
        """Whether the plainest wording may help with a model."""
        return model not in self._plain_is_no_help

    def refused_again(self, model: str) -> None:
        """Note that no wording helps: what is on trial for a model is undone."""
        for name in self._on_trial.pop(model, ()):
            self._learnt.get(model, {}).pop(name, None)
            self._plain_is_no_help.add(model)
