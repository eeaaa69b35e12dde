"""The wire log (`--wire-log`): every exchange with the provider, written to files for whoever looks into a problem.

Owns the files under `OUT/wire/`: one JSON object a line, for each attempt and each poll, mode 0600, keys masked, long
base64 (images) cut to a hash and a length. Prompts and answers stand in them, which no other log shows. A file is
followed by the next at 64 MB; above 1 GB in the folder the oldest are removed, those of earlier runs first.

A debugging aid must never cost what is paid for. The event loop hands over references and goes on; a thread of its own
parses, masks and writes. When that thread falls behind, lines are left out and counted (`{"lost": 12}`) rather than
the run held up; a disk that refuses ends the log with one warning, and the run goes on. A clean stop writes all that
was handed over; a kill loses what the thread had not written yet. It does not know who makes the exchanges.
"""

from __future__ import annotations

import json
import os
import threading
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Final, Protocol, Self

import msgspec

from batch.core.canonical import without_surrogates
from batch.core.clock import Clock, iso
from batch.core.logs import logger
from batch.core.records import Failure, Incoming, Outgoing
from batch.core.redaction import MASK, address
from batch.http.masking import SPLIT, masked_json, readable_body, split_key

FILE_BYTES: Final = 64_000_000
FOLDER_BYTES: Final = 1_000_000_000
QUEUE_LINES: Final = 10_000
QUEUE_BYTES: Final = 64_000_000
WAIT_S: Final = 0.05
"""How long the event loop waits, once, for a thread that fell behind."""
CLOSE_S: Final = 60.0
"""How long a clean stop waits for the thread; a disk that hangs must not keep the run from ending."""
_SECRET_HEADERS: Final = frozenset(
    {"authorization", "proxy-authorization", "x-api-key", "api-key", "cookie", "set-cookie"}
)


class OpenCall(Protocol):
    """What the log needs to know of the call that an exchange belongs to."""

    call_id: str
    row_id: str
    turn: int
    attempt: int
    lane: Any
    base_url: str | None
    exchange_began: float
    """When this exchange began, monotonic seconds."""


class Exchange(msgspec.Struct, frozen=True):
    """One exchange as the event loop hands it over, before anything is copied, parsed or masked."""

    at_us: int
    call: tuple[str, str, int, int, str]
    """Client call id, row id, turn, attempt, lane."""
    url: str
    outgoing: Outgoing
    result: Incoming | Failure
    received: bytes
    """The bytes that had arrived of an answer that failed on its way."""
    latency_ms: int

    @property
    def size(self) -> int:
        """About how many bytes of memory it holds."""
        reply = len(self.result.body) if isinstance(self.result, Incoming) else len(self.received)
        return len(self.outgoing.body or b"") + reply + 1_000


