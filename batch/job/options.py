"""The options of one command: which rows it asks, how far it goes, and how it ends.

Owns the words of `--only`, `--retry`, `--max-failed` and `--if-running`, and the errors for misspelt ones. It does not
know flags as such: a Python caller fills the same struct. An option holds for one command and is no part of the job, so
it never makes an answer stale.
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
    """How many rows of a run may fail before its exit code says so: a number of rows or a share, never both."""

    text: str
    """The limit as it was given."""
    rows: int | None = None
    share: Fraction | None = None
    """The part of the rows that the run settled."""

    @classmethod
    def of(cls, text: str) -> MaxFailed:
        """Read a limit such as `20` (rows) or `0.5%` (of the rows settled).

        Raises:
            RefusedToStart: the text is neither.
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
        """Whether this many failed rows are within the limit."""
        if self.rows is not None:
            return failed <= self.rows
        assert self.share is not None
        return failed <= self.share * settled


class RunOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of one command, in addition to its job."""

    limit: int | None = None
    """Ask at most this many rows."""
    sample_seed: int | None = None
    """Draw the `limit` rows at random by this seed, instead of taking the first ones."""
    kinds: frozenset[Kind] = ORDINARY
    """Ask only rows that need work for one of these reasons; see `kinds_of`."""
    max_failed: MaxFailed | None = None
    if_running: IfRunning = "fail"
    wire_log: bool = False
    """Write every exchange with the provider to `OUT/wire/`."""


def kinds_of(only: str | None, *, retry_all: bool = False) -> frozenset[Kind]:
    """The kinds of rows that `--only WORDS` and `--retry all` select.

    Args:
        only: words separated by commas; None selects all of `WORDS`.
        retry_all: select rows that failed for good as well.

    Raises:
        RefusedToStart: a word is unknown or missing, or the two flags contradict each other.
    """
    words = list(WORDS) if only is None else [word.strip().lower() for word in only.split(",")]
    for word in words:
        if word not in WORDS:
            near = difflib.get_close_matches(word, WORDS, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise RefusedToStart(
                f"--only {only}: {word!r} is no reason to ask a row; give one or more of {', '.join(WORDS)}, "
                f"separated by commas.{hint}"
            )
    kinds = cast("set[Kind]", set(words))
    if retry_all and "failed" not in kinds:
        raise RefusedToStart(
            f"--retry all asks failed rows again, but --only {only} leaves them out; add failed to --only, or leave "
            "one of the two flags away"
        )
    return frozenset(kinds | {"permanent"}) if retry_all else frozenset(kinds)


def listed(kinds: Iterable[Kind]) -> tuple[Kind, ...]:
    """The kinds in the order in which they are written down."""
    given = set(kinds)
    return tuple(kind for kind in (*WORDS, "permanent") if kind in given)
