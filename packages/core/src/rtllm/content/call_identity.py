"""The names of the call that a request belongs to."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CallIdentity:
    """The names of a call: the framework's own ones, as far as there are any, and the user's label.

    Attributes:
        label: The ``label`` of the LLM or the client.
        job: The id of the framework's job.
        room: The name of the room, or the id of the meeting.
        session: The id of the framework's session.
    """

    label: str | None = None
    job: str | None = None
    room: str | None = None
    session: str | None = None

    @property
    def is_of_framework(self) -> bool:
        """Whether the framework gave it a name, so that no other call has the same identity."""
        return self.session is not None or self.room is not None or self.job is not None

    def __str__(self) -> str:
        """Return the names that are known, for a log line; empty if none is."""
        names = (
            self.label,
            f"room {self.room}" if self.room else None,
            f"job {self.job}" if self.job else None,
            f"session {self.session}" if self.session else None,
        )
        return ", ".join(name for name in names if name)


UNNAMED = CallIdentity()
"""The identity of a call without any name."""
