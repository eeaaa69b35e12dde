"""The lines of a large text file, each held in memory only up to a size limit.

Owns finding where lines begin and end, and refusing files that are no text at all. What stands in a line is its user's
matter (`source`).
"""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Final, Self

import msgspec

from batch.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

BOM: Final = b"\xef\xbb\xbf"
_CHUNK: Final = 1024 * 1024


class Line(msgspec.Struct):
    """One line that is not blank, without its end (LF or CRLF)."""

    number: int
    """1-based, blank lines counted."""
    raw: bytes | None
    """None when the line is longer than the limit."""
    size: int
    end: int
    """Byte after the line, its newline included: where to go on."""
    torn: bool = False
    """The file ended before a newline did."""
    too_long: str | None = None
    """Identity of a line that is too long, from all its bytes."""


class Lines:
    """Iterates over the lines of a file from a byte on. Use as a context manager, or call `close`."""

    def __init__(
        self, path: Path, *, limit: int, identify: Callable[[Iterable[bytes]], str], byte: int = 0, line: int = 0
    ) -> None:
        """Open the file.

        Args:
            path: the file.
            limit: bytes; a longer line is passed over in pieces and only named.
            identify: names a line from the pieces of its bytes.
            byte: where to begin, the `end` of an earlier line.
            line: lines before that.

        Raises:
            InputError: it cannot be opened, or is UTF-16, Parquet or compressed.
        """
        self._path = path
        self._limit = limit
        self._identify = identify
        self._number = line
        self._file: IO[bytes] | None = None
        try:
            self._file = path.open("rb", buffering=_CHUNK)
            head = self._file.read(4)
            self._byte = len(BOM) if byte == 0 and head.startswith(BOM) else byte
            self._file.seek(self._byte)
        except OSError as exc:
            raise InputError(f"{path}: cannot be read: {exc.strerror}.") from exc
        if reason := _no_text(head):
            self.close()
            raise InputError(f"{path}: {reason}")

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

    def _pass_over(self, first: bytes) -> tuple[int, str]:
        """Run over the rest of a line that is too long; its size and its name."""
        size = 0

        def pieces() -> Iterator[bytes]:
            nonlocal size
            piece, held = first, b""
            while piece:
                size += len(piece)
                piece = held + piece
                # A CR that ends a piece belongs to the line's end if it is the last byte before it, else to the line.
                held = b"\r" if piece.endswith(b"\r") else b""
                yield piece.removesuffix(b"\n").removesuffix(b"\r")
                piece = b"" if piece.endswith(b"\n") else self._readline(_CHUNK)

        name = self._identify(pieces())
        return size, name

    def _readline(self, most: int) -> bytes:
        assert self._file is not None
        try:
            return self._file.readline(most)
        except OSError as exc:
            raise InputError(f"{self._path}: cannot be read at byte {self._byte}: {exc.strerror}.") from exc

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


def _no_text(head: bytes) -> str | None:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "is UTF-16. Convert it to UTF-8: iconv -f UTF-16 -t UTF-8."
    if head == b"PAR1":
        return "is a Parquet file. Give it the ending .parquet."
    if head.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zX")):
        return "is compressed. Unpack it first."
    return None
