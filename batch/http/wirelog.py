"""`--wire-log`: every exchange with the provider, written down for whoever looks into a problem.

Owns the files under `OUT/wire/`: one JSON object a line, for each attempt and each poll, mode 0600, keys masked, long
base64 (images) cut to a hash and a length. Prompts and answers stand in them, which no other log shows. A file is
followed by the next at 64 MB; above 1 GB in the folder the oldest are removed, those of earlier runs first.

A debugging aid must never cost what is paid for. The event loop hands over references and goes on; a thread of its own
parses, masks and writes. When that thread falls behind, lines are left out and counted (`{"lost": 12}`) rather than
the run held up; a disk that refuses ends the log with one warning, and the run goes on. A clean stop writes all that
was handed over; a kill loses what the thread had not written yet. `pipeline` connects a `WireLog` to the desk.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import threading
import urllib.parse
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Final, Protocol, Self

import msgspec

from batch.core.clock import Clock, iso
from batch.core.logs import logger
from batch.core.records import Failure, Incoming, Outgoing
from batch.core.redaction import MASK, hidden, redact
from batch.http import sse

FILE_BYTES: Final = 64_000_000
FOLDER_BYTES: Final = 1_000_000_000
QUEUE_LINES: Final = 10_000
QUEUE_BYTES: Final = 64_000_000
WAIT_S: Final = 0.05
"""How long the event loop waits, once, for a thread that fell behind."""
CLOSE_S: Final = 60.0
"""How long a clean stop waits for the thread; a disk that hangs must not keep the run from ending."""
SPLIT: Final = f"{MASK}: a key stands in this stream, cut over several chunks"
"""In place of a stream that would show a key to whoever puts its pieces together."""
LONGEST_BASE64: Final = 512
"""Characters of base64 that are left as they are: ids and signatures are shorter, images longer."""

_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")
_DATA_URL: Final = re.compile(r"data:[\w.+/;=-]{0,100};base64,")
_SECRET_HEADERS: Final = frozenset(
    {"authorization", "proxy-authorization", "x-api-key", "api-key", "cookie", "set-cookie"}
)
_SHORTEST_PART: Final = 12  # of a key of several parts; a shorter one is a word that stands elsewhere too


class OpenCall(Protocol):
    """What is told of the call an exchange belongs to."""

    call_id: str
    row_id: str
    turn: int
    attempt: int
    lane: Any
    base_url: str | None
    exchange_began: float
    """When this exchange began, monotonic seconds."""


class Exchange(msgspec.Struct, frozen=True):
    """One exchange as the event loop hands it over: nothing is copied, parsed or masked yet."""

    at_us: int
    call: tuple[str, str, int, int, str]
    """Client call id, row id, turn, attempt, lane."""
    url: str
    outgoing: Outgoing
    result: Incoming | Failure
    received: bytes
    """What came of an answer that failed on its way."""
    latency_ms: int

    @property
    def size(self) -> int:
        """Bytes it keeps in memory, about."""
        reply = len(self.result.body) if isinstance(self.result, Incoming) else len(self.received)
        return len(self.outgoing.body or b"") + reply + 1_000


class WireLog:
    """The wire log of one run; call it with each exchange, then `close` it.

    Args:
        folder: `OUT/wire`; made when it is not there.
        run: begins the names of the files; those of a killed process are gone on behind.
        base_url: of calls that name none.
        clock: for `at` and the latency.
    """

    def __init__(self, folder: Path, run: str, *, base_url: str, clock: Clock) -> None:
        self._files = _Files(folder, run)
        self._mask = _Mask(hidden())
        self._base_url = base_url.rstrip("/")
        self._clock = clock
        self._ready = threading.Condition()
        self._queue: deque[Exchange] = deque()
        self._bytes = 0
        self._lost = 0
        self._behind = False
        self._closed = False
        self._fault: Exception | None = None
        self._told = False
        self._thread = threading.Thread(target=self._write, name="wire-log", daemon=True)
        self._thread.start()

    def __call__(self, call: OpenCall, outgoing: Outgoing, result: Incoming | Failure, received: bytes = b"") -> None:
        """Hand one exchange over; see `submit.attempt.CallContext.on_exchange`."""
        latency_ms = int((self._clock.monotonic() - call.exchange_began) * 1000)
        url = f"{(call.base_url or self._base_url).rstrip('/')}/{outgoing.path.lstrip('/')}"
        told = (call.call_id, call.row_id, call.turn, call.attempt, str(call.lane))
        exchange = Exchange(self._clock.now_us(), told, url, outgoing, result, received, latency_ms)
        with self._ready:
            if self._fault is None and not self._closed:
                if self._full and not self._behind:
                    self._behind = not self._ready.wait_for(lambda: not self._full, WAIT_S)
                if self._full:
                    self._lost += 1
                else:
                    self._queue.append(exchange)
                    self._bytes += exchange.size
                    self._ready.notify_all()
        self._tell()

    def close(self) -> None:
        """Write what was handed over and end; blocks as long as that takes."""
        with self._ready:
            self._closed = True
            self._ready.notify_all()
        self._thread.join(CLOSE_S)
        self._tell()

    @property
    def _full(self) -> bool:
        return len(self._queue) >= QUEUE_LINES or self._bytes >= QUEUE_BYTES

    def _tell(self) -> None:
        """Warn once, from the caller's thread, that nothing more is written."""
        if self._fault is not None and not self._told:
            self._told = True
            fault = self._fault
            disk = fault.strerror if isinstance(fault, OSError) else None
            why = disk or f"{type(fault).__name__}: {fault}"
            logger().warning("wire_log_stopped", folder=str(self._files.folder), error=why)

    # -- the thread -----------------------------------------------------------------------------------------------

    def _write(self) -> None:
        try:
            with self._files:
                self._write_all()
        except Exception as exc:  # noqa: BLE001 - whatever it is, an aid for debugging ends itself, not a paid run
            with self._ready:
                self._fault = exc
                self._queue.clear()
                self._bytes = 0
                self._ready.notify_all()

    def _write_all(self) -> None:
        while (taken := self._take()) is not None:
            exchanges, lost = taken
            for exchange in exchanges:
                self._files.add(self._line(exchange))
            if lost:
                self._files.add(_encoded({"at": iso(self._clock.now_us()), "lost": lost}))
            self._files.flush()

    def _take(self) -> tuple[list[Exchange], int] | None:
        """All that is queued and how many lines were left out; None at the end."""
        with self._ready:
            self._ready.wait_for(lambda: self._queue or self._closed)
            if not self._queue and not self._lost:
                return None
            taken, lost = list(self._queue), self._lost
            self._queue.clear()
            self._bytes, self._lost, self._behind = 0, 0, False
            self._ready.notify_all()
            return taken, lost

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
            "request": _body(outgoing.body),
            "status": incoming.status if incoming else None,
            "reply_headers": _headers(incoming.headers) if incoming else None,
            "reply": SPLIT if self._mask.split(body) else _body(body),
            "latency_ms": exchange.latency_ms,
            "error": _error(result) if isinstance(result, Failure) else None,
        }
        return _encoded(self._mask.value(line))


