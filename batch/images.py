"""Files of the job's folder, and pictures → content parts.

Owns what may be read from disk on a row's word: regular files inside the job's folder and nothing else, however the
name is written, because a name in a row is data from outside; and pictures only if their bytes are a picture's. A
picture goes into a request as `{"type": "image_url", "image_url": {"url": ...}}` with an address, or a `data:` URI of
its bytes; how a service wants the bytes is its dialect's business. Sources: BigModel API reference (jpg, png, at most
5 MB), OpenAI API reference (image parts). Used by `prompt`.
"""

from __future__ import annotations

import base64
import binascii
import re
from pathlib import Path
from typing import Any, Final

MAX_IMAGE_BYTES: Final = 20_000_000  # the largest any service takes; a smaller one is the provider's to refuse
MAX_TEXT_BYTES: Final = 16 * 1024 * 1024
KEPT_BYTES: Final = 64 * 1024 * 1024
_URL: Final = re.compile(r"https?://[^\s]+", re.ASCII)
_DATA: Final = re.compile(r"data:image/[a-z0-9.+-]+;base64,[A-Za-z0-9+/=\s]+", re.ASCII)
_BASE64: Final = re.compile(r"[A-Za-z0-9+/\s]{64,}={0,2}\s*", re.ASCII)
_MAGIC: Final = (
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"BM", "bmp"),
)


class Files:
    """The files of one folder, read once each.

    Args:
        folder: nothing outside it is ever opened.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept: dict[str, bytes] = {}
        self._size = 0

    def text(self, name: str) -> str:
        """The text of a file.

        Raises:
            ValueError: it is not there, not inside the folder, too large, or not UTF-8.
        """
        try:
            return self.read(name, MAX_TEXT_BYTES).decode("utf-8-sig")
        except UnicodeDecodeError as exc:
            raise ValueError(f"file {name!r} is not UTF-8 text") from exc

    def read(self, name: str, most: int) -> bytes:
        """The bytes of a file of at most `most` bytes.

        Raises:
            ValueError: as `text`.
        """
        if name in self._kept:
            return self._kept[name]
        if not name or "\0" in name:
            raise ValueError(f"file {name!r} has no name")
        root = self._folder.resolve()
        try:
            path = (root / name).resolve(strict=True)
            if not path.is_relative_to(root):
                raise ValueError(f"file {name!r} lies outside the job's folder: only what is inside is read")
            if not path.is_file():
                raise ValueError(f"{name!r} is no regular file")
            if path.stat().st_size > most:
                raise ValueError(f"file {name!r} is larger than {most:,} bytes")
            data = path.read_bytes()
        except (OSError, RuntimeError) as exc:
            why = exc.strerror if isinstance(exc, OSError) else "a loop of links"
            raise ValueError(f"file {name!r} cannot be read from the job's folder: {why}") from exc
        if self._size + len(data) <= KEPT_BYTES:
            self._kept[name] = data
            self._size += len(data)
        return data


def parts_of(value: Any, files: Files) -> list[dict[str, Any]]:
    """The content parts of one cell: an address, a path in the job's folder, bytes, base64, or a list of these.

    Raises:
        ValueError: it is none of these; the text says what it is.
    """
    if value is None or value == "":
        return []
    if isinstance(value, list):
        return [part for item in value for part in parts_of(item, files)]
    return [{"type": "image_url", "image_url": {"url": _address(value, files)}}]


def _address(value: Any, files: Files) -> str:
    if isinstance(value, bytes | bytearray | memoryview):
        return data_uri(bytes(value))
    if not isinstance(value, str):
        raise ValueError(f"an address, a path, bytes or base64 is wanted, not {type(value).__name__}")  # noqa: TRY004 - data
    text = value.strip()
    if _URL.fullmatch(text):
        return text
    if _DATA.fullmatch(text):
        return data_uri(_decoded(text.partition(",")[2]))
    if _BASE64.fullmatch(text) and (data := _decoded(text)) and _kind(data) is not None:
        return data_uri(data)
    return data_uri(files.read(text, MAX_IMAGE_BYTES))


def data_uri(data: bytes) -> str:
    """The `data:` URI of a picture.

    Raises:
        ValueError: the bytes are no picture, or too many.
    """
    kind = _kind(data)
    if kind is None:
        raise ValueError("the bytes are no picture: JPEG, PNG, GIF, WebP and BMP are known")
    if len(data) > MAX_IMAGE_BYTES:
        raise ValueError(f"the picture is larger than {MAX_IMAGE_BYTES:,} bytes")
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _kind(data: bytes) -> str | None:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    return next((kind for magic, kind in _MAGIC if data.startswith(magic)), None)


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as exc:
        raise ValueError("the base64 text is damaged") from exc
