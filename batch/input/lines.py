"""The lines of a large text file, plain or compressed; no line takes more memory than a limit allows.

Owns finding where lines begin and end, unpacking, and refusing files that are no text at all. It does not know what
stands in a line (`jsonl`). A compressed file is unpacked a little at a time; where its data ends early or is damaged,
the last line says so, and nothing that came out before is lost.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec
import pyarrow as pa

from batch.core.errors import InputError
from batch.input import stores
from batch.input.files import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

BOM: Final = b"\xef\xbb\xbf"
_CHUNK: Final = 1024 * 1024
_PIECE: Final = 64 * 1024
_SKIPPABLE: Final = b"\x2a\x4d\x18"
_MAGIC: Final = {
    "gzip": (b"\x1f\x8b",),
    "zstd": (b"\x28\xb5\x2f\xfd", *(bytes((0x50 + number,)) + _SKIPPABLE for number in range(16))),
}
_ENDINGS: Final = {"gzip": ".gz", "zstd": ".zst"}
_HEAD: Final = 64
_OTHERS: Final = (
    (b"\xff\xfe\0\0", "is UTF-32. Convert it to UTF-8: iconv -f UTF-32 -t UTF-8."),
    (b"\xff\xfe", "is UTF-16. Convert it to UTF-8: iconv -f UTF-16 -t UTF-8."),
    (b"\xfe\xff", "is UTF-16. Convert it to UTF-8: iconv -f UTF-16 -t UTF-8."),
    (b"PAR1", "is a Parquet file. Give it the ending .parquet."),
    (b"BZh", "is compressed. Unpack it first, or pack it with gzip or zstd."),
    (b"\xfd7zX", "is compressed. Unpack it first, or pack it with gzip or zstd."),
    (b"PK\x03\x04", "is compressed. Unpack it first, or pack it with gzip or zstd; save a workbook as CSV UTF-8."),
    (b"\xd0\xcf\x11\xe0", "is an old Excel workbook. Save it as CSV UTF-8."),
    (b"ARROW1", "is an Arrow file. Write it as Parquet."),
    (b"Obj\x01", "is an Avro file. Write it as Parquet."),
    (b"SQLite format 3\0", "is a SQLite database. Write its rows as JSONL or Parquet."),
    (b"%PDF", "is a PDF. Write its text as rows first."),
    (b"\x89PNG", "is a picture. Pictures go into a column: see prompt.images."),
    (b"\xff\xd8\xff", "is a picture. Pictures go into a column: see prompt.images."),
    (b"version https://git-lfs", "is a pointer of Git LFS, not the file itself. Fetch it: git lfs pull."),
)
"""How files that hold something else begin, and what is said of them."""


class Line(msgspec.Struct):
    """One line that is not blank, without its end (LF or CRLF)."""

    number: int
    """From 1; blank lines count."""
    raw: bytes | None
    """None when the line is longer than the limit, or the file is damaged."""
    size: int
    end: int
    """The byte after the line and its newline: where to go on."""
    torn: bool = False
    """Whether the file ends without a newline after it."""
    too_long: str | None = None
    """The identity of a line that is too long, made from all its bytes."""
    damage: str | None = None
    """Why the compressed data cannot be read further; nothing comes after this line."""
    more: int = 0
    """How many further lines of the file it takes up: a cell of CSV may have newlines in it."""


class Lines:
    """Iterates over the lines of a file, from any byte on. Use it as a context manager, or call `close`."""

    def __init__(
        self,
        path: Path,
        *,
        limit: int,
        identify: Callable[[Iterable[bytes]], str],
        packing: str | None = None,
        byte: int = 0,
        line: int = 0,
        patience: int | None = None,
    ) -> None:
        """Open the file.

        Args:
            path: the file.
            packing: `gzip` or `zstd` when it is to be unpacked.
            limit: the longest line in bytes; of a longer line only the identity is made, from its pieces.
            identify: makes the identity of a line from the pieces of its bytes.
            byte: where to begin, the `end` of an earlier line; in a compressed file all before it is unpacked again.
            line: how many lines are before that.
            patience: how many bytes of a line that is too long are passed over before it counts as the last one; None
                for all of them.

        Raises:
            InputError: the file cannot be opened, or is UTF-16, Parquet or compressed.
        """
        self._patience = patience
        self._shown = shown(path)
        self._limit = limit
        self._identify = identify
        self._number = line
        self._damage: str | None = None
        self._file: io.BufferedReader[Any] | None = None
        try:
            self._file = file = io.BufferedReader(stores.raw(path), _CHUNK)
            head = file.peek(_HEAD)[:_HEAD]
            reason = _no_text(head, path) if packing is None else _other_packing(head, packing)
            if packing is not None and head and reason is None:
                file.close()
                self._file = io.BufferedReader(_Unpacked(path, packing), _CHUNK)
                head = self.head()[:_HEAD]
                reason = _no_text(head, path)
            self._byte = len(BOM) if byte == 0 and head.startswith(BOM) else byte
            if reason is None:
                self._skip(seekable=packing is None)
        except OSError as exc:
            raise InputError(f"{self._shown}: cannot be read: {exc.strerror or exc}.") from exc
        if reason is not None:
            self.close()
            raise InputError(f"{self._shown}: {reason}")

    def head(self) -> bytes:
        """The next bytes of the text, some thousand where there are so many; they are read again later."""
        assert self._file is not None
        try:
            return self._file.peek(_PIECE)
        except _DamagedError:
            return b""  # the error comes when the first line is asked for

    def _skip(self, *, seekable: bool) -> None:
        """Go to where reading begins."""
        assert self._file is not None
        if seekable:
            self._file.seek(self._byte)
            return
        left = self._byte
        while left > 0 and (piece := self._read_piece(left)):
            left -= len(piece)
        if left > 0:
            raise InputError(f"{self._shown}: is shorter than what was read of it before. Put the whole file back.")

    def _read_piece(self, limit: int) -> bytes:
        assert self._file is not None
        try:
            return self._file.read1(min(limit, _CHUNK))
        except _DamagedError:
            return b""

    def __iter__(self) -> Iterator[Line]:
        window = self._limit + 2  # room for CRLF
        while raw := self._readline(window):
            self._number += 1
            size = len(raw)
            name = None
            if size == window and not raw.endswith(b"\n"):
                size, name = self._pass_over(raw)
            self._byte += size
            text = raw.removesuffix(b"\n").removesuffix(b"\r")
            if not text or text.isspace():
                continue
            if name is None and len(text) > self._limit:
                name = self._identify((text,))
            torn = name is None and not raw.endswith(b"\n")
            yield Line(self._number, None if name else text, size, self._byte, torn, name)
            if self._patience is not None and size > self._patience:
                return
        if self._damage is not None:
            yield Line(self._number + 1, None, 0, self._byte, damage=self._damage)

    def _pass_over(self, first: bytes) -> tuple[int, str]:
        """Read the rest of a line that is too long; return its size and its identity."""
        size = 0

        def pieces() -> Iterator[bytes]:
            nonlocal size
            piece, held = first, b""
            while piece:
                size += len(piece)
                piece = held + piece
                # A CR at the end of a piece belongs to the line's end when at most LF follows, else to the line.
                held = b"\r" if piece.endswith(b"\r") else b""
                yield piece.removesuffix(b"\n").removesuffix(b"\r")
                over = piece.endswith(b"\n") or (self._patience is not None and size > self._patience)
                piece = b"" if over else self._readline(_CHUNK)

        name = self._identify(pieces())
        return size, name

    def _readline(self, limit: int) -> bytes:
        assert self._file is not None
        try:
            return self._file.readline(limit)
        except _DamagedError as exc:
            self._damage = str(exc)
            return b""
        except OSError as exc:
            raise InputError(f"{self._shown}: cannot be read at byte {self._byte}: {exc.strerror}.") from exc

    def close(self) -> None:
        """Close the file; harmless when repeated."""
        if self._file is not None:
            self._file.close()

    def __del__(self) -> None:
        # A run that stops at --limit drops its reader in the middle of the file.
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _DamagedError(Exception):
    """The compressed data ends early or is broken."""


class _Unpacked(io.RawIOBase):
    """A compressed file as its unpacked bytes, a little at a time."""

    def __init__(self, path: Path, packing: str) -> None:
        self._path = path
        self._packing = packing
        self._given = 0
        self._damage: str | None = None
        self._over = False
        self._stream: Any = self._open()

    def _open(self) -> Any:
        # Opened here, because Arrow cannot open names that are no UTF-8.
        self._file = stores.raw(self._path)
        return pa.CompressedInputStream(pa.PythonFile(self._file, mode="r"), self._packing)

    def _shut(self) -> None:
        self._stream.close()
        self._file.close()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer, or a part of it.

        Raises:
            _DamagedError: the rest cannot be unpacked; all that could be was given before.
            OSError: the file itself cannot be read.
        """
        view = memoryview(buffer)
        count = min(len(view), _PIECE)
        data = self._next(count) if self._damage is None else self._rest(count, self._damage)
        view[: len(data)] = data
        self._given += len(data)
        return len(data)

    def _next(self, count: int) -> bytes:
        try:
            data: bytes = self._stream.read(count)
        except OSError as exc:
            if exc.errno is not None:
                raise
            # The bytes unpacked before the damage are lost with the failed read: read up to them again in small steps.
            self._shut()
            self._stream = self._open()
            left = self._given
            while left > 0:
                left -= len(self._stream.read(min(left, _PIECE)))
            self._damage = str(exc)
            return self._rest(count, self._damage)
        return data

    def _rest(self, count: int, damage: str) -> bytes:
        """The bytes before the damage, one by one."""
        pieces: list[bytes] = []
        while len(pieces) < count and not self._over:
            try:
                piece = self._stream.read(1)
            except OSError as exc:
                if exc.errno is not None:
                    raise
                piece = b""
            self._over = not piece
            pieces.append(piece)
        if data := b"".join(pieces):
            return data
        raise _DamagedError(damage)

    def close(self) -> None:
        if not self.closed:
            self._shut()
        super().close()


