"""Files of the job's folder, read as text for a prompt or as a picture for a content part of a message.

Owns what may be read from disk on a row's word: regular files inside the job's folder and nothing else, however the
name is written, because a name in a row is data from outside; and pictures only if their bytes are a picture's. A
picture goes into a request as `{"type": "image_url", "image_url": {"url": ...}}` with an address, or a `data:` URI of
its bytes; how a service wants the bytes is its dialect's business. `source` beside it says where they came from: it
stays in what is kept of a conversation and is no part of what is asked. Sources: BigModel API reference (jpg, png, at
most 5 MB), OpenAI API reference (image parts, 50 MB a request).
"""

from __future__ import annotations

import base64
import binascii
import re
import stat
from collections import OrderedDict
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from sys import getsizeof
from threading import Lock
from typing import Any, Final

from batch.core.records import Message

MAX_IMAGE_BYTES: Final = 20_000_000  # the largest any service takes; a smaller one is the provider's to refuse
MAX_TEXT_BYTES: Final = 16 * 1024 * 1024
MAX_ROW_BYTES: Final = 50_000_000  # of one row's pictures as they go out
KEPT_BYTES: Final = 16 * 1024 * 1024
"""Of texts and pictures that were read and may be asked for again."""
_URL: Final = re.compile(r"https?://\S+", re.ASCII | re.IGNORECASE)
_BASE64: Final = re.compile(r"[A-Za-z0-9+/\s]{64,}={0,2}", re.ASCII)
_LONG: Final = 256
"""Characters of media in a message that are kept as they are: addresses and ids are shorter, or begin with http."""
_MAGIC: Final = (
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"BM", "bmp"),
)


class Files:
    """Reads the files of one folder for all rows of a run, from any thread.

    What was read is kept in the form in which it is sent, so that rows that name one file share its text. Of files
    that together are larger than a bound, those that were asked for last are kept.

    Args:
        folder: nothing outside it is ever opened.
        most_bytes: memory for what is kept, beside what was read last, which is kept however large it is.
    """

    def __init__(self, folder: Path, *, most_bytes: int = KEPT_BYTES) -> None:
        self._folder = folder
        self._most_bytes = most_bytes
        self._kept: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._size = 0
        self._lock = Lock()

    def text(self, name: str) -> str:
        """The text of a file.

        Raises:
            ValueError: it is not there, not inside the folder, too large, or not UTF-8.
        """
        return self._once("text", name, lambda: self._text(name))

    def picture(self, name: str) -> str:
        """The `data:` URI of a picture.

        Raises:
            ValueError: it is not there, not inside the folder, too large, or no picture.
        """
        return self._once("picture", name, lambda: data_uri(self._read(name, MAX_IMAGE_BYTES)))

    def _once(self, form: str, name: str, read: Callable[[], str]) -> str:
        """What is kept of a file in one form, or what is read of it now."""
        key = form, name
        with self._lock:
            if (found := self._kept.get(key)) is not None:
                self._kept.move_to_end(key)
                return found
            made = self._kept[key] = read()
            self._size += getsizeof(made)
            while self._size > self._most_bytes and len(self._kept) > 1:
                self._size -= getsizeof(self._kept.popitem(last=False)[1])
            return made

    def _text(self, name: str) -> str:
        try:
            return self._read(name, MAX_TEXT_BYTES).decode("utf-8-sig")
        except UnicodeDecodeError as exc:
            raise ValueError(f"file {name!r} is not UTF-8 text (byte {exc.start})") from exc

    def _read(self, name: str, max_bytes: int) -> bytes:
        """The bytes of a file that is not larger than `max_bytes`.

        Raises:
            ValueError: as `text`.
        """
        shown = repr(name if len(name) <= 120 else f"{name[:100]}…")
        if not name.strip() or "\0" in name:
            raise ValueError(f"{shown} is no name of a file")
        root = self._folder.resolve()
        try:
            path = (root / name).resolve()
            if not path.is_relative_to(root):
                raise ValueError(f"file {shown} lies outside the job's folder: only what is inside is read")
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):
                raise ValueError(f"{shown} is no regular file")
            if status.st_size > max_bytes:
                raise ValueError(f"file {shown} is larger than {max_bytes:,} bytes")
            data = path.read_bytes()
        except (OSError, RuntimeError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) else "a loop of links"
            raise ValueError(f"file {shown} cannot be read from the job's folder: {reason}") from exc
        return data


