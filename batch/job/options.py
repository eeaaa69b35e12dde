"""The options of one command: which rows it asks, how far it goes, and how it ends.

Owns the words of `--only`, `--retry`, `--max-failed` and `--if-running`, and the errors for misspelt ones. It does not
know flags as such: a Python caller fills the same struct. An option holds for one command and is no part of the job, so
it never makes an answer stale.
"""

from __future__ import annotations

import operator
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, Literal, cast, get_args

import msgspec

from batch.core.errors import RefusedToStart
from batch.core.nearest import suggestion

Kind = Literal["new", "changed", "failed", "short", "permanent"]
"""Why a row needs work: no outcome yet, another question than the one answered, failed for a passing reason, short of
samples, failed for good."""
KINDS: Final[dict[Kind, str]] = {
    "new": "The row has no answer in the table yet.",
    "changed": "What is asked is not what was answered: the row, the prompt, the model, its parameters or the tools "
    "changed.",
    "failed": "The row failed for a passing reason when it was last asked, so it is worth another try.",
    "short": "The row is short of samples: labels.samples was raised since. It is asked for the missing ones alone.",
    "permanent": "The row failed for good. It is asked again when what is asked changes, or with --retry all.",
}
"""What each kind means, for people."""
IfRunning = Literal["fail", "wait", "skip"]

WORDS: Final[tuple[Kind, ...]] = ("new", "changed", "failed", "short")
"""What `--only` chooses from. Failed for good is no word of it: those rows are asked again with `--retry all` alone."""
ORDINARY: Final[frozenset[Kind]] = frozenset(WORDS)

CLIENT: Final = "ray://"
"""Beginning of the address of a Ray Client server: a cluster that is reached from a machine outside of it."""
MOST_WORKERS: Final = 64
_COUNT: Final = re.compile(r"[0-9]{1,15}")
_RAY: Final = re.compile(r"ray:(?://)?(?P<address>(?:[A-Za-z0-9_.-]+|\[[0-9a-fA-F:.]+\]):(?P<port>[0-9]{1,5}))")
_PERCENT: Final = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,12})?) ?%")


class MaxFailed(msgspec.Struct, frozen=True):
    """How many rows of a run may fail before its exit code says so: a number of rows or a share, never both."""

    text: str
    """The limit as it was given."""
    rows: int | None = None
    share: Fraction | None = None
    """The part of the rows that the run settled."""

    @classmethod
    def of(cls, text: str, *, option: str = "--max-failed") -> MaxFailed:
        """Read a limit such as `20` (rows) or `0.5%` (of the rows settled).

        Args:
            text: the limit as it was given.
            option: how the error calls the option.

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
            f"{option} {text}: give a number of rows, such as 20, or a share of the rows this run settles, such as "
            "0.5% (0% to 100%)"
        )

    def kept(self, *, failed: int, settled: int) -> bool:
        """Whether this many failed rows are within the limit."""
        if self.rows is not None:
            return failed <= self.rows
        assert self.share is not None
        return failed <= self.share * settled


class RayPlace(msgspec.Struct, frozen=True):
    """The Ray on which workers run."""

    text: str
    """As it was given."""
    address: str | None = None
    """Of a running cluster, in the form that Ray takes; None for a Ray of this run's own, on this machine."""

    @property
    def client(self) -> bool:
        """Whether it is reached by Ray Client."""
        return self.address is not None and self.address.startswith(CLIENT)


class RunOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of one command, in addition to its job.

    In code `max_failed` may be given as a number of rows or a text such as `"0.5%"`, and `kinds` as any collection of
    its words; what is read is what the fields say before `Any`.
    """

    limit: int | None = None
    """Ask at most this many rows."""
    sample_seed: int | None = None
    """Draw the `limit` rows at random by this seed, instead of taking the first ones."""
    kinds: frozenset[Kind] | Any = ORDINARY
    """Ask only rows that need work for one of these reasons; see `kinds_of`."""
    max_failed: MaxFailed | Any = None
    if_running: IfRunning = "fail"
    no_wait: bool = False
    """In lane `bulk` or `auto`: end when everything is at the provider, instead of waiting for its batches."""
    wire_log: bool = False
    """Write every exchange with the provider to `OUT/wire/`."""
    workers: int | Any = 1
    """How many processes make the exchanges with the provider: a number, or `"auto"`."""
    on: RayPlace | Any = None
    """Where these processes run: `"ray"`, `"ray:HOST:PORT"`, `"ray://HOST:PORT"`, or None for this machine."""
    prices: Path | Any = None
    """A price file that wins over those of the job and over the book."""
    otel: bool = False
    """Send metrics and traces by OpenTelemetry."""
    otel_rows: Fraction | Any = Fraction(1, 100)
    """The share of the rows that are traced: a text such as `"1%"`, or a number from 0 to 1."""
    metrics_file: Path | Any = None
    """Where `OUT/metrics.prom` is written, too: the folder of `node_exporter`'s textfile collector."""

    def __post_init__(self) -> None:
        """Take what code may say for what the fields hold.

        Raises:
            RefusedToStart: a value is none that the option takes.
        """
        put = msgspec.structs.force_setattr
        for name in ("limit", "sample_seed"):
            if (value := getattr(self, name)) is not None:
                put(self, name, _whole(name, value))
        if self.limit is not None and self.limit < 1:
            raise RefusedToStart(f"limit = {self.limit}: give at least 1 row, or leave it out for all")
        if self.sample_seed is not None and self.limit is None:
            raise RefusedToStart(
                "sample_seed draws a sample, so it needs a limit; a whole run keeps the order of the input"
            )
        put(self, "kinds", _kinds(self.kinds))
        if self.max_failed is not None and not isinstance(self.max_failed, MaxFailed):
            put(self, "max_failed", MaxFailed.of(str(self.max_failed), option="max_failed ="))
        if self.if_running not in get_args(IfRunning):
            raise RefusedToStart(f"if_running = {self.if_running!r}: give one of {', '.join(get_args(IfRunning))}")
        for name in ("wire_log", "no_wait", "otel"):
            if not isinstance(getattr(self, name), bool):
                raise RefusedToStart(f"{name} = {getattr(self, name)!r}: give True or False")
        put(self, "workers", workers_of(self.workers, option="workers ="))
        if self.on is not None and not isinstance(self.on, RayPlace):
            put(self, "on", place_of(self.on, option="on ="))
        put(self, "otel_rows", share_of(self.otel_rows, option="otel_rows ="))
        for name, what in (("prices", "a price file"), ("metrics_file", "a file that is written")):
            if (path := getattr(self, name)) is not None:
                if not isinstance(path, (str, Path)):
                    raise RefusedToStart(f"{name} = {path!r}: give the path of {what}, or leave it out")
                put(self, name, Path(path).expanduser())


