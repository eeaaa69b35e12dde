"""What is logged: the set-up of structlog, the list of event names, and the redaction of secrets.

One canonical line tells of one thing, once. Rows never get a line each: results and calls are in Parquet, the log
tells of the run. Prompt and reply text never appear. Every logger of the process, the standard library's too, goes
through the same redaction, by value (the keys this process holds) and by the look of a key.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Final, Literal, TextIO

import structlog

EVENTS: Final = frozenset(
    {
        "run_started",
        "run_continued",
        "range_admitted",
        "part_published",
        "provider_paused",
        "provider_stopped",
        "stop_requested",
        "task_overdue",
        "run_finished",
        "storage_failed",
        "strays_removed",
    }
)
"""Every event name there is; past tense, snake case. A test holds the code against this list."""

_secrets: set[str] = set()
_LOOKS_LIKE_A_KEY: Final = re.compile(r"\b(?:sk-[A-Za-z0-9_-]{16,}|[0-9a-f]{32}\.[A-Za-z0-9]{16,}|Bearer +[^\s\"'\\]+)")
MASK: Final = "[masked]"


def hide(secret: str) -> None:
    """Mask this value wherever text leaves the process through a log or an error."""
    if len(secret) >= 4:
        _secrets.add(secret)


def _longest_first() -> list[str]:
    """The secrets, so that none is cut short by another that it begins with."""
    return sorted(_secrets, key=len, reverse=True)


def redact(text: str) -> str:
    """The text with every known secret, and whatever looks like a key, masked."""
    for secret in _longest_first():
        if secret in text:
            text = text.replace(secret, MASK)
    return _LOOKS_LIKE_A_KEY.sub(MASK, text)


def masked(data: bytes) -> bytes:
    """What came over the wire, without our secrets: a provider that echoes the key must not bring it to the results."""
    for secret in _longest_first():
        if (raw := secret.encode()) in data:
            data = data.replace(raw, MASK.encode())
    return data


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


class _RedactingFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def set_up(form: Literal["console", "json"] = "console", *, stream: TextIO | None = None, level: int = 20) -> None:
    """Send structlog and the standard loggers to `stream` (default: stderr), redacted.

    httpx and httpcore are held at WARNING: at INFO they print whole URLs.
    """
    target = stream or sys.stderr
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
    handler.setFormatter(_RedactingFormatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


def logger() -> Any:
    """The logger everybody uses; fields are bound per run by `structlog.contextvars`."""
    return structlog.get_logger()
