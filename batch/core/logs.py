"""Logs: the set-up of structlog, the list of event names, and how repeated warnings are held back.

Owns what a log line looks like and how often it comes. It does not know the run it tells of. One event is one line.
Rows get no line each: results and calls are in Parquet, the log tells of the run. Of warnings and errors with the same
name, kind and code the first ten are written, then each power of ten and one a minute; `repeated` is the number held
back since the last one. Text of prompts and replies never appears. Every logger of the process, those of the standard
library too, goes through `redaction`. structlog is loaded by the first event that is written: it takes a quarter of
the time that a run needs to start, and most runs have nothing to say.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, Final, Literal, TextIO

from batch.core.clock import Clock
from batch.core.plain import clean, escaped_json
from batch.core.redaction import redact

EVENTS: Final = frozenset(
    {
        "batch_file_built",
        "batch_created",
        "batch_adopted",
        "batch_refused",
        "batch_collected",
        "batch_cancelled",
        "batch_taken_back",
        "lost_batches_found",
        "lost_batch_unknown",
        "due_set",
        "batch_not_cancelled",
        "model_parked",
        "spill_lost",
        "store_awaited",
        "store_behind",
        "store_lock_watched",
        "store_retried",
        "run_awaited",
        "run_started",
        "run_continued",
        "range_admitted",
        "part_published",
        "concurrency_lowered",
        "key_fetched_again",
        "key_not_fetched",
        "key_not_masked",
        "limit_adopted",
        "parameter_doubted",
        "prompt_doubted",
        "learned_tokens_lost",
        "metrics_unwritten",
        "tool_changed",
        "provider_answers_again",
        "endpoint_left_out",
        "limits_not_shared",
        "provider_paused",
        "provider_silent",
        "provider_stopped",
        "stop_requested",
        "task_overdue",
        "telemetry_failed",
        "tool_process_ended",
        "tools_not_contained",
        "ray_joined",
        "ray_node_gone",
        "rows_removed",
        "run_finished",
        "storage_failed",
        "strays_removed",
        "wire_log_stopped",
        "worker_ended",
        "worker_silent",
        "workers_given_up",
        "answer_came_late",
        "task_came_late",
    }
)
"""The names of all events, in the past tense and snake case. A test compares the code with this list."""

WRITTEN_EACH: Final = 10
"""How many warnings of one sort are written one by one."""
WRITTEN_AGAIN_S: Final = 60.0
"""Seconds after which a warning of the same sort is written again."""
MAX_SORTS: Final = 1_000
"""How many sorts of warnings are told apart: codes come from servers, and must not fill the memory."""


LIBRARY: Final = "promptmill"
"""The name of the standard logger for programs that use the package."""
_fields: Final[ContextVar[Mapping[str, Any] | None]] = ContextVar("promptmill_log_fields", default=None)
_STRUCTLOG: Final = "structlog"


class _Ours:
    """What the loggers of this process are."""

    lines: Any = None
    """The factory in the configuration of structlog that `set_up` made, by which it is known among those of others."""
    awaited: tuple[int, Callable[[], None]] | None = None
    """The lowest level that `set_up` asked for, and what configures structlog so, when it is loaded."""


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


def _console_line(_: Any, __: str, line: Any) -> str:
    """Mask keys in the finished line, because a traceback or the text of an object is only made with the line."""
    return clean(redact(line), lines=True)


def _json_line(_: Any, __: str, line: Any) -> str:
    """The same for a line of JSON, which stays the same value."""
    return escaped_json(redact(line))


class Repeats:
    """Counts warnings and errors by sort and lets few of each sort through, in bounded memory.

    It is a processor of structlog and a filter of standard handlers at once: a library that complains about every
    exchange is held back like our own events.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or Clock()
        self._counts: dict[tuple[Any, ...], list[float]] = {}

    def __call__(self, _: Any, level: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Process one event of structlog; raises `DropEvent` when it is only counted."""
        if level in ("debug", "info"):
            total = int(sum(held for _, held, _ in self._counts.values()))
            return {**event, "held_back": total} if total and event.get("event") == "run_finished" else event
        held_back = self.held_back((event.get("event"), event.get("kind"), event.get("code")))
        if held_back is None:
            import structlog  # noqa: PLC0415 - loaded by now

            raise structlog.DropEvent
        if held_back:
            event["repeated"] = held_back
        return event

    def filter(self, record: logging.LogRecord) -> bool:
        """Filter one standard record; its sort is logger and line of code, because the texts may all differ."""
        return self.held_back((record.name, record.levelno, record.pathname, record.lineno)) is not None

    def held_back(self, sort: tuple[Any, ...]) -> int | None:
        """Count one more warning of a sort.

        Returns:
            How many were held back since the last one, when this one is to be written; else None.
        """
        if sort not in self._counts and len(self._counts) >= MAX_SORTS:
            sort = ("others",)
        now = self._clock.monotonic()
        times, held, written_at = self._counts.get(sort, (0, 0, now))
        times += 1
        write = times <= WRITTEN_EACH or now - written_at >= WRITTEN_AGAIN_S or _power_of_ten(int(times))
        self._counts[sort] = [times, 0, now] if write else [times, held + 1, written_at]
        return int(held) if write else None


def _power_of_ten(number: int) -> bool:
    return str(number).rstrip("0") == "1"


class _RedactingFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return clean(redact(super().format(record)), lines=True)


def set_up(form: Literal["console", "json"] = "console", *, stream: TextIO | None = None, level: int = 20) -> None:
    """Send structlog and the standard loggers to a stream, with keys masked.

    Standard loggers are held at WARNING: at INFO httpx and httpcore print whole URLs.

    Args:
        form: lines for people, or one JSON object a line.
        stream: where to; default stderr.
        level: the lowest level of our own events, as in `logging`.
    """
    target = stream or sys.stderr
    repeats = Repeats()
    _Ours.awaited = level, partial(_configure, form, target, level, repeats=repeats)
    if _STRUCTLOG in sys.modules:
        _settle()
    handler = logging.StreamHandler(target)
    handler.addFilter(repeats.filter)
    handler.setFormatter(_RedactingFormatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


def _settle() -> None:
    """Configure structlog as `set_up` asked for, if that has not been done."""
    awaited, _Ours.awaited = _Ours.awaited, None
    if awaited is not None:
        awaited[1]()


def _configure(form: Literal["console", "json"], target: TextIO, level: int, *, repeats: Repeats) -> None:
    import structlog  # noqa: PLC0415 - see the head of the module

    last: list[Any]
    if form == "json":
        last = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(ensure_ascii=False)]
    else:
        # Plain tracebacks: the default shows the locals of every frame, which are prompts and keys.
        plain = structlog.dev.plain_traceback
        last = [
            structlog.dev.ConsoleRenderer(colors=False, pad_event_to=18, sort_keys=False, exception_formatter=plain)
        ]
    _Ours.lines = structlog.PrintLoggerFactory(target)
    structlog.configure(
        processors=[
            repeats,
            structlog.contextvars.merge_contextvars,
            _with_bound,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
            _redactor,
            *last,
            _json_line if form == "json" else _console_line,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_Ours.lines,
        cache_logger_on_first_use=False,
    )


def _plain_line(_: Any, __: str, event: MutableMapping[str, Any]) -> str:
    """One event as a message for standard handlers: its name, then its fields."""
    traceback = event.pop("exception", None)
    line = " ".join([str(event.pop("event", "")), *(f"{name}={value}" for name, value in event.items())])
    return clean(redact(line if traceback is None else f"{line}\n{traceback}"), lines=True)


def _for_programs() -> Any:
    """The logger for our own events in a program of somebody else's."""
    import structlog  # noqa: PLC0415 - see the head of the module

    standard = logging.getLogger(LIBRARY)
    standard.addHandler(logging.NullHandler())  # else the standard library would write warnings to stderr unasked
    return structlog.wrap_logger(
        standard,
        processors=[
            structlog.stdlib.filter_by_level,
            Repeats(),
            structlog.contextvars.merge_contextvars,
            _with_bound,
            _redactor,
            structlog.processors.format_exc_info,
            _plain_line,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(0),
        context_class=dict,
        cache_logger_on_first_use=False,
    )


_quiet: Any = None
"""The logger for somebody else's program, once it is needed."""


class _Unloaded:
    """A logger before structlog is loaded; an event that is to be written loads it."""

    def info(self, event: str, **fields: Any) -> None:
        """Tell an event of level INFO."""
        self._tell(logging.INFO, "info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Tell an event of level WARNING."""
        self._tell(logging.WARNING, "warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """Tell an event of level ERROR."""
        self._tell(logging.ERROR, "error", event, fields)

    @staticmethod
    def _tell(level: int, name: str, event: str, fields: dict[str, Any]) -> None:
        if _Ours.awaited is not None:
            written = level >= _Ours.awaited[0]
        else:
            written = logging.getLogger(LIBRARY).isEnabledFor(level)
        if written:
            getattr(_loaded(), name)(event, **fields)


def logger() -> Any:
    """The logger for our own events; `bound` adds the fields of the run."""
    return _loaded() if _STRUCTLOG in sys.modules else _Unloaded()


def _loaded() -> Any:
    import structlog  # noqa: PLC0415 - see the head of the module

    global _quiet  # noqa: PLW0603 - made when it is needed
    _settle()
    if _Ours.lines is not None and structlog.get_config()["logger_factory"] is _Ours.lines:
        return structlog.get_logger()
    if _quiet is None:
        _quiet = _for_programs()
    return _quiet


@contextmanager
def bound(**fields: Any) -> Iterator[None]:
    """Add fields to every event that is told inside, by the tasks that are started there too."""
    before = _fields.set({**(_fields.get() or {}), **fields})
    try:
        yield
    finally:
        _fields.reset(before)


def _with_bound(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {**(_fields.get() or {}), **event}
