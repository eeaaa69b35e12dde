"""`promptmill status --watch`: looks at an output folder again and again until nobody is at work in it.

Owns when it looks, what counts as a change, and how a terminal is painted over. What stands in a folder is found out by
`report.status`, and how it reads is `status`'s.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, Protocol, Self

from batch.cli.text import count, money, say
from batch.core.clock import describe
from batch.core.errors import EXIT_INTERRUPTED, EXIT_OK, StorageError
from batch.core.plain import clean

if TYPE_CHECKING:
    from types import TracebackType

    from rich.live import Live

    from batch.report.status import Status

SHARE: Final = 9
"""A look that took long is followed by a rest that is so many times as long: the run beside it needs the machine."""
TRIES: Final = 5
"""So many looks in a row may meet a file that is being replaced."""


class Painter(Protocol):
    """One way of showing a status again and again."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, current: Status) -> None:
        """Show how the folder stands now."""


def watch(
    look: Callable[[], Status], painter: Painter, every_s: float, *, sleep: Callable[[float], None] = time.sleep
) -> int:
    """Show the status of a folder until nobody is at work in it.

    Args:
        look: finds out how the folder stands.
        painter: shows it.
        every_s: seconds between two looks, at least.
        sleep: waits.

    Returns:
        What the command of the last run ended with; `EXIT_INTERRUPTED` when it was killed, or when Ctrl-C ends this.

    Raises:
        StorageError: the folder cannot be read, however often it is tried.
    """
    failed = 0
    try:
        with painter:
            while True:
                began = time.monotonic()
                try:
                    current = look()
                except StorageError:
                    failed += 1  # a part may have been replaced while it was read
                    if failed >= TRIES:
                        raise
                else:
                    failed = 0
                    painter.show(current)
                    if not current.locked:
                        return exit_code(current)
                sleep(max(every_s, SHARE * (time.monotonic() - began)))
    except KeyboardInterrupt:
        print("promptmill: no longer watching; the run goes on.", file=sys.stderr)
        return EXIT_INTERRUPTED


def exit_code(current: Status) -> int:
    """What the command of the last run ended with."""
    if current.state == "never":
        return EXIT_OK
    return EXIT_INTERRUPTED if current.exit_code is None else current.exit_code


class Screen:
    """Paints the whole status over in a terminal, and leaves the last one standing.

    Args:
        lines: of a status.
    """

    def __init__(self, lines: Callable[[Status], Iterator[str]]) -> None:
        self._lines = lines
        self._live: Live | None = None
        self._last: Sequence[str] = ()

    def __enter__(self) -> Self:
        from rich.console import Console
        from rich.live import Live

        self._live = Live(console=Console(), auto_refresh=False, transient=True, vertical_overflow="ellipsis")
        self._live.start()
        return self

    def show(self, current: Status) -> None:
        """See `Painter`."""
        from rich.text import Text

        assert self._live is not None
        self._last = list(self._lines(current))
        text = Text(clean("\n".join(self._last), lines=True), no_wrap=True, overflow="ellipsis")
        self._live.update(text, refresh=True)

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take away what is painted over, and print the last status as `status` does."""
        if self._live is not None:
            self._live.stop()
        if self._last and (kind is None or kind is KeyboardInterrupt):
            say(self._last)


class Changes:
    """Prints a line for each change, where nothing can be painted over.

    Args:
        line: of a status.
    """

    def __init__(self, line: Callable[[Status], str]) -> None:
        self._line = line
        self._told: object = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def show(self, current: Status) -> None:
        """See `Painter`."""
        seen = _seen(current)
        if seen != self._told:
            self._told = seen
            say([self._line(current)])
            sys.stdout.flush()


def _seen(current: Status) -> tuple[object, ...]:
    """What a change is a change of: not the rate, which is another at every look."""
    totals, live = current.totals, current.live
    waits = (live.in_flight, live.waiting_tasks, live.waiting_rows, live.waits_for) if live is not None else ()
    return (current.run, current.state, current.locked, totals.rows_ok, totals.rows_failed, totals.calls, waits)


def line(current: Status) -> str:
    """A status in one line: the time, how the run stands, its rows, speed, tokens and money."""
    totals, live = current.totals, current.live
    parts = [current.state.replace("_", " ")]
    expected = live.expected if live is not None else None
    of = f"/{expected:,}" if expected is not None else ""
    parts.append(f"{totals.rows:,}{of} rows")
    parts += [f"{totals.rows_failed:,} failed"] if totals.rows_failed else []
    if live is not None:
        parts += [f"{live.rows_per_second:.1f} rows/s", f"{live.in_flight:,} in flight"]
        parts += [f"left {describe(live.left_s)}"] if live.left_s is not None else []
        parts += [f"waits for {clean(live.waits_for)}"] if live.waits_for else []
    parts += [count(totals.total_tokens, "token")] if totals.total_tokens else []
    parts += [money(totals.cost)] if totals.cost else []
    return f"{time.strftime('%H:%M:%S')}  {' · '.join(parts)}"


def paints() -> bool:
    """Whether stdout is a terminal that can be painted over."""
    dumb = os.environ.get("TERM", "") in ("", "dumb", "unknown") or bool(os.environ.get("CI"))
    return sys.stdout.isatty() and not dumb