def share_of(given: Any, *, option: str) -> Fraction:
    """A share of all rows.

    Args:
        given: a text such as `1%`, or a number from 0 to 1.
        option: how the error calls the option.

    Raises:
        RefusedToStart: it is neither.
    """
    match = _PERCENT.fullmatch(given.strip()) if isinstance(given, str) else None
    if match is not None and (share := Fraction(match[1]) / 100) <= 1:
        return share
    if isinstance(given, (int, float, Fraction)) and not isinstance(given, bool) and 0 <= given <= 1:
        return Fraction(given)
    raise RefusedToStart(f"{option} {given}: give a share of the rows, such as 1% (0% to 100%)")


def workers_of(given: Any, *, option: str) -> int:
    """How many workers there are to be, as one of the forms says.

    Args:
        given: a number, alone or as a text; or `auto`: one less than there are processors for this process, because it
            needs one itself.
        option: how the error calls the option.

    Raises:
        RefusedToStart: it is none of these.
    """
    if given == "auto":
        return min(max(1, processors() - 1), MOST_WORKERS)
    text = str(given).strip()
    if not isinstance(given, bool) and text.isascii() and text.isdigit() and 1 <= int(text) <= MOST_WORKERS:
        return int(text)
    raise RefusedToStart(f"{option} {given}: give a number of processes from 1 to {MOST_WORKERS}, or auto")


def place_of(given: Any, *, option: str) -> RayPlace:
    """Where workers run, as one of the forms says.

    Args:
        given: `ray`, or `ray:HOST:PORT` or `ray://HOST:PORT` with the address of a running cluster.
        option: how the error calls the option.

    Raises:
        RefusedToStart: it is none of these.
    """
    text = given.strip() if isinstance(given, str) else ""
    if text == "ray":
        return RayPlace(text)
    match = _RAY.fullmatch(text)
    if match is not None and 0 < int(match["port"]) < 65_536:
        return RayPlace(text, text if text.startswith(CLIENT) else match["address"])
    raise RefusedToStart(
        f"{option} {given}: give ray for a Ray that this run starts on this machine, ray:HOST:PORT for a running "
        "cluster that this machine belongs to, such as ray:10.0.0.5:6379, or ray://HOST:PORT for a Ray Client server"
    )


def processors() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _whole(name: str, value: Any) -> int:
    """A whole number that code gave to an option, whatever its type is called; no text and no truth value.

    Raises:
        RefusedToStart: it is none.
    """
    with suppress(TypeError):
        if not isinstance(value, bool):
            return operator.index(value)
    advice = ", without quotes" if isinstance(value, str) else ""
    raise RefusedToStart(f"{name} = {value!r}: give a whole number{advice}, or leave it out")


def _kinds(given: Any) -> frozenset[Kind]:
    """The kinds that code gave, as one word or as any collection of them.

    Raises:
        RefusedToStart: there is none, or one that is unknown.
    """
    words = (given,) if isinstance(given, str) or not isinstance(given, Iterable) else tuple(given)
    allowed = get_args(Kind)
    if not words or any(word not in allowed for word in words):
        raise RefusedToStart(f"kinds = {given!r}: give one or more of {', '.join(allowed)}")
    return frozenset(words)


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
            hint = suggestion(word, WORDS)
            raise RefusedToStart(
                f"--only {only}: {word!r} is no reason to ask a row; give one or more of {', '.join(WORDS)}, "
                f"separated by commas. {hint}".rstrip()
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
