"""The write-ahead log beside the ledger: whether it goes on from the ledger's file, and whether it is whole.

SQLite takes any log with valid sums for the log of the file beside it, and takes a log that is cut, damaged or missing
for one in which nothing more was written. Either would silently forget what was bought. Three traces tell:

- the mark, a value in the ledger's `meta`. It names the last clean close, and while a process writes also the salt and
  the sequence number of the log as that process found it. SQLite counts both up by one whenever it begins the log anew;
  the second from 0 in a process that came while another one read.
- the log's own header, which carries salt and sequence number as they are now.
- the log's index (`-shm`), which a killed process leaves behind and which says how many pages it had committed.

Owns the reading of these as bytes; it opens nothing for writing and decides nothing about a way out. The files must not
be open in this process: to close a file takes away the locks that SQLite has on it.
"""

from __future__ import annotations

import functools
import mmap
import os
import re
import secrets
import struct
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from operator import mul
from pathlib import Path
from typing import Any, Final, NamedTuple, Self
from urllib.parse import quote

import apsw

from batch.ledger import readonly
from batch.ledger.pages import open_database, tells_damage

KEY: Final = "mark"
"""Key of the ledger's `meta`."""
_LOOKED_AT: Final = 64 << 20
_HEADER: Final = 32
_FRAME_HEADER: Final = 24
_MAGIC: Final = 0x377F0682
_MASK: Final = 0xFFFFFFFF


class Mark(NamedTuple):
    """Whether a process is at work on the ledger, or closed it cleanly."""

    clean: str
    """Name of the last clean close, new with each."""
    open: bool = False
    salt: int = 0
    sequence: int = 0
    process: int = 0
    since_us: int = 0

    @classmethod
    def closed(cls) -> Self:
        """A new clean close."""
        return cls(secrets.token_hex(12))

    @classmethod
    def parse(cls, text: object) -> Self | None:
        """The mark as `text` has it; None for what is none."""
        words = str(text).split()
        with suppress(ValueError):
            if words[:1] == ["closed"] and len(words) == 2:
                return cls(words[1])
            if words[:1] == ["open"] and len(words) == 6:
                return cls(words[1], True, *map(int, words[2:]))
        return None

    @property
    def text(self) -> str:
        """As it stands in the ledger."""
        if not self.open:
            return f"closed {self.clean}"
        return f"open {self.clean} {self.salt} {self.sequence} {self.process} {self.since_us}"


class LogHeader(NamedTuple):
    """What tells one log from another."""

    page_size: int
    sequence: int
    salt: int
    other_salt: int
    sums: tuple[int, int]


def header(ledger: Path) -> LogHeader | None:
    """The header of the log beside `ledger`; None when there is no log, or nothing that SQLite would take for one."""
    try:
        with _log(ledger).open("rb") as file:
            data = file.read(_HEADER)
    except OSError:
        return None
    return _header(data)


def why_not_trusted(ledger: Path) -> str | None:
    """Why the log says less than was committed, or says it of another file; None when nothing speaks against it.

    Args:
        ledger: a ledger that nobody has open.
    """
    log = _log(ledger)
    mark, unreadable = _mark(ledger)
    found = header(ledger)
    if found is None:
        there = log.exists() and log.stat().st_size > 0
        if mark is not None and mark.open and not (there and _begun_anew(ledger, mark)):
            return f"{log.name}: is {'damaged' if there else 'lost'}, and with it what was written last"
        return f"{ledger.name}: cannot be read: {unreadable}" if unreadable else _damage(ledger)
    if mark is not None and not _follows(log, found, mark):
        return f"{log.name}: is not the log of this {ledger.name}; one of the two was put in the place of another"
    committed = _committed_pages(ledger, found)
    whole = _whole_pages(log, found, committed, _stamp(log)) if committed else 0
    if whole < committed:
        return f"{log.name}: is cut or damaged, {whole} of {committed} pages of it are whole"
    return _damage(ledger)


def _damage(ledger: Path) -> str | None:
    """What is wrong with the pages of a ledger that is small enough to look at them all."""
    if ledger.stat().st_size > _LOOKED_AT:
        return None
    try:
        with closing(readonly.connect(ledger)) as db:
            (said,) = db.execute("PRAGMA quick_check(1)").fetchone() or ("ok",)
    except apsw.Error as exc:
        if not tells_damage(exc):
            return None  # the disk, and it will say so again
        said = str(exc)
    return None if said == "ok" else f"{ledger.name}: is damaged: {' '.join(str(said).split())}"


def follows(ledger: Path) -> bool:
    """Whether the log beside `ledger` goes on from it, as far as can be told."""
    mark, _ = _mark(ledger)
    found = header(ledger)
    return found is not None and (mark is None or _follows(_log(ledger), found, mark))


def _log(ledger: Path) -> Path:
    return ledger.with_name(f"{ledger.name}-wal")


def _mark(ledger: Path) -> tuple[Mark | None, str]:
    """The mark in the ledger's file alone, without its log, and why the file cannot be read if it cannot."""
    try:
        uri = f"file:{quote(str(ledger.absolute()))}?immutable=1"
        with closing(open_database(uri, apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)) as db:
            if db.pragma("user_version") == 0:
                return None, ""  # a process that was killed while it made the ledger
            found = db.execute("SELECT value FROM meta WHERE key=?", (KEY,)).fetchone()
    except apsw.Error as exc:  # else another program's database, or the disk: whoever opens it says so
        return None, str(exc) if tells_damage(exc) else ""
    return (Mark.parse(found[0]) if found else None), ""


