"""The exception tree, the failure kinds and the exit codes.

    BatchError                  everything promptmill raises on purpose
    ├── RefusedToStart          nothing was sent: bad job, input, key or output folder      exit 2
    │   ├── JobError            `job.toml` or its tools are wrong; holds every fault found
    │   ├── InputError          the source cannot be read, or a column is missing or changed type
    │   └── OutputError         the output folder belongs to something else, or is locked
    ├── StorageError            a write, sync or rename failed: the run ends at once        exit 5
    ├── BudgetReached           what the next call can come to is more than the budget has left     exit 3
    ├── ProviderStop            the provider refused the key, the money or the model        exit 6
    ├── BatchNotEnded           a batch was cancelled, and the provider does not end it     exit 7
    ├── SystematicFailure       one permanent error answers every row: the job is at fault  exit 1
    └── WireError               one exchange got no complete answer (it ends no run)

Owns what a run can end with, and the one sentence that says so of each kind and code. A failed *row* is a value
(`records.Failure`), not an exception: exceptions are for what ends a run. This module knows no other.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from functools import wraps
from typing import Any, Final, Literal, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

FailureKind = Literal[
    "input",
    "prompt",
    "too_large",
    "auth",
    "balance",
    "model",
    "bad_request",
    "content_filter",
    "rate_limit",
    "quota",
    "overloaded",
    "server",
    "transport",
    "timeout",
    "bad_payload",
    "task",
    "served_other",
    "tool_loop",
    "tool",
    "label",
]
"""Why a row or a call failed; a closed set, stored in `error_kind`. Never decided by searching a message."""

FAILURES: Final[dict[FailureKind, str]] = {
    "input": "The row itself: an unreadable line, a repeated key, more than input.max_row_bytes, or nothing to ask "
    "(empty: prompt.empty says what to do with such rows). It is never sent.",
    "prompt": "The template could not be rendered over this row, or gave no usable messages. It is never sent.",
    "too_large": "The request is larger than the model takes, or than the whole tokens_per_minute.",
    "auth": "The key was refused. If it is refused for every row, the run stops with exit 6.",
    "balance": "No money is left, the plan has expired, or the account is locked: the run stops with exit 6.",
    "model": "There is no such model, or not for this key or this call.",
    "bad_request": "The provider refused the parameters or the messages.",
    "content_filter": "The request or the answer was refused or withdrawn for its content.",
    "rate_limit": "Too many requests or tokens for now. Such calls wait and are sent again.",
    "quota": "A limit of the provider's is used up until a given time.",
    "overloaded": "The model is busy. Such calls wait and are sent again.",
    "server": "The provider failed: HTTP 5xx and the like.",
    "transport": "The connection was refused, reset or cut.",
    "timeout": "No answer came within limits.call_timeout_s, no result within limits.task_timeout_s, or the row was "
    "open for limits.deadline_s.",
    "bad_payload": "What came is no answer: a web page, broken JSON, no choices.",
    "task": "The provider says that the task failed, or that it does not know it.",
    "served_other": 'Another model answered, and the job says model.served = "same".',
    "tool_loop": "After tools.max_turns replies the model still asked for tools (max_turns), or it repeated a failing "
    "call turn after turn (same_call). The conversation is kept.",
    "tool": "It is not known whether a tool with effects ran: the process ended while it was at work (interrupted), or "
    "an earlier attempt at the row did something else in its place (acted_before). tools.policy says what to do then.",
    "label": "No valid label was said, after labels.reasks and labels.escalate; what was said last is in answer. "
    "Raising reasks, setting escalate or changing the labels asks such rows again.",
}
"""What each kind means, for people."""

EXIT_OK: Final = 0
EXIT_ROWS_FAILED: Final = 1
EXIT_REFUSED: Final = 2
EXIT_BUDGET: Final = 3
EXIT_INTERRUPTED: Final = 4
EXIT_STORAGE: Final = 5
EXIT_PROVIDER: Final = 6
EXIT_WAITING: Final = 7
EXIT_BUG: Final = 70

EXITS: Final[dict[int, str]] = {
    EXIT_OK: "every row of this run is ok, or no more failed than --max-failed allows; or there was nothing to do",
    EXIT_ROWS_FAILED: "finished, but rows failed; for check, tools and rebuild: what was looked at is not sound",
    EXIT_REFUSED: "refused to start: the command, the job, the input, the key or the output folder is wrong; "
    "for doctor: something would stop a run",
    EXIT_BUDGET: "stopped by a budget; the same command goes on with the next run",
    EXIT_INTERRUPTED: "interrupted; the same command continues",
    EXIT_STORAGE: "the disk refused a write, or an object store did not answer; the same command goes on",
    EXIT_PROVIDER: "the provider refused the key, the money or the model",
    EXIT_WAITING: "waiting: batches are at the provider (--no-wait, or a cancelled one does not end); the same command "
    "collects them",
    EXIT_BUG: "a bug of ours",
}
"""What each exit code means, for people."""


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


class BudgetReached(BatchError):
    """The next call can come to more than a limit of `[budget]` has left; everything that was answered is kept."""

    exit_code = EXIT_BUDGET


class ProviderStop(BatchError):
    """The provider refused the key, the money or the model, or makes us wait for longer than `max_park`."""

    exit_code = EXIT_PROVIDER


class BatchNotEnded(BatchError):
    """A batch was cancelled and stays where it is: nothing else is left to be done before the provider ends it."""

    exit_code = EXIT_WAITING


class SystematicFailure(BatchError):
    """Row after row failed with the same permanent error: the job is wrong, and going on would only cost money."""

    exit_code = EXIT_ROWS_FAILED


class WireError(BatchError):
    """One exchange with a provider brought no complete answer.

    Raised by `batch.http.client`, which translates every transport exception of a library into it, and by whoever has
    another process make the exchange.

    Attributes:
        kind: `transport`, `timeout` or `bad_payload`.
        sent: False only when it is certain that no byte of the request left; repeating such a call costs nothing.
        wrong_address: True when what answered cannot be the service, whatever it is asked: base_url is wrong.
        permanent: True when every other call would fail in the same way: the server's certificate does not verify.
        code: of the failure that it becomes, where it says nothing of the provider; else None.
    """

    def __init__(
        self,
        message: str,
        *,
        kind: FailureKind,
        sent: bool,
        permanent: bool = False,
        wrong_address: bool = False,
        code: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.wrong_address = wrong_address
        self.kind: FailureKind = kind
        self.sent = sent
        self.permanent = permanent


def leaves(exc: BaseException) -> Iterator[BaseException]:
    """The exceptions in a group, however deep; of any other exception, itself."""
    if isinstance(exc, BaseExceptionGroup):
        for inner in exc.exceptions:
            yield from leaves(inner)
    else:
        yield exc


def foremost(exc: BaseException) -> BaseException:
    """The exception of a group that says most to a caller: one raised on purpose, else the first.

    The texts of the others become notes of it, because two things may well have gone wrong at once.
    """
    found = list(leaves(exc))
    chosen = next((leaf for leaf in found if isinstance(leaf, BatchError) and leaf.exit_code != EXIT_BUG), found[0])
    for other in found:
        if other is not chosen:
            chosen.add_note(f"at the same time: {type(other).__name__}: {other}")
    return chosen


def ungrouped(call: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """A coroutine function whose exceptions reach the caller as themselves, not in the groups of its tasks."""

    @wraps(call)
    async def alone(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await call(*args, **kwargs)
        except BaseExceptionGroup as exc:
            fallen = foremost(exc)
        # Out here the group is not its context: the caller sees what happened, not who waited for whom.
        raise fallen

    return alone
