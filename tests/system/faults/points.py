"""Which faults a campaign or a test strikes: every operation an undisturbed run makes, or an even choice of them."""

from __future__ import annotations

import errno
from itertools import cycle, islice
from typing import TYPE_CHECKING

from tests.system.faults.disk import KINDS, Fault, How, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.system.faults.stage import Scene

WAYS: tuple[tuple[How, int, bool], ...] = (
    ("once", errno.EIO, False),
    ("for_ever", errno.ENOSPC, True),
    ("torn_cut", errno.EIO, True),
    ("once", errno.ENOSPC, True),
    ("cut", errno.EIO, False),
    ("for_ever", errno.EIO, False),
)
FEW = 30
"""Operations of one kind in one run up to which each is struck."""


def points(scenes: Sequence[Scene], most: int, shift: int = 0) -> Iterator[tuple[Scene, Fault]]:
    """Every operation of the file layer in three ways, those of the ledger in one; at most so many of all, spread."""
    found = [(scene, fault) for scene in scenes for kind in KINDS for fault in faults(scene, kind, shift=shift)]
    step = max(1.0, len(found) / most) if most else 1.0
    return (found[int(n * step)] for n in range(int(len(found) / step)))


def faults(scene: Scene, kind: Kind, *, most: int = 0, shift: int = 0) -> list[Fault]:
    """The faults of one kind in one scene, `most` of them when it is not 0."""
    count = scene.passed[kind]
    ways = 3 if kind.startswith("file.") else 1
    dense = FEW if scene.lane == "sync" else FEW // 3  # a run by tasks waits for its polls
    step = max(1.0, count / (3 * dense if kind in ("ledger.write", "ledger.sync") else dense))
    chosen = [1 + int(n * step) for n in range(int(count / step))]
    turns = islice(cycle(WAYS), shift, None)
    found = [Fault(kind, at, *next(turns)) for at in chosen for _ in range(ways)]
    return found if not most else [found[n * len(found) // most] for n in range(min(most, len(found)))]