class _Files:
    """The files of one run, one after the other."""

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
        """Remove the oldest, so that the folder stays within its bound when the next file is full."""
        sizes = {path: path.stat().st_size for path in files}
        total = sum(sizes.values())
        for path, size in sizes.items():
            if total + FILE_BYTES <= FOLDER_BYTES:
                return
            path.unlink(missing_ok=True)
            total -= size


class _Mask:
    """Takes keys out of a value, in whatever form a provider echoes them, and cuts long base64."""

    def __init__(self, secrets: tuple[str, ...]) -> None:
        forms = sorted({form for secret in secrets for form in _forms(secret)}, key=len, reverse=True)
        self._forms = re.compile("|".join(map(re.escape, forms)), re.IGNORECASE) if forms else None

    def value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(str(name)): self.value(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [self.value(inner) for inner in value]
        return value

    def split(self, body: bytes) -> bool:
        """Whether the chunks of a stream, put together, show what would not be masked in each of them alone."""
        if b"data:" not in body[:4096]:
            return False
        said: dict[str, list[str]] = {}
        for event in sse.Parser().feed(body + b"\n\n"):
            for path, text in _texts(_body(event), ""):
                said.setdefault(path, []).append(text)
        return any(self._hide("".join(texts)) != "".join(map(self._hide, texts)) for texts in said.values())

    def text(self, text: str) -> str:
        return _cut(self._hide(text))

    def _hide(self, text: str) -> str:
        text = redact(text)
        return text if self._forms is None else self._forms.sub(MASK, text)


def _texts(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Every text of a JSON value with the way to it; the places of a list count as one."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _texts(inner, f"{path}.{name}")
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner, path)


def _forms(secret: str) -> Iterator[str]:
    """The secret, each of its long parts, and both as they look percent-encoded, in hex, and inside base64."""
    parts = [part for part in re.split(r"[.:]", secret) if len(part) >= _SHORTEST_PART]
    for text in {secret, *parts}:
        raw = text.encode()
        yield text
        yield urllib.parse.quote(text, safe="")
        yield raw.hex()
        if len(raw) < _SHORTEST_PART:
            continue
        for before in range(3):  # of the bytes in front of it, three by three, so many are left over
            coded = base64.b64encode(b"\0" * before + raw).decode()
            inner = coded[(0, 2, 3)[before] : len(coded) - (0, 3, 2)[(before + len(raw)) % 3]].rstrip("=")
            yield inner
            yield inner.translate(str.maketrans("+/", "-_"))


def _cut(text: str) -> str:
    """Long base64 as its hash and length; what stands in front of it in a data URL is kept."""
    if len(text) <= LONGEST_BASE64:
        return text
    found = _DATA_URL.match(text)
    start = found.end() if found else 0
    if found is None and _BASE64.fullmatch(text) is None:
        return text
    digest = hashlib.sha256(text[start:].encode("utf-8", "replace")).hexdigest()
    return f"{text[:start]}[sha256 {digest}, {len(text) - start} characters]"


def _body(body: bytes | None) -> Any:
    """The JSON value when it is JSON, else the text; None when there is none."""
    if not body:
        return None
    try:
        return json.loads(body, parse_constant=str)
    except (ValueError, RecursionError):
        return body.decode("utf-8", "replace")


def _headers(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: MASK if name.lower() in _SECRET_HEADERS else str(value) for name, value in headers.items()}


def _error(failure: Failure) -> dict[str, Any]:
    return {"kind": failure.kind, "code": failure.code, "message": failure.message, "sent": failure.sent}


def _encoded(line: dict[str, Any]) -> bytes:
    return json.dumps(line, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
