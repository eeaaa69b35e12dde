"""What a dialect is: the protocol between the submitters and the services, and the key it signs with.

Owns `Dialect` and `Credentials`. A dialect is pure: it writes an `Outgoing` from a `Request` and turns an `Incoming`
into a `Reply`, `Accepted`, `Processing` or `Failure`. It never sends, waits or retries; `batch.wire.http` sends,
`batch.submit` decides. Used by the dialect files here, by `providers` and by `batch.submit`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from batch.records import Accepted, Failure, Incoming, Lane, Outgoing, Processing, Reply, Request

MASK = "***"


class _Secret(str):
    """Text that goes onto the wire but never into a repr: not in logs, tracebacks or `repr(Outgoing)`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(MASK)


class Credentials(msgspec.Struct, frozen=True):
    """An API key, empty when the service wants none; it shows itself only in the Authorization header."""

    key: str

    def __repr__(self) -> str:
        """The mask, whatever the key."""
        return f"Credentials({MASK})"

    __str__ = __repr__

    def headers(self) -> tuple[tuple[str, str], ...]:
        """The Authorization header, or nothing without a key."""
        return (("Authorization", _Secret(f"Bearer {self.key}")),) if self.key else ()

    def hide(self, text: str) -> str:
        """`text` without the key, for a service that echoes what it was sent."""
        return text.replace(self.key, MASK) if self.key and self.key in text else text


class Dialect(Protocol):
    """One service's way of writing chat requests and answers.

    No method raises on what a server sent: whatever it is becomes a `Failure`. In the answer to a poll a failure of
    kind `task`, and any failure with the verdict `fail`, is about the task itself, which is then over; all other
    failures are about this one poll, and the task may still be asked for again.
    """

    @property
    def name(self) -> str:
        """The provider's name, as it stands in the records."""

    @property
    def lanes(self) -> frozenset[Lane]:
        """The lanes this dialect can write for."""

    def chat(self, request: Request, call_id: str) -> Outgoing:
        """The request for a complete answer in one exchange."""

    def read_chat(self, incoming: Incoming) -> Reply | Failure:
        """The answer to `chat`."""

    def submit(self, request: Request, call_id: str) -> Outgoing:
        """The request that leaves a task with the provider.

        Raises:
            NotImplementedError: `task` is not among `lanes`.
        """

    def read_submit(self, incoming: Incoming) -> Accepted | Failure:
        """The answer to `submit`."""

    def poll(self, task_id: str) -> Outgoing:
        """The request for the state of a task.

        Raises:
            NotImplementedError: `task` is not among `lanes`.
        """

    def read_poll(self, incoming: Incoming) -> Reply | Failure | Processing:
        """The answer to `poll`."""
