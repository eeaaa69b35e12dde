"""JSON text and records: how one is read from and written to the other, the canonical form, and the hashes of it.

Owns how values become bytes where those bytes decide something: the identity of a row without a key, and the
fingerprint that says whether an answer is already paid for. It reads no files (`batch.input` does) and does not know
templates (`batch.prompts`).

The canonical form of a record does not depend on key order nor on the file it came from:

    null                     left out of objects at every depth, because Parquet cannot tell null from missing
    3.0                      3, below 2**53 where a double is still exact
    NaN, ±inf                "NaN", "Infinity", "-Infinity"
    decimal                  its plain digits as a string, trailing zeros kept: "12.50"
    date, time, timestamp    ISO 8601; a duration is "PT<seconds>S"
    bytes                    base64
    lone surrogate           U+FFFD

A decimal read from Parquet and the same figure read from JSON agree only when `input.types` declares it.
"""

from __future__ import annotations

import base64
import datetime as dt
import itertools
import json
import math
import uuid
from collections.abc import Iterable, Mapping
from decimal import Decimal
from hashlib import blake2b
from typing import Any, Final, Never

import msgspec

EXACT: Final = 2**53
"""From here on a double cannot hold every whole number, so it need not be the integer that it looks like."""

BOM: Final = b"\xef\xbb\xbf"

_DIGEST: Final = 16
_FEW_DIGITS: Final = 4
_NOTHING: Final = blake2b(digest_size=_DIGEST)
"""A hash that nothing was added to yet: to copy it takes less time than to make one."""
_encode: Final = msgspec.json.Encoder(order="sorted").encode
_encode_as_is: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode
DEEPEST: Final = 200
"""So many lists and objects may stand in each other; how many a parser takes differs from Python to Python."""
_SIMPLE: Final = frozenset((str, int, bool))


def loads(data: bytes | str) -> Any:
    """Decode one JSON document.

    Integers are exact at any length, the last of repeated keys wins, a byte-order mark is ignored.

    Raises:
        ValueError: the text is not JSON (NaN and Infinity are not), has a number beyond a double, is not UTF-8, or is
            nested too deeply. The message says what is wrong, and at which byte where the parser knows it.
    """
    data = without_surrogates(data).encode() if isinstance(data, str) else data
    data = data.removeprefix(BOM)
    try:
        value = _decode(data)
        if data.count(b"[") + data.count(b"{") > DEEPEST:
            _require_shallow(value)
    except RecursionError as exc:
        raise ValueError("nested too deeply") from exc
    except UnicodeDecodeError as exc:
        raise _not_utf8(data, exc) from exc
    except msgspec.DecodeError as exc:
        if b"\\u" not in data:
            raise ValueError(_plain_words(exc)) from exc
        return _loads_surrogates(data, exc)
    return value


def _require_shallow(value: Any) -> None:
    """Refuse what is nested so deeply that some code behind us, which takes one call a level, could not hold it."""
    level: list[Any] = [value]
    for _ in range(DEEPEST + 1):
        inner = [item.values() if isinstance(item, dict) else item for item in level if isinstance(item, dict | list)]
        level = list(itertools.chain.from_iterable(inner))
    if level:
        raise RecursionError


def _loads_surrogates(data: bytes, first: msgspec.DecodeError) -> Any:
    # Escaped lone surrogates are common in scraped text cut in half. msgspec refuses them; the standard library keeps
    # them, and nothing after us (Arrow, UTF-8 bodies) could carry them, so they become U+FFFD here.
    try:
        value = json.loads(data.decode(), parse_constant=_refuse_constant)
    except UnicodeDecodeError as exc:
        raise _not_utf8(data, exc) from exc
    except (ValueError, RecursionError):
        raise ValueError(_plain_words(first)) from first
    return without_surrogates(value)


def _plain_words(exc: msgspec.DecodeError) -> str:
    return str(exc).removeprefix("JSON is malformed: ")


def _not_utf8(data: bytes, exc: UnicodeDecodeError) -> ValueError:
    try:
        data.decode()
    except UnicodeDecodeError as error:  # msgspec counts from the string it was in, not from the line
        return ValueError(f"not UTF-8: byte 0x{data[error.start]:02x} at byte {error.start}")
    return ValueError(f"not UTF-8: {exc.reason}")


def _refuse_constant(name: str) -> Never:
    raise ValueError(f"{name} is not JSON")


def dumps(value: Any) -> str:
    """Encode one value as compact JSON text; lone surrogates become U+FFFD.

    Raises:
        ValueError: the value holds NaN or an infinity, which JSON cannot say.
        TypeError: the value holds a type that JSON has no form for.
    """
    try:
        data = _encode_as_is(value)
    except UnicodeEncodeError:
        value = without_surrogates(value)
        data = _encode_as_is(value)
    # msgspec writes NaN as null without an error. Looking for it is only needed when a null is there.
    if b"null" in data and not _finite(value):
        raise ValueError("NaN and infinity have no form in JSON")
    return data.decode()


