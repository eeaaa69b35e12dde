"""The two types between the provider and its dialects: a request on its way, and what a dialect can do.

The provider decides what happens to a request, the dialects read and write it; neither knows the other's inside.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from batch.simulator.auth import AuthError
from batch.simulator.batches.files import StoredFile
from batch.simulator.batches.form import Form
from batch.simulator.books.books import Entry
from batch.simulator.dialects.stream import Stream
from batch.simulator.in_flight import Place
from batch.simulator.limits import Refusal
from batch.simulator.models.completion import Ask, Completion, Usage
from batch.simulator.wire import Line, Reply


@dataclass(slots=True)
class Call:
    """One HTTP request on its way through the provider.

    Attributes:
        entry: what goes to the books.
        method: HTTP method.
        path: what follows the dialect's prefix.
        headers: names in lower case.
        body: the raw body.
        line: the connection it came on.
        arrived: monotonic seconds.
        place: the place in flight it holds.
        reply_id: id the answer carries.
        request_id: the caller's id as the answer repeats it.
        query: what follows the path behind a question mark.
        sends: the file that the answer has the content of.
    """

    entry: Entry
    method: str
    path: str
    headers: dict[bytes, bytes]
    body: bytes
    line: Line
    arrived: float
    place: Place | None = None
    reply_id: str = ""
    request_id: str = ""
    query: str = ""
    sends: StoredFile | None = None


class Dialect(Protocol):
    """What differs between the providers that are imitated."""

    name: str
    content_type: bytes
    files: Form
    """How it writes files and batches."""

    def route(self, method: str, path: str) -> str:
        """`chat`, `submit`, `poll`, `models`, one of files and batches (`paths.ROUTES`), or `unknown`."""

    def key_of(self, authorization: str | None) -> str:
        """The id of the key that asks.

        Raises:
            AuthError: the credentials are missing, malformed, unknown or expired.
        """

    def read(self, call: Call) -> Ask | Reply:
        """What a chat or submit request, or a line of a batch, asks; or the refusal of one that is not in order."""

    def name_reply(self, call: Call) -> None:
        """Give the answer to a chat request, or to a line of a batch, its id."""

    def refused(self, call: Call, refusal: Refusal) -> Reply:
        """The answer to a request that a limit refuses."""

    def answer(self, call: Call, ask: Ask, completion: Completion, usage: Usage) -> dict[str, Any]:
        """The body of a chat answer.

        Args:
            call: the request; the answer carries its ids.
            ask: what it asks.
            completion: what the model said.
            usage: the tokens billed.
        """

    def stream(self, ask: Ask, body: dict[str, Any]) -> Stream:
        """An answer's body as the events of a stream."""

    def unauthorized(self, error: AuthError) -> Reply:
        """The refusal of bad credentials."""

    def no_route(self, call: Call) -> Reply:
        """The answer to a route that does not exist."""

    async def serve(self, call: Call) -> Reply:
        """Answer a request on a route that exists, from a key that may ask."""

    def dress(self, call: Call, reply: Reply) -> Reply:
        """The reply with the headers that every answer of this dialect has."""