class WireLog:
    """The wire log of one run; call it with each exchange, then `close` it.

    Args:
        folder: `OUT/wire`; made when it is not there.
        run: id of the run; names of files begin with it, and numbers go on behind those of a killed process.
        base_url: address of the calls that name none of their own.
        clock: gives the time of each line and its latency.
    """

    def __init__(self, folder: Path, run: str, *, base_url: str, clock: Clock) -> None:
        self._files = _Files(folder, run)
        self._base_url = base_url.rstrip("/")
        self._clock = clock
        self._ready = threading.Condition()
        self._queue: deque[Exchange] = deque()
        self._bytes = 0
        self._lost = 0
        self._behind = False
        self._closed = False
        self._error: Exception | None = None
        self._warned = False
        self._thread = threading.Thread(target=self._write, name="wire-log", daemon=True)
        self._thread.start()

    def __call__(self, call: OpenCall, outgoing: Outgoing, result: Incoming | Failure, received: bytes = b"") -> None:
        """Hand one exchange over to be written.

        Args:
            call: the call it belongs to.
            outgoing: the request.
            result: the whole answer, or why there is none.
            received: the bytes that had arrived when there is no whole answer.
        """
        latency_ms = int((self._clock.monotonic() - call.exchange_began) * 1000)
        url = f"{address(call.base_url or self._base_url).rstrip('/')}/{outgoing.path.lstrip('/')}"
        ids = (call.call_id, call.row_id, call.turn, call.attempt, str(call.lane))
        exchange = Exchange(self._clock.now_us(), ids, url, outgoing, result, received, latency_ms)
        with self._ready:
            if self._error is None and not self._closed:
                if self._full and not self._behind:
                    self._behind = not self._ready.wait_for(lambda: not self._full, WAIT_S)
                if self._full:
                    self._lost += 1
                else:
                    self._queue.append(exchange)
                    self._bytes += exchange.size
                    self._ready.notify_all()
        self._warn_once()

    def close(self) -> None:
        """Write all that was handed over and end the thread; blocks for as long as that takes, at most `CLOSE_S`."""
        with self._ready:
            self._closed = True
            self._ready.notify_all()
        self._thread.join(CLOSE_S)
        self._warn_once()

    @property
    def _full(self) -> bool:
        return len(self._queue) >= QUEUE_LINES or self._bytes >= QUEUE_BYTES

    def _warn_once(self) -> None:
        """Warn once, in the caller's thread, when nothing more is written."""
        if self._error is not None and not self._warned:
            self._warned = True
            error = self._error
            reason = error.strerror if isinstance(error, OSError) else None
            reason = reason or f"{type(error).__name__}: {error}"
            logger().warning("wire_log_stopped", folder=str(self._files.folder), error=reason)

    # -- the thread -----------------------------------------------------------------------------------------------

    def _write(self) -> None:
        try:
            with self._files:
                self._write_all()
        except Exception as exc:  # noqa: BLE001 - whatever it is, an aid for debugging ends itself, not a paid run
            with self._ready:
                self._error = exc
                self._queue.clear()
                self._bytes = 0
                self._ready.notify_all()

    def _write_all(self) -> None:
        while (queued := self._take()) is not None:
            exchanges, lost = queued
            for exchange in exchanges:
                self._files.add(self._line(exchange))
            if lost:
                self._files.add(_encoded({"at": iso(self._clock.now_us()), "lost": lost}))
            self._files.flush()

    def _take(self) -> tuple[list[Exchange], int] | None:
        """Take all exchanges that are queued, with the number of lines left out; None when the log has ended."""
        with self._ready:
            self._ready.wait_for(lambda: self._queue or self._closed)
            if not self._queue and not self._lost:
                return None
            exchanges, lost = list(self._queue), self._lost
            self._queue.clear()
            self._bytes, self._lost, self._behind = 0, 0, False
            self._ready.notify_all()
            return exchanges, lost

    def _line(self, exchange: Exchange) -> bytes:
        call_id, row_id, turn, attempt, lane = exchange.call
        outgoing, result = exchange.outgoing, exchange.result
        incoming = result if isinstance(result, Incoming) else None
        body = incoming.body if incoming else exchange.received
        line = {
            "at": iso(exchange.at_us),
            "client_call_id": call_id,
            "row_id": row_id,
            "turn": turn,
            "attempt": attempt,
            "lane": lane,
            "method": "GET" if outgoing.body is None else "POST",
            "url": exchange.url,
            "request_headers": _headers(dict(outgoing.headers)),
            "request": readable_body(outgoing.body),
            "status": incoming.status if incoming else None,
            "reply_headers": _headers(incoming.headers) if incoming else None,
            "reply": SPLIT if split_key(body) else readable_body(body),
            "latency_ms": exchange.latency_ms,
            "error": _error(result) if isinstance(result, Failure) else None,
        }
        return _encoded(masked_json(line))


class _Files:
    """The files of one run: when one is full, the next is begun."""

    def __init__(self, folder: Path, run: str) -> None:
        self.folder = folder
        self._run = run
        self._file: IO[bytes] | None = None
        self._size = 0

    def add(self, line: bytes) -> None:
        if self._file is not None and self._size + len(line) > FILE_BYTES:
            self.close()
        if self._file is None:
            self._file = self._next()
        self._file.write(line)
        self._size += len(line)

    def flush(self) -> None:
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        file, self._file, self._size = self._file, None, 0
        if file is not None:
            file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _next(self) -> IO[bytes]:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        files = sorted(self.folder.glob("*.jsonl"))
        self._make_room(files)
        ours = [path.stem.removeprefix(f"{self._run}-") for path in files if path.name.startswith(f"{self._run}-")]
        number = max((int(text) + 1 for text in ours if text.isdigit()), default=0)
        path = self.folder / f"{self._run}-{number:05d}.jsonl"
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")

    def _make_room(self, files: list[Path]) -> None:
        """Remove the oldest files, so that the folder stays within its bound when the next file is full."""
        sizes = {path: path.stat().st_size for path in files}
        total = sum(sizes.values())
        for path, size in sizes.items():
            if total + FILE_BYTES <= FOLDER_BYTES:
                return
            path.unlink(missing_ok=True)
            total -= size


def _headers(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: MASK if name.lower() in _SECRET_HEADERS else str(value) for name, value in headers.items()}


def _error(failure: Failure) -> dict[str, Any]:
    return {"kind": failure.kind, "code": failure.code, "message": failure.message, "sent": failure.sent}


def _encoded(line: dict[str, Any]) -> bytes:
    text: str = without_surrogates(json.dumps(line, ensure_ascii=False))
    return text.encode() + b"\n"
