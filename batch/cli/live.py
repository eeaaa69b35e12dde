"""Shows the progress of a run: as a live line, plain lines, JSON lines, or not at all; always on stderr.

Each way is a `Show`: called with a snapshot about once a second, a context manager around the run, and the owner of the
stream that log lines go to, so that they never tear the live line. A terminal that goes away must not end a run that is
being paid for: what cannot be written is dropped.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Final, Literal, Self, TextIO, cast

from batch.cli.text import count, money
from batch.core.clock import describe, iso
from batch.core.plain import clean, escaped_json
from batch.core.redaction import redact

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

    from batch.run.progress import Progress

EVERY_S: Final = 10.0
QUICK_S: Final = 0.4
"""A start that takes longer is told where nothing is written over."""
ECHO: Final = 5
"""Columns that are left free."""
FIRST: Final = 10
"""Rows after which it is told what all will have cost."""
MOST_LINES: Final = 3
"""Of what a run waits for."""
_STARTING: Final = "{name}: looking at the job, its input and what was answered before"
_MOVING: Final = frozenset({"running", "stopping"})
_STOPPED: Final = frozenset({"stopping", "interrupted", "budget", "provider", "systematic"})


class Show:
    """Shows nothing; the base of all other ways."""

    def __init__(self) -> None:
        self.log: TextIO = cast("TextIO", _Stream(self))
        self.settled_here = 0
        """Rows settled under this command, those of a killed one before it not counted."""
        self._run: str | None = None
        self._before = 0
        self._state = ""
        self._tasks_told = 0

    def __call__(self, snapshot: Progress) -> None:
        """Take one snapshot."""
        if snapshot.run != self._run:
            self._run, self._before = snapshot.run, snapshot.done
        self.settled_here = snapshot.done - self._before
        changed, self._state = snapshot.state != self._state, snapshot.state
        with contextlib.suppress(OSError, ValueError):
            self.update(snapshot, changed=changed)
            if changed and not snapshot.run:
                self.tell(_ANOTHER.format(other=clean(snapshot.waits_for or "")))
            elif changed and (sentence := _SENTENCES.get(snapshot.state)):
                self.tell(sentence)
            if changed:
                self._tell_stop(snapshot)

    def _tell_stop(self, snapshot: Progress) -> None:
        """Say what happens now that the run stops, and in the end how many tasks stay, if they are not as many."""
        told = ""
        if snapshot.state == "stopping":
            told = _stopping(max(0, snapshot.in_flight - snapshot.waiting_tasks))
        if snapshot.state in _STOPPED and snapshot.waiting_tasks != self._tasks_told:
            self._tasks_told = snapshot.waiting_tasks
            told = f"{told} {_left(snapshot.waiting_tasks)}".strip()
        if told:
            self.tell(told)

    def starting(self, name: str) -> None:
        """Show that the command is at work although there is no run to tell of yet; `name` is the job's."""

    def update(self, snapshot: Progress, *, changed: bool) -> None:
        """Show a snapshot; `changed`: the state of the run is another than in the one before."""

    def tell(self, text: str) -> None:
        """Show one line for a person."""

    def write_log(self, text: str) -> None:
        """Write log lines, whole ones only."""
        sys.stderr.write(text)
        sys.stderr.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class Plain(Show):
    """Shows a line at the start, every ten seconds, when the state changes, and at the end."""

    _next = 0.0
    _start: threading.Timer | None = None

    def starting(self, name: str) -> None:
        """See `Show`; a line only where the start takes long, so that a command with nothing to do says nothing."""
        self._start = threading.Timer(QUICK_S, self.tell, [_STARTING.format(name=name)])
        self._start.daemon = True
        self._start.start()

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is left to be told of the start."""
        self._started()

    def _started(self) -> None:
        if self._start is not None:
            self._start.cancel()

    def update(self, snapshot: Progress, *, changed: bool) -> None:
        """See `Show`."""
        self._started()
        now = time.monotonic()
        if not snapshot.run:
            return  # the sentence says it all
        if changed or now >= self._next:
            self._next = now + EVERY_S
            self.tell(_joined((*_done(snapshot), *_doing(snapshot))))

    def tell(self, text: str) -> None:
        """See `Show`."""
        print(f"{time.strftime('%H:%M:%S')}  {clean(text)}", file=sys.stderr, flush=True)


class Lines(Show):
    """Shows one JSON object per second."""

    def update(self, snapshot: Progress, *, changed: bool) -> None:  # noqa: ARG002 - every second alike
        """See `Show`."""
        line = {"event": "progress", "ts": iso(time.time_ns() // 1000), **snapshot.public()}
        print(escaped_json(json.dumps(line, ensure_ascii=False)), file=sys.stderr, flush=True)


class Rich(Show):
    """Shows a line, or two where one is too narrow, written over in place; everything else appears above it."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
        self._live: Live | None = None
        self._narrow = False

    def starting(self, name: str) -> None:
        """See `Show`."""
        with contextlib.suppress(OSError, ValueError):
            self._show([_STARTING.format(name=name)])

    def update(self, snapshot: Progress, *, changed: bool) -> None:  # noqa: ARG002 - every second alike
        """See `Show`."""
        from rich.cells import cell_len

        done, doing = list(_done(snapshot)), _joined(_doing(snapshot))
        one = _joined([*done, doing])
        # What was too long once will be so again: a line that jumps is harder to read than two.
        self._narrow = self._narrow or cell_len(one) > self._width
        while len(done) > 1 and cell_len(_joined(done)) > self._width:
            done.pop()  # whole parts, the least important first: half an amount of money is another one
        self._show([_joined(done), doing] if self._narrow and doing else [one])

    @property
    def _width(self) -> int:
        """Columns to write into; the rest is for the `^C` of the terminal, which else begins a line of its own."""
        return max(20, self._console.width - ECHO)

    def _show(self, lines: Sequence[str]) -> None:
        """Write over what was shown: the first line cut to the width, the last one wrapped."""
        from rich.live import Live
        from rich.text import Text

        *first, last = [Text(clean(line)) for line in lines]
        for text in first:
            text.truncate(self._width, overflow="ellipsis")
        wrapped = last.wrap(self._console, self._width)[:MOST_LINES]
        for text in wrapped:
            text.rstrip()
        shown = Text("\n").join([*first, *wrapped])
        shown.no_wrap = True
        if self._live is None:
            self._live = Live(console=self._console, auto_refresh=False, transient=True, redirect_stdout=False)
            self._live.start()
        self._live.update(shown, refresh=True)

    def tell(self, text: str) -> None:
        """See `Show`."""
        from rich.text import Text

        self._console.print(Text(clean(text)), highlight=False)

    def write_log(self, text: str) -> None:
        """See `Show`; not wrapped, so that a JSON line stays one line."""
        from rich.text import Text

        for line in text.splitlines():
            self._console.print(Text(clean(line)), soft_wrap=True, highlight=False)

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the line away."""
        with contextlib.suppress(OSError, ValueError):
            if self._live is not None:
                self._live.stop()
                self._live = None


class _Stream(io.TextIOBase):
    """The stream that loggers write to: it passes whole lines on, and bears a stderr that is gone."""

    def __init__(self, show: Show) -> None:
        self._show = show
        self._kept = ""

    def write(self, text: str, /) -> int:
        """Pass on what ends with a newline, keep the rest."""
        whole, newline, rest = (self._kept + text).rpartition("\n")
        self._kept = rest
        if newline:
            with contextlib.suppress(OSError, ValueError):
                self._show.write_log(whole + newline)
        return len(text)

    def writable(self) -> bool:
        """Yes."""
        return True


def show(wanted: Literal["auto", "rich", "plain", "json", "none"]) -> Show:
    """The way of showing that was asked for, or with `auto` the one that fits the terminal."""
    if wanted == "none":
        return Show()
    if wanted == "json":
        return Lines()
    if wanted == "plain" or not _animates():
        return Plain()
    from rich.console import Console

    console = Console(stderr=True)
    return Rich(console) if console.is_interactive and not console.is_dumb_terminal else Plain()


def _animates() -> bool:
    """Whether stderr is a terminal that can write a line over; that of a CI never can, whatever it says it is."""
    return (
        sys.stderr.isatty() and os.environ.get("TERM", "") not in ("", "dumb", "unknown") and not os.environ.get("CI")
    )


def _joined(parts: Iterable[str]) -> str:
    return " · ".join(part for part in parts if part)


def _done(snapshot: Progress) -> Iterator[str]:
    """What was done so far, the most important first; what is not known is not shown as a number."""
    if not snapshot.run:
        return  # there is no run yet
    totals = snapshot.totals
    # As far as the source was read; more may have settled since the snapshot's planning.
    expected = max(snapshot.expected, snapshot.done) if snapshot.expected is not None else None
    of = " of ?" if expected is None else f"/{expected:,}"
    percent = f" ({_percent(snapshot.done, expected)} %)" if expected else ""
    yield f"{snapshot.done:,}{of} rows{percent}"
    yield f"{totals.rows_failed:,} failed" if totals.rows_failed else ""
    if snapshot.state not in _MOVING:
        yield snapshot.state.replace("_", " ")
    else:
        yield f"{snapshot.rate:.1f} rows/s"
        yield f"left {describe(snapshot.left_s)}" if snapshot.left_s is not None else ""
    yield count(totals.total_tokens, "token")
    unknown = totals.unknown + totals.unknown_usage + totals.unpriced
    yield money(totals.cost) + _of_all(snapshot)
    yield _money_left(snapshot)
    yield f"cost of {count(unknown, 'call')} unknown" if unknown else ""


def _of_all(snapshot: Progress) -> str:
    """What all will have cost, behind what was spent so far; nothing at the end, where the two are the same."""
    if snapshot.state not in _MOVING or not snapshot.projected or snapshot.done < FIRST:
        return ""
    return f" of about {money(snapshot.projected)}"


def _money_left(snapshot: Progress) -> str:
    """How much money is left of the run's budget, and of the day's."""
    words = {"max_cost": "left", "per_day": "left today"}
    return ", ".join(f"{snapshot.budget[key]['left']} {word}" for key, word in words.items() if key in snapshot.budget)


def _doing(snapshot: Progress) -> Iterator[str]:
    """What happens now, and what it waits for."""
    yield "stopping" if snapshot.state == "stopping" else ""
    # Nobody waits for a task any more once the run stops: it stays where it is.
    calls = max(0, snapshot.in_flight - (snapshot.waiting_tasks if snapshot.state == "stopping" else 0))
    yield f"{calls:,} in flight" if snapshot.state in _MOVING and (calls or snapshot.state != "stopping") else ""
    yield f"{count(snapshot.waiting_tasks, 'task')} waiting" if snapshot.waiting_tasks else ""
    yield f"{count(snapshot.waiting_rows, 'row')} to be tried again" if snapshot.waiting_rows else ""
    yield f"waits for {clean(redact(snapshot.waits_for))}" if snapshot.waits_for else ""
    yield f"auto: {clean(snapshot.auto)}" if snapshot.auto and snapshot.state in _MOVING else ""


def _percent(done: int, expected: int) -> int:
    # Never 100 before the last row, never 0 after the first.
    return min(99, max(1, done * 100 // expected)) if 0 < done < expected else done * 100 // max(1, expected)


def _stopping(calls: int) -> str:
    """What happens now, and what a second stop does; `calls` are those that an answer comes to by itself."""
    if not calls:
        return "stopping: nothing more is sent, and no call is in flight."
    it, is_, them = ("it", "is", "it") if calls == 1 else ("they", "are", "them")
    return (
        f"stopping: nothing more is sent, {count(calls, 'call')} in flight may finish (30 s at most). "
        f"Ctrl-C again cuts {them}: {it} {is_} booked as unknown, may be billed all the same, and asked again."
    )


def _left(tasks: int) -> str:
    if not tasks:
        return "No task stays with the provider."
    stay, them = ("stays", "it") if tasks == 1 else ("stay", "them")
    return f"{count(tasks, 'task')} {stay} with the provider: the same command collects {them}."


_ANOTHER: Final = "{other} is at work in the output folder: waiting until it ends. Ctrl-C gives up."
_SENTENCES: Final[dict[str, str]] = {
    "selection_changed": "other rows are asked for than before the kill: what had been sent is closed, the run goes on "
    "with a look at all rows.",
    "job_changed": "the job was changed: what it had sent before is closed, the run goes on with the new one.",
    "input_changed": "the input was changed: what had been sent before is closed, the run goes on with the new one.",
}
