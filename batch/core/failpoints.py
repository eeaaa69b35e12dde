"""Failpoints: named places where a test can kill the process, one at every durable step of a row's life.

Owns their names. `PROMPTMILL_FAILPOINT="sent.committed:3"` kills this process with SIGKILL the third time it passes
`sent.committed`. Nothing is armed in production, where passing a point costs one comparison. It does not know what
happens at a point. The names are listed here so that the kill test can go through all of them, and so that an unknown
name is an error rather than a test that cannot fail.
"""

from __future__ import annotations

import os
import signal
from typing import Final

VARIABLE: Final = "PROMPTMILL_FAILPOINT"

NAMES: Final = (
    "spill.written",  # range file named, admission not committed
    "admitted.committed",
    "sent.committed",  # before the first byte leaves
    "sent.left",  # sync: bytes left, no answer read; task: submit left
    "accepted.received",  # task id in memory only
    "accepted.committed",
    "answered.received",  # the reply is in memory only
    "answered.committed",  # an inner turn of a tool loop is durable
    "tool.intended",  # a tool with effects is about to run, and the ledger says so
    "tool.ran",  # the tool returned, its result is in memory only
    "tool.committed",
    "settled.committed",
    "copies.ended",  # the answer of a row that was asked for others too is kept for them, or the next of them is asked
    "copies.settled",  # some of these have it
    "bulk.written",  # the file of a batch is whole, and the ledger does not know it
    "bulk.built",  # the ledger knows it with all its calls, nothing was sent
    "bulk.uploaded",
    "bulk.answered",  # the batch is made, and the ledger does not know it
    "bulk.created",
    "bulk.cancelled",  # the provider was told to cancel it, for its time is over
    "bulk.ended",  # it was found to have ended
    "bulk.downloaded",  # a file of answers is on the disk
    "bulk.line",  # a line of it was concluded
    "bulk.collected",
    "bulk.found",  # batches that were lost with the ledger are known again
    "publish.calls_written",  # temporary file of the calls part synced
    "publish.calls_named",
    "publish.results_written",
    "publish.results_named",
    "publish.rewrite_written",  # the same two for a part that existed before
    "publish.rewrite_named",
    "publish.committed",  # ledger knows the parts and has pruned most records; spills and other records are still there
    "publish.spill_removed",
    "prune.part_written",  # temporary file without the rows that leave synced, the leaving ones named in the ledger
    "prune.part_named",  # the index still has them
    "prune.committed",  # the index has forgotten them; a part without rows is still there
    "prune.part_removed",
    "run.closed",
)

armed: dict[str, int] = {}
"""Those that are armed, and how often each is still passed: what is done once a row looks before it calls `hit`."""


def arm(spec: str | None) -> None:
    """Arm the point that `name` or `name:count` names; None disarms all.

    Raises:
        ValueError: no point has this name.
    """
    armed.clear()
    if not spec:
        return
    name, _, count = spec.partition(":")
    if name not in NAMES:
        raise ValueError(f"{VARIABLE}: no failpoint is called {name!r}")
    armed[name] = int(count or 1)


def hit(name: str) -> None:
    """Pass the point of this name: when it is armed and its count is reached, the process dies here."""
    if armed and name in armed:
        armed[name] -= 1
        if armed[name] <= 0:
            os.kill(os.getpid(), signal.SIGKILL)


arm(os.environ.get(VARIABLE))
