"""The exception tree, the failure kinds and the exit codes.

    BatchError                  everything promptmill raises on purpose
    ├── RefusedToStart          nothing was sent: bad job, input, key or output folder      exit 2
    │   ├── JobError            `job.toml` or its tools are wrong; holds every fault found
    │   ├── InputError          the source cannot be read, or a column is missing or changed type
    │   └── OutputError         the output folder belongs to something else, or is locked
    ├── StorageError            a write, sync or rename failed: the run ends at once        exit 5
    ├── ProviderStop            the provider refused the key, the money or the model        exit 6
    ├── SystematicFailure       one permanent error answers every row: the job is at fault  exit 1
    └── WireError               one exchange got no complete answer (raised by `batch.http` only)

Owns what a run can end with. A failed *row* is a value (`records.Failure`), not an exception: exceptions are for what
ends a run. This module knows no other.
"""

from __future__ import annotations

from typing import Final, Literal

FailureKind = Literal[
    "input",  # the row itself: unreadable line, duplicate key, larger than max_row_bytes
    "prompt",  # the template could not be rendered over this row, or gave no usable messages
    "too_large",  # larger than the model or the whole limit takes
    "auth",  # key refused
    "balance",  # no money, plan expired, account locked
    "model",  # no such model, or not for this key or this call
    "bad_request",  # parameters or messages refused
    "content_filter",  # refused or withdrawn for its content
    "rate_limit",  # too many requests or tokens for now
    "quota",  # used up until a given time
    "overloaded",  # the model is busy
    "server",  # 5xx and the like
    "transport",  # connection refused, reset, cut
    "timeout",  # no answer within call_timeout_s or task_timeout_s
    "bad_payload",  # an answer that is no answer: HTML, broken JSON, no choices
    "task",  # the provider says that the task failed or is not known
    "served_other",  # another model answered and the job says served = "same"
    "tool_loop",  # max_turns replies and still asking for tools
    "tool",  # the tool set itself failed in a way the model cannot be told of
]
"""Why a row or a call failed; a closed set, stored in `error_kind`. Never decided by searching a message."""

EXIT_OK: Final = 0
EXIT_ROWS_FAILED: Final = 1
EXIT_REFUSED: Final = 2
EXIT_INTERRUPTED: Final = 4
EXIT_STORAGE: Final = 5
EXIT_PROVIDER: Final = 6
EXIT_BUG: Final = 70


class BatchError(Exception):
    """The base of all errors raised on purpose; the command ends with `exit_code`."""

    exit_code: int = EXIT_BUG


class RefusedToStart(BatchError):
    """A check before the first request failed: nothing was sent, nothing was paid."""

    exit_code = EXIT_REFUSED


class JobError(RefusedToStart):
    """The job is wrong.

    Attributes:
        faults: one line for each fault: key, value, what is wrong and the way out.
        where: the file they stand in.
    """

    def __init__(self, faults: list[str], *, where: str = "job.toml") -> None:
        self.faults = list(faults)
        self.where = where
        lines = "\n".join(f"  {fault}" for fault in self.faults)
        count = "1 fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        super().__init__(f"{where}: {count}\n{lines}")


class InputError(RefusedToStart):
    """The input cannot be read at all: a file is missing or broken, or a column is missing or has another type."""


class OutputError(RefusedToStart):
    """The output folder is in use, has no ledger for its results, or was made by another version."""


class StorageError(BatchError):
    """The disk refused a write, a sync or a rename; the run ends. What was acknowledged before is safe."""

    exit_code = EXIT_STORAGE


class ProviderStop(BatchError):
    """The provider refused the key, the money or the model, or makes us wait for longer than `max_park`."""

    exit_code = EXIT_PROVIDER


class SystematicFailure(BatchError):
    """Row after row failed with the same permanent error: the job is wrong, and going on would only cost money."""

    exit_code = EXIT_ROWS_FAILED


class WireError(BatchError):
    """One exchange with a provider brought no complete answer.

    Raised by `batch.http.client` alone, which translates every transport exception of a library into it.

    Attributes:
        kind: `transport`, `timeout` or `bad_payload`.
        sent: False only when it is certain that no byte of the request left; repeating such a call costs nothing.
        wrong_address: True when what answered cannot be the service, whatever it is asked: base_url is wrong.
        permanent: True when every other call would fail in the same way: the server's certificate does not verify.
    """

    def __init__(
        self, message: str, *, kind: FailureKind, sent: bool, permanent: bool = False, wrong_address: bool = False
    ) -> None:
        super().__init__(message)
        self.wrong_address = wrong_address
        self.kind: FailureKind = kind
        self.sent = sent
        self.permanent = permanent
