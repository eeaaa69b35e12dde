"""What is logged: the set-up of structlog, the list of event names, and how what happens again and again is counted.

One canonical line tells of one thing, once. Rows never get a line each: results and calls are in Parquet, the log
tells of the run. What happens again and again is counted: of warnings and errors with one name, kind and code the first
ten are written, then each power of ten and one a minute, with `repeated`, the number held back since the last one.
Prompt and reply text never appear. Every logger of the process, the standard library's too, goes through `redaction`.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Final, Literal, TextIO

import structlog

from batch.core.clock import Clock
from batch.core.redaction import redact

EVENTS: Final = frozenset(
    {
        "run_awaited",
        "run_started",
        "run_continued",
        "range_admitted",
        "part_published",
        "limit_adopted",
        "parameter_doubted",
        "provider_answers_again",
        "provider_paused",
        "provider_silent",
        "provider_stopped",
        "stop_requested",
        "task_overdue",
        "run_finished",
        "storage_failed",
        "strays_removed",
        "wire_log_stopped",
    }
)
"""Every event name there is; past tense, snake case. A test holds the code against this list."""

TOLD_EACH: Final = 10
"""So many warnings of one sort are written one by one."""
TOLD_AGAIN_S: Final = 60.0
MOST_KINDS: Final = 1_000
"""Sorts of warnings told apart: codes come from servers, and must not fill the memory."""


def _redact_value(value: Any) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {key: _redact_value(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_redact_value(inner) for inner in value]
    return value


def _redactor(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {key: _redact_value(value) for key, value in event.items()}


def _line_redactor(_: Any, __: str, line: Any) -> str:
    """Over the finished line: a traceback, or the text of any object, is only made when the line is."""
    return redact(line)


class Repeats:
    """Counts warnings and errors by what they tell of, and lets few of the same through; bounded memory.

    A processor of structlog and a filter of standard handlers: a library that complains about every exchange is held
    back like our own events.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or Clock()
        self._counts: dict[tuple[Any, ...], list[float]] = {}

    def __call__(self, _: Any, level: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """See `structlog`; raises `DropEvent` for what is only counted."""
        if level in ("debug", "info"):
            silent = int(sum(held for _, held, _ in self._counts.values()))
            return {**event, "held_back": silent} if silent and event.get("event") == "run_finished" else event
        held_back = self.held_back((event.get("event"), event.get("kind"), event.get("code")))
        if held_back is None:
            raise structlog.DropEvent
        if held_back:
            event["repeated"] = held_back
        return event

    def filter(self, record: logging.LogRecord) -> bool:
        """See `logging.Filter`: by logger and place in the code, because the text of each may be another."""
        return self.held_back((record.name, record.levelno, record.pathname, record.lineno)) is not None

    def held_back(self, what: tuple[Any, ...]) -> int | None:
        """Count one more of `what`: how many were held back before it when it may be told, else None."""
        if what not in self._counts and len(self._counts) >= MOST_KINDS:
            what = ("others",)
        now = self._clock.monotonic()
        times, held, told_at = self._counts.get(what, (0, 0, now))
        times += 1
        tell = times <= TOLD_EACH or now - told_at >= TOLD_AGAIN_S or _power_of_ten(int(times))
        self._counts[what] = [times, 0, now] if tell else [times, held + 1, told_at]
        return int(held) if tell else None


def _power_of_ten(number: int) -> bool:
    return str(number).rstrip("0") == "1"


class _RedactingFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def set_up(form: Literal["console", "json"] = "console", *, stream: TextIO | None = None, level: int = 20) -> None:
    """Send structlog and the standard loggers to `stream` (default: stderr), redacted.

    httpx and httpcore are held at WARNING: at INFO they print whole URLs.
    """
    target = stream or sys.stderr
    repeats = Repeats()
    last: list[Any]
    if form == "json":
        last = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(ensure_ascii=False)]
    else:
        # Plain tracebacks: the default shows the locals of every frame, which are prompts and keys.
        plain = structlog.dev.plain_traceback
        last = [
            structlog.dev.ConsoleRenderer(colors=False, pad_event_to=18, sort_keys=False, exception_formatter=plain)
        ]
    structlog.configure(
        processors=[
            repeats,
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
            _redactor,
            *last,
            _line_redactor,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(target),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(target)
    handler.addFilter(repeats.filter)
    handler.setFormatter(_RedactingFormatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


def logger() -> Any:
    """The logger everybody uses; fields are bound per run by `structlog.contextvars`."""
    return structlog.get_logger()