def parts_of(value: Any, files: Files, *, column: str, room: int = MAX_ROW_BYTES) -> list[dict[str, Any]]:
    """The content parts of one cell: an address, a path in the job's folder, bytes, base64, or a list of these.

    Data sets hold pictures as `{"bytes": …, "path": …}` too.

    Args:
        value: the cell.
        files: where paths lead.
        column: its name, the source of bytes that have no other.
        room: the bytes that all of them may have.

    Raises:
        ValueError: it is none of these, or too much; the text says what it is.
    """
    parts = []
    for cell in value if isinstance(value, list) else [value]:
        item = (cell.get("path") if cell.get("bytes") is None else cell["bytes"]) if isinstance(cell, dict) else cell
        if item is None or (isinstance(item, str) and not item.strip()):
            continue
        url, source = _address(item, files)
        room -= len(url)
        if room < 0:
            raise ValueError(f"the pictures of one row are larger than {MAX_ROW_BYTES:,} bytes together")
        part: dict[str, Any] = {"type": "image_url", "image_url": {"url": url}}
        if url.startswith("data:"):
            part["source"] = source or f"column {column}"
        parts.append(part)
    return parts


def _address(value: Any, files: Files) -> tuple[str, str | None]:
    """The URL of a picture in the request, an address or a `data:` URI, and the name of its file if it has one."""
    if isinstance(value, bytes | bytearray | memoryview):
        return data_uri(bytes(value)), None
    if not isinstance(value, str):
        raise ValueError(f"an address, a path, bytes or base64 is wanted, not {type(value).__name__}")  # noqa: TRY004 - data
    text = value.strip()
    begin = text[:8].lower()
    if begin.startswith(("http://", "https://")):
        if not _URL.fullmatch(text):
            raise ValueError(f"the address {text[:100]!r} has a blank in it: write %20")
        return text, None
    if begin.startswith("data:"):
        head, comma, data = text.partition(",")
        if not comma or not head.lower().endswith(";base64"):
            raise ValueError(f"{text[:40]!r}: of data: addresses those in base64 are known")
        return data_uri(_decoded(data)), None
    if _encoded(text):
        return data_uri(_decoded(text)), None
    return files.picture(text), text


def _encoded(text: str) -> bool:
    """Whether a text is a picture in base64, sound or damaged: its first bytes tell, as file names have its letters."""
    try:
        kind = _kind(base64.b64decode("".join(text[:40].split())[:16], validate=True))
    except ValueError:
        return False
    return kind is not None and (kind != "bmp" or _BASE64.fullmatch(text) is not None)


def asked(messages: list[Message]) -> list[Message]:
    """The messages without the sources of their pictures: the same picture under another name is the same request."""
    return [_each_part(message, _unsourced) for message in messages]


def shown(messages: Sequence[Message]) -> list[Message]:
    """The messages with a `sha256:` hash in place of each picture's bytes, so that no megabytes are kept twice."""
    return [_each_part(message, _hashed) for message in messages]


def _each_part(message: Message, change: Callable[[Any], Any]) -> Message:
    content = message.get("content")
    if not isinstance(content, list):
        return message
    return {**message, "content": [change(part) for part in content]}


def _unsourced(part: Any) -> Any:
    return {name: value for name, value in part.items() if name != "source"} if isinstance(part, dict) else part


def _hashed(part: Any) -> Any:
    if isinstance(part, dict):
        return part if part.get("type") == "text" else {name: _hashed(value) for name, value in part.items()}
    if not isinstance(part, str) or part.lower().startswith(("http://", "https://")):
        return part
    inline = part[:5].lower() == "data:"
    if not inline and len(part) <= _LONG:
        return part
    try:
        data = _decoded(part.partition(",")[2] if inline else part)
    except ValueError:
        data = part.encode("utf-8", "surrogatepass")
    return f"sha256:{sha256(data).hexdigest()}"


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
