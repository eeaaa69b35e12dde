"""What differs between the dialects in files and batches: the protocol `Form`, and the rules of a scenario."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from batch.simulator.batches.batch import Batch
from batch.simulator.batches.files import StoredFile
from batch.simulator.batches.lines import LineError
from batch.simulator.wire import Reply


@dataclass(frozen=True, slots=True)
class Rules:
    """What a provider allows of batch files: `[batches]` of a scenario; None means that it is as documented.

    Attributes:
        window_s: seconds after which a batch expires.
        lines: the most lines of a file.
        file_bytes: the most bytes of one; None takes the dialect's own.
        enqueued_lines: the most lines of one (key, model) in batches that have not ended; None is unlimited.
        enqueued_tokens: likewise, tokens of their prompts.
    """

    window_s: float = 86_400.0
    lines: int = 50_000
    file_bytes: int | None = None
    enqueued_lines: int | None = None
    enqueued_tokens: int | None = None


class Form(Protocol):
    """How one dialect writes files, batches and lines."""

    endpoint: str
    """Of chat lines."""
    file_bytes: int
    """The largest file."""
    retrieves_files: bool
    """Whether a file can be asked for without its content."""
    refuses_full_queue: bool
    """Whether a batch that the queue has no room for is refused at once; else it is made, and fails."""

    def ids(self, number: int, at: float) -> tuple[str, str]:
        """A file's id and a batch's, for the request with this number that came at unix second `at`."""

    def file(self, file: StoredFile) -> dict[str, Any]:
        """A file without its content."""

    def files(self, some: list[StoredFile], more: bool) -> dict[str, Any]:
        """A page of a list of files; `more` says that another follows."""

    def batch(self, batch: Batch, now: float, *, fresh: bool = False) -> dict[str, Any]:
        """A batch as it stands.

        Args:
            batch: which one.
            now: monotonic seconds.
            fresh: this is the answer to its creation.
        """

    def answered(self, batch: Batch, custom_id: str, number: int, reply: Reply) -> dict[str, Any]:
        """A line of an output or error file.

        Args:
            batch: whose.
            custom_id: the client's id of the line.
            number: of the line in the books.
            reply: what a chat request would have been answered with.
        """

    def expired(self, batch: Batch, custom_id: str, number: int) -> dict[str, Any] | None:
        """The line of an error file for a request that a batch did not come to; None where there is none."""

    def refused(self, code: str, *, param: str = "", detail: str = "") -> Reply:
        """A refusal.

        Args:
            code: `no_form`, `no_file`, `no_batch`, `missing`, `invalid`, `too_large`, `ended` or `queue_full`.
            param: the field that is wrong.
            detail: what is wrong with it.
        """


def errors_of(errors: list[LineError]) -> dict[str, Any] | None:
    """The member `errors` of a batch, the same in both dialects; None where there are none."""
    if not errors:
        return None
    data = [{"code": e.code, "line": e.line, "message": e.message, "param": e.param} for e in errors]
    return {"object": "list", "data": data}