def _finite(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, Mapping):
        return all(_finite(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return all(_finite(item) for item in value)
    return True


def without_surrogates(value: Any) -> Any:
    """The same value without lone surrogates, which neither UTF-8 nor Arrow can carry.

    In every string and key, at every depth, a pair that was split is joined, and half a pair becomes U+FFFD. Tuples
    come back as lists; text that is clean comes back as it is.
    """
    if isinstance(value, str):
        return _clean(value)
    if isinstance(value, dict):
        return {without_surrogates(key): without_surrogates(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_surrogates(item) for item in value]
    return value


def _clean(text: str) -> str:
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def canonical(value: Any) -> bytes:
    """The canonical JSON of a record, as bytes; the rules are those at the top of this module.

    Raises:
        TypeError: the record holds a type that no source produces.
    """
    clean: Any = value
    if type(value) is not dict:
        clean = plain(value)
    elif not _SIMPLE.issuperset(map(type, value.values())):
        clean = {}
        for key, item in value.items():
            kind = type(item)
            if kind in _SIMPLE:
                clean[key] = item
            elif item is not None:
                clean[key] = _number(item) if kind is float else plain(item)
    try:
        return _encode(clean)
    except UnicodeEncodeError:
        return _encode(without_surrogates(clean))
    except TypeError:  # a key that is no string
        return _encode(plain(value))


def plain(value: Any, *, keep_null: bool = False) -> Any:
    """The canonical form of one value, made of JSON types alone.

    Args:
        value: any value of a record.
        keep_null: keep nulls in objects, for where null means something else than missing.

    Raises:
        TypeError: the value holds a type that no source produces.
    """
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, Mapping):
        return {
            key if isinstance(key, str) else str(plain(key)): plain(item, keep_null=keep_null)
            for key, item in value.items()
            if keep_null or item is not None
        }
    if isinstance(value, (list, tuple)):
        return [plain(item, keep_null=keep_null) for item in value]
    return _text(value)


def _number(value: float) -> float | int | str:
    if value.is_integer():
        return int(value) if -EXACT < value < EXACT else value
    if math.isnan(value):
        return "NaN"
    if value in (math.inf, -math.inf):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def _text(value: Any) -> str:
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, (dt.datetime, dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(value).decode()
    if isinstance(value, dt.timedelta):
        micros = (value.days * 86_400 + value.seconds) * 1_000_000 + value.microseconds
        return f"PT{format((Decimal(micros) / 1_000_000).normalize(), 'f')}S"
    if isinstance(value, uuid.UUID):
        return str(value)
    raise TypeError(f"no canonical form for {type(value).__name__}")


def record_id(record: Mapping[str, Any], *, but: str | None = None) -> str:
    """The identity of a record without a key: a hash of its canonical form, as 32 hex digits.

    Args:
        record: the values of one row.
        but: a name that does not count, because it says where the row stood and not what it is.
    """
    if but is not None:
        record = {name: value for name, value in record.items() if name != but}
    return form_id(canonical(record))


def form_id(form: bytes) -> str:
    """The identity of a record of which the canonical form is at hand."""
    digest = _NOTHING.copy()
    digest.update(form)
    return digest.hexdigest()


def repeated_key_id(key: str, times: int) -> str:
    """The identity of a row whose key stood before: the key, how often it was met, and a few digits of a hash of both.

    Keys are free text. Without the digits the second `a` would be called `a-2`, as a row that comes later may be, and
    would take the place of that row's answer in the table.
    """
    name = f"{key}-{times}"
    digits = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=_FEW_DIGITS).hexdigest()
    return f"{name}-{digits}"


def bad_line_id(raw: bytes | Iterable[bytes]) -> str:
    """The identity of a line that cannot be read: `bad-` and a hash of its bytes; `raw` may be pieces of the line."""
    digest = blake2b(digest_size=_DIGEST)
    for piece in (raw,) if isinstance(raw, bytes) else raw:
        digest.update(piece)
    return f"bad-{digest.hexdigest()}"


def call_key(name: str, arguments: str) -> str:
    """What makes two calls of a tool the same: its name and the canonical form of its arguments, as 32 hex digits.

    Args:
        name: of the tool, as the model gave it.
        arguments: the model's JSON text; what is no JSON counts as it stands.
    """
    try:
        given = plain(loads(arguments), keep_null=True) if arguments.strip() else {}
    except ValueError:
        given = arguments
    return blake2b(_encode(without_surrogates([name, given])), digest_size=_DIGEST).hexdigest()


class Fingerprint:
    """Makes fingerprints of requests that share provider, model, parameters and tools, and differ in their messages.

    What they share is hashed once; each message list then starts from a copy of that state. Null differs from missing
    here (a tool schema with `default: null` is another schema); `1` and `1.0` are the same (so are two temperatures).

    Args:
        provider: its name.
        model: its name.
        parameters: those sent with every request.
        tools: schema and version of every tool, in order.
        labels: what a valid label is; None where no label is asked for.
    """

    __slots__ = ("_start",)

    def __init__(
        self,
        provider: str,
        model: str,
        parameters: Mapping[str, Any],
        tools: Iterable[Mapping[str, Any]] = (),
        *,
        labels: Mapping[str, Any] | None = None,
    ) -> None:
        shared = [provider, model, plain(parameters, keep_null=True), plain(list(tools), keep_null=True)]
        if labels is not None:
            shared.append(plain(labels, keep_null=True))
        self._start = blake2b(_encode(without_surrogates(shared)), digest_size=_DIGEST)
        self._start.update(b"\n")

    def of(self, messages: list[dict[str, Any]], over: Mapping[str, Any] | None = None) -> bytes:
        """The fingerprint (16 bytes) of a request.

        Args:
            messages: the messages of its first turn.
            over: what else this row asks that differs from the others; None when there is nothing.
        """
        digest = self._start.copy()
        try:
            digest.update(_encode(messages))
        except (UnicodeEncodeError, TypeError):
            digest.update(_encode(without_surrogates(plain(messages, keep_null=True))))
        if over:
            digest.update(b"\n" + _encode(without_surrogates(plain(over, keep_null=True))))
        return digest.digest()
