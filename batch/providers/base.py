"""What a dialect can do: the protocol `Dialect`, and what signs its requests.

Owns `Dialect`, `Signer` (what a dialect needs of a key, whatever its form) and `Credentials`, a key that is sent as it
is; the other form is `SignedTokens` in `jwt`. A dialect is pure but for the token it may have to renew: it writes an
`Outgoing` from a `Request` and turns an `Incoming` into a `Reply`, `Accepted`, `Processing` or `Failure`. It never
sends, waits or retries; `batch.http.client` sends, `batch.submit` decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

from batch.core import redaction
from batch.core.redaction import MASK, NamedSecret, Secret

if TYPE_CHECKING:
    from batch.core.records import Accepted, Failure, Incoming, Lane, Outgoing, Processing, Reply, Request, Verdict
    from batch.providers.folding import Folding
    from batch.providers.loose_json import Fields
    from batch.providers.service import Service

Headers = tuple[tuple[str, str], ...]


def bearer(token: str) -> Headers:
    """The Authorization header that carries a key or a token."""
    return (("Authorization", Secret(f"Bearer {token}")),)


class Signer(Protocol):
    """Makes the Authorization header of each request."""

    @property
    def again(self) -> Verdict:
        """What to do after a refusal when `renew` says that another try is worth it."""

    def headers(self) -> Headers:
        """The Authorization header, or nothing without a key; the same object for as long as it is the same header."""

    def renew(self, *, expired: bool) -> bool:
        """Replace what was sent, because the service refused it; whether a newer one can be sent from now on.

        Args:
            expired: the service says that it was good once.
        """


class Credentials:
    """An API key that is sent as it is, empty when the service wants none. No repr shows it.

    Making one registers the key for masking.
    """

    again: Verdict = "stop"

    __slots__ = ("_headers",)

    def __init__(self, key: str) -> None:
        redaction.hide(key)
        self._headers: Headers = bearer(key) if key else ()

    def __repr__(self) -> str:
        """The mask, whatever the key."""
        return f"Credentials({MASK})"

    __str__ = __repr__

    def headers(self) -> Headers:
        """The Authorization header, or nothing without a key."""
        return self._headers

    def renew(self, *, expired: bool) -> bool:  # noqa: ARG002 - it is the same key either way
        """False: a key that was refused stays so."""
        return False


class NamedSigner:
    """Signs as another signer does, with a header that tells which of several addresses it is for.

    Args:
        signer: the other one.
        address: its name.
    """

    __slots__ = ("_address", "_headers", "_named", "_signer")

    def __init__(self, signer: Signer, address: str) -> None:
        self._signer = signer
        self._address = address
        self._headers = self._named = signer.headers()
        self._name()

    @property
    def again(self) -> Verdict:
        """As the other one says."""
        return self._signer.again

    def headers(self) -> Headers:
        """The Authorization header of the other one, with the name of the address."""
        headers = self._signer.headers()
        if headers is not self._headers:
            self._headers = headers
            self._name()
        return self._named

    def _name(self) -> None:
        self._named = tuple((name, NamedSecret(str.__str__(value), self._address)) for name, value in self._headers)

    def renew(self, *, expired: bool) -> bool:
        """As the other one does."""
        return self._signer.renew(expired=expired)


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
    def counts(self) -> Literal["asked", "used"]:
        """What a token limit counts: max(max_tokens, prompt) when it is sent, or what was used in the end."""

    @property
    def lanes(self) -> frozenset[Lane]:
        """The lanes this dialect can write for."""

    @property
    def service(self) -> Service:
        """The service it speaks to."""

    def name_key(self, address: str) -> None:
        """Have the key tell from now on which of several addresses it is for.

        Args:
            address: its name.
        """

    def signed(self) -> Headers:
        """The headers of a request without a body."""

    def refused(self, document: Fields, incoming: Incoming) -> Failure | None:
        """The failure that a JSON answer tells of, whatever was asked; None when it tells of none.

        Args:
            document: the members of the answer.
            incoming: the answer.
        """

    def chat(self, request: Request, call_id: str) -> Outgoing:
        """The request for a complete answer in one exchange."""

    def read_chat(self, incoming: Incoming) -> Reply | Failure:
        """The answer to `chat`."""

    def stream(self, request: Request, call_id: str) -> Outgoing:
        """The request for an answer in pieces."""

    def folding(self) -> Folding:
        """A new `Folding`, which puts the pieces of an answer to `stream` together; whole answers go to `read_chat`."""

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