def _follows(log: Path, found: LogHeader, mark: Mark) -> bool:
    """Whether the log was begun by a process that had this file before it."""
    if mark.open:
        steps = (found.salt - mark.salt) & _MASK
        # A process that came while somebody read did not look at the log itself, and counts its own beginnings only.
        return steps < 1 << 31 and steps in ((found.sequence - mark.sequence) & _MASK, found.sequence)
    # The first thing written into it is a mark that names the close it follows, and soon the log it is in.
    pattern = re.compile(rb"open %s (\d+) (\d+) " % re.escape(mark.clean.encode()))
    with _mapped(log) as data:
        named = {(int(salt), int(sequence)) for salt, sequence in pattern.findall(data)}
        if not named:
            # Or it ends with that close: folded in, and killed before it was cut short.
            if data.find(b"closed %s" % mark.clean.encode()) >= 0 or _first_frame_of_other_log(data, found):
                return True
            return not _whole_pages(log, found, 1, _stamp(log))  # or its first page is torn: it never counted
        # Begun anew since, the log goes on from a file that has the mark itself.
        return (found.salt, found.sequence) in named or named == {(0, 0)}


def _first_frame_of_other_log(data: Any, found: LogHeader) -> bool:
    """Whether no page of the log counts: its first one is left over from before the log was begun anew."""
    return len(data) < _HEADER + _FRAME_HEADER or data[_HEADER + 8 : _HEADER + 16] != struct.pack(
        ">2I", found.salt, found.other_salt
    )


def _begun_anew(ledger: Path, mark: Mark) -> bool:
    """Whether the disk refused the very header of a log that was begun anew, because all before is in the ledger."""
    index = _index(ledger)
    return index is not None and index[0] == 0 and (index[1] - mark.salt) & _MASK < 1 << 31


def _committed_pages(ledger: Path, found: LogHeader) -> int:
    """How many pages of this log were committed, by the index a killed process left; 0 when it does not say."""
    index = _index(ledger)
    return index[0] if index is not None and index[1:] == (found.salt, found.other_salt) else 0


def _index(ledger: Path) -> tuple[int, int, int] | None:
    """Of the log's index: pages that were committed, and the two salts of their log; None where it does not say."""
    try:
        data = ledger.with_name(f"{ledger.name}-shm").read_bytes()[:48]
    except OSError:
        return None
    if len(data) < 48 or _sums(memoryview(data)[:40].cast("I"), (0, 0)) != struct.unpack("=2I", data[40:]):
        return None
    pages, salt, other_salt = (*struct.unpack("=I", data[16:20]), *struct.unpack(">2I", data[32:40]))
    return pages, salt, other_salt


@functools.lru_cache(maxsize=2)  # a command looks more than once, and a long log takes a second
def _whole_pages(log: Path, found: LogHeader, most: int, stamp: tuple[int, int, int]) -> int:
    """How many of the first `most` pages of the log have the right salts and sums.

    Args:
        log: the file.
        found: its header.
        most: pages that were committed.
        stamp: inode, size and time of the file.
    """
    size = _FRAME_HEADER + found.page_size
    most = min(most, (stamp[1] - _HEADER) // size)
    salts = struct.pack(">2I", found.salt, found.other_salt)
    step = _Steps((8 + found.page_size) // 8)
    sums = found.sums
    with _mapped(log) as data:
        for number in range(most):
            start = _HEADER + number * size
            frame = data[start : start + size]
            sums = step.add(frame[:8] + frame[_FRAME_HEADER:], sums)
            if frame[8:16] != salts or struct.unpack(">2I", frame[16:24]) != sums:
                return number
    return most


def _stamp(path: Path) -> tuple[int, int, int]:
    state = path.stat()
    return state.st_ino, state.st_size, state.st_mtime_ns


@contextmanager
def _mapped(path: Path) -> Iterator[Any]:
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            yield b""
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield data


def _header(data: bytes) -> LogHeader | None:
    if len(data) < _HEADER:
        return None
    magic, _, page_size, sequence, salt, other_salt, *sums = struct.unpack(">8I", data)
    native = _MAGIC | (sys.byteorder == "big")
    if magic != native or _sums(memoryview(data)[:24].cast("I"), (0, 0)) != tuple(sums):
        return None
    return LogHeader(page_size, sequence, salt, other_salt, (sums[0], sums[1]))


def _sums(words: memoryview, sums: tuple[int, int]) -> tuple[int, int]:
    """SQLite's two sums over pairs of 32-bit words, as its file format describes them."""
    first, second = sums
    for place in range(0, len(words), 2):
        first = (first + words[place] + second) & _MASK
        second = (second + words[place + 1] + first) & _MASK
    return first, second


class _Steps:
    """The same sums over pieces of one length, some fifty times faster: each word counts by a factor of its place."""

    def __init__(self, pairs: int) -> None:
        # One pair (x, y) takes (a, b) to (a + b + x, a + 2b + x + y).
        matrix = (1, 0, 0, 1)
        firsts: list[int] = []
        seconds: list[int] = []
        for _ in range(pairs):
            a, b, c, d = matrix
            firsts += [b, a + b & _MASK]
            seconds += [d, c + d & _MASK]
            matrix = (a + b & _MASK, a + 2 * b & _MASK, c + d & _MASK, c + 2 * d & _MASK)
        self._whole = matrix
        self._firsts, self._seconds = firsts[::-1], seconds[::-1]

    def add(self, piece: bytes, sums: tuple[int, int]) -> tuple[int, int]:
        """The sums after one more piece."""
        words = memoryview(piece).cast("I")
        a, b, c, d = self._whole
        first = a * sums[0] + b * sums[1] + sum(map(mul, self._firsts, words))
        second = c * sums[0] + d * sums[1] + sum(map(mul, self._seconds, words))
        return first & _MASK, second & _MASK
