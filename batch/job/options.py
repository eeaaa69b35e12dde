"""What one command adds to a job: which rows it asks, how far it goes, and how it ends.

Owns the words of `--only`, `--retry`, `--max-failed` and `--if-running`, and what is told when they are misspelt. An
option holds for one command alone and is no part of the job, so it never makes an answer stale.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from fractions import Fraction
from typing import Final, Literal, cast

import msgspec

from batch.core.errors import RefusedToStart

Kind = Literal["new", "changed", "failed", "permanent"]
"""Why a row needs work: no outcome yet, another question than the one answered, failed for a passing reason, failed
for good."""
IfRunning = Literal["fail", "wait", "skip"]

WORDS: Final[tuple[Kind, ...]] = ("new", "changed", "failed")
"""What `--only` chooses from. Failed for good is no word of it: those rows are asked again with `--retry all` alone."""
ORDINARY: Final[frozenset[Kind]] = frozenset(WORDS)

_COUNT: Final = re.compile(r"[0-9]{1,15}")
_PERCENT: Final = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,12})?) ?%")


class MaxFailed(msgspec.Struct, frozen=True):
    """How many rows of a run may fail before its exit code says so; `text` as it was given."""

    text: str
    rows: int | None = None
    share: Fraction | None = None
    """Of the rows the run settled; exactly one of the two is set."""

    @classmethod
    def of(cls, text: str) -> MaxFailed:
        """Read `20` (rows) or `0.5%` (of the rows settled).

        Raises:
            RefusedToStart: it is neither.
        """
        given = text.strip()
        if _COUNT.fullmatch(given):
            return cls(given, rows=int(given))
        match = _PERCENT.fullmatch(given)
        if match is not None and (share := Fraction(match[1]) / 100) <= 1:
            return cls(given, share=share)
        raise RefusedToStart(
            f"--max-failed {text}: give a number of rows, such as 20, or a share of the rows this run settles, such as "
            "0.5% (0% to 100%)"
        )

    def kept(self, *, failed: int, settled: int) -> bool:
        """Whether so many failed rows are within it."""
        if self.rows is not None:
            return failed <= self.rows
        assert self.share is not None
        return failed <= self.share * settled


class RunOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What one command adds to its job."""

    limit: int | None = None
    """Ask at most this many rows."""
    sample_seed: int | None = None
    """Draw the `limit` rows by this seed instead of taking the first ones."""
    kinds: frozenset[Kind] = ORDINARY
    """Ask only rows that need work for one of these reasons; see `kinds_of`."""
    max_failed: MaxFailed | None = None
    if_running: IfRunning = "fail"
    wire_log: bool = False
    """Write every exchange with the provider to `OUT/wire/`."""


def kinds_of(only: str | None, *, retry_all: bool = False) -> frozenset[Kind]:
    """The reasons for work that `--only WORDS` and `--retry all` select.

    Args:
        only: words separated by commas; None for all of them.
        retry_all: rows that failed for good are asked again too.

    Raises:
        RefusedToStart: a word is unknown, there is none, or the two flags contradict each other.
    """
    words = list(WORDS) if only is None else [word.strip().lower() for word in only.split(",")]
    for word in words:
        if word not in WORDS:
            near = difflib.get_close_matches(word, WORDS, n=1)
            meant = f" Did you mean {near[0]}?" if near else ""
            raise RefusedToStart(
                f"--only {only}: {word!r} is no reason to ask a row; give one or more of {', '.join(WORDS)}, "
                f"separated by commas.{meant}"
            )
    kinds = cast("set[Kind]", set(words))
    if retry_all and "failed" not in kinds:
        raise RefusedToStart(
            f"--retry all asks failed rows again, but --only {only} leaves them out; add failed to --only, or leave "
            "one of the two flags away"
        )
    return frozenset(kinds | {"permanent"}) if retry_all else frozenset(kinds)


def listed(kinds: Iterable[Kind]) -> tuple[Kind, ...]:
    """The kinds in their own order, as they are written down."""
    given = set(kinds)
    return tuple(kind for kind in (*WORDS, "permanent") if kind in given)