def _other_packing(head: bytes, packing: str) -> str | None:
    """Why a file cannot be unpacked as its ending says; None when it can."""
    if not head or head.startswith(_MAGIC[packing]):
        return None
    actual = next((name for name, magics in _MAGIC.items() if head.startswith(magics)), None)
    if actual is not None:
        return f"is packed with {actual}, not with {packing}. Give it the ending {_ENDINGS[actual]}."
    return f"is not packed with {packing}, whatever its ending says. Give it the ending .jsonl if it is plain text."


def _no_text(head: bytes, path: Path) -> str | None:
    """Why a file that begins with these bytes is no text; None when it may be."""
    if (packing := next((name for name, magics in _MAGIC.items() if head.startswith(magics)), None)) is not None:
        kind = next((ending for ending in path.suffixes if ending in (".csv", ".tsv")), ".jsonl")
        return f"is compressed. Give it the ending {kind}{_ENDINGS[packing]}, or unpack it."
    if head[:1] not in (b"", b"\0") and head[1:2] == b"\0":
        return "is UTF-16. Convert it to UTF-8: iconv -f UTF-16LE -t UTF-8."
    if head[:1] == b"\0" and head[1:2] not in (b"", b"\0"):
        return "is UTF-16. Convert it to UTF-8: iconv -f UTF-16BE -t UTF-8."
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "is a web page or XML, not rows. Was it downloaded without a login? Fetch it again."
    return next((text for magic, text in _OTHERS if head.startswith(magic)), None)
