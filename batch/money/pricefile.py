"""Price files: from TOML to the lines of a price list, or to all that is wrong in them.

Owns the form of a price file. A `[[price]]` says what some models of some providers cost from a day on; where it has
several tiers, bands or hours, each is one table in its `rates`. A key that is not in a table of `rates` counts as it
stands in the price, and one that is not there as it stands in the `[list.NAME]` it names. What lines mean together
(holes, overlaps) is checked in `bands`; which of them a call is billed by is not known here.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import msgspec

from batch.core.errors import JobError, RefusedToStart
from batch.core.hours import midnight_us, moment_us
from batch.core.nearest import suggestion
from batch.money import bands
from batch.money.pricekeys import KEYS, windows
from batch.money.rates import Rates

BOOK_ORIGIN: Final = "the price book"
_NEEDED: Final = ("providers", "models", "currency", "input", "output")
_NOT_OF_A_LIST: Final = frozenset({"list", "models"})
_NOT_OF_A_RATE: Final = frozenset({"list", "providers", "models", "currency", "zone", "hosts"})
_HEADER: Final = re.compile(r"^[ \t]*\[\[\s*price\s*\]\]", re.MULTILINE)


class Place(msgspec.Struct, frozen=True):
    """Where a price stands."""

    file: str
    """As an error text and `promptmill prices` name it."""
    line: int | None
    number: int

    def text(self, models: Any) -> str:
        """The place as the beginning of an error text."""
        named = f" ({models[0]})" if isinstance(models, (list, tuple)) and models else ""
        return f"{f'line {self.line}, ' if self.line else ''}price {self.number}{named}"

    @property
    def origin(self) -> str:
        """As `Rates.origin` has it."""
        return self.file if self.file == BOOK_ORIGIN or not self.line else f"{self.file}, line {self.line}"


def read_file(path: Path, *, origin: str | None = None) -> list[Rates]:
    """The lines of a price file, held against each other.

    Args:
        path: the file.
        origin: as `Rates.origin` names it; None takes the file's name.

    Raises:
        RefusedToStart: it cannot be read, is not TOML, or has wrong prices: each with its line and the way out.
    """
    return _read(path, origin or path.name)


def read_tables(prices: Sequence[Mapping[str, Any]], provider: str, *, job: str = "the job") -> list[Rates]:
    """The lines of the `[[provider.NAME.price]]` tables of a job.

    Args:
        prices: the tables as TOML gives them.
        provider: the NAME.
        job: the path of the job file, which is read for line numbers, or any name of the job.

    Raises:
        JobError: some are wrong; the error names each with its line and the way out.
    """
    header = re.compile(
        rf"^[ \t]*\[\[\s*provider\s*\.\s*[\"']?{re.escape(provider)}[\"']?\s*\.\s*price\s*\]\]", re.MULTILINE
    )
    path = Path(job)
    is_file = path.suffix == ".toml" and path.is_file()
    file, text = (path.name, path.read_text(encoding="utf-8-sig")) if is_file else (job, "")
    faults: list[str] = []
    lines: list[Rates] = []
    for place, price in _placed(prices, file, text, header):
        if taken := {"providers", "list"}.intersection(price):
            faults.append(f"{place.text(price.get('models'))}: {taken.pop()}: leave it out, the price is {provider}'s")
            continue
        lines += _lines({**price, "providers": [provider]}, {}, place, faults)
    faults = faults or bands.faults(lines)
    if faults:
        raise JobError([f"provider.{provider}.price, {fault}" for fault in faults], where=job)
    return lines


def lines_of(price: Mapping[str, Any], lists: Mapping[str, Mapping[str, Any]], place: Place) -> list[Rates]:
    """The lines of one price of the book, which is known to be right.

    Args:
        price: the table as TOML gives it.
        lists: by name, the `[list.NAME]` tables.
        place: where it stands.
    """
    faults: list[str] = []
    lines = _lines(price, lists, place, faults)
    assert not faults, faults
    return lines


def _read(path: Path, file: str) -> list[Rates]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
        document = tomllib.loads(text, parse_float=Decimal)
    except OSError as exc:
        others = path.absolute().parent.glob("*.toml") if isinstance(exc, FileNotFoundError) else ()
        hint = suggestion(path.name, [other.name for other in others], "Name a file of [[price]] tables.")
        raise RefusedToStart(f"price file {path}: cannot be read: {exc.strerror}. {hint}") from exc
    except UnicodeDecodeError as exc:
        raise RefusedToStart(f"price file {path}: is not UTF-8. Save the file as UTF-8") from exc
    except tomllib.TOMLDecodeError as exc:
        raise RefusedToStart(f'price file {path}: not TOML: {exc}. Texts stand in quotes: key = "text"') from exc
    faults = [
        f"{key}: unknown key: a price file has [[price]] tables and [list.NAME] tables. "
        f"{suggestion(key, ('price', 'list'))}".rstrip()
        for key in document
        if key not in {"price", "list"}
    ]
    prices, lists = document.get("price", []), document.get("list", {})
    if not isinstance(prices, list) or not all(isinstance(price, dict) for price in prices):
        faults.append("price: write [[price]] with two brackets, once for each price")
        prices = []
    if not isinstance(lists, dict) or not all(isinstance(table, dict) for table in lists.values()):
        faults.append("list: write [list.NAME], once for each list")
        lists = {}
    for name, table in lists.items():
        faults += _wrong_keys(table, f"list.{name}", without=_NOT_OF_A_LIST)
    lines = [
        line for place, price in _placed(prices, file, text, _HEADER) for line in _lines(price, lists, place, faults)
    ]
    if faults := faults or bands.faults(lines):
        raise JobError(faults, where=f"price file {path}")
    return lines


def _placed(
    prices: Sequence[Mapping[str, Any]], file: str, text: str, header: re.Pattern[str]
) -> list[tuple[Place, Mapping[str, Any]]]:
    """Each price with its place; without the line where the headers in the text are not as many as the prices."""
    numbers: list[int | None] = [text.count("\n", 0, match.end()) + 1 for match in header.finditer(text)]
    if len(numbers) != len(prices):
        numbers = [None] * len(prices)
    return [
        (Place(file, line, number), price) for number, (line, price) in enumerate(zip(numbers, prices, strict=True), 1)
    ]


def _lines(
    price: Mapping[str, Any], lists: Mapping[str, Mapping[str, Any]], place: Place, faults: list[str]
) -> list[Rates]:
    """The lines of one price: as many as it has tables in `rates`, else one. What is wrong goes to `faults`."""
    where = place.text(price.get("models"))
    own = {key: value for key, value in price.items() if key != "rates"}
    wrong = _wrong_keys(own, where, without=frozenset())
    base: Mapping[str, Any] = {}
    if isinstance(name := own.get("list"), str) and lists:
        if name not in lists:
            wrong.append(f'{where}: list = "{name}": there is no [list.{name}]. {suggestion(name, lists)}'.rstrip())
        base = lists.get(name, {})
    rates = price.get("rates", [{}])
    if not isinstance(rates, (list, tuple)) or not rates or not all(isinstance(rate, dict) for rate in rates):
        wrong.append(f"{where}: rates: expected a list of tables: [{{ in_below = 32000, input = 2, output = 8 }}, …]")
        rates = []
    for number, rate in enumerate(rates, 1):
        inside = where if "rates" not in price else f"{where}, rates {number}"
        wrong += _wrong_keys(rate, inside, without=_NOT_OF_A_RATE)
    merged = [{**base, **own, **rate} for rate in rates]
    for number, keys in enumerate(merged, 1):
        missing = [key for key in _NEEDED if key not in keys]
        inside = where if "rates" not in price else f"{where}, rates {number}"
        wrong += [f"{inside}: {key} is missing: add it, {KEYS[key].means}" for key in missing]
    if wrong:
        faults += wrong
        return []
    lines = []
    for keys in merged:
        try:
            lines.append(_line(keys, place))
        except ValueError as exc:
            faults.append(f"{where}: {exc}")
    return lines


def _wrong_keys(table: Mapping[str, Any], where: str, *, without: frozenset[str]) -> list[str]:
    """What is wrong with each key of a table by itself."""
    faults = []
    known = [key for key in KEYS if key not in without]
    for key, value in table.items():
        if key not in KEYS or key in without:
            other = (
                "it belongs in the [[price]] itself"
                if key in KEYS
                else suggestion(key, known, f"There are {', '.join(known)}.")
            )
            faults.append(f"{where}: {key}: unknown key here. {other}")
            continue
        try:
            KEYS[key].read(value)
        except ValueError as exc:
            faults.append(f"{where}: {key} = {_shown(value)}: {exc}")
    return faults


def _line(keys: Mapping[str, Any], place: Place) -> Rates:
    read = {key: KEYS[key].read(value) for key, value in keys.items()}
    zone = read.get("zone", "UTC")
    hours = windows(read.get("hours", ()), zone)
    first, last = read.get("valid_from"), read.get("valid_to")
    from_us, to_us = _begin(first, zone), _end(last, zone)
    if from_us is not None and to_us is not None and to_us <= from_us:
        raise ValueError(f"valid_to {last} is before valid_from {first}: it counts on no day")
    for low, high in (("in_from", "in_below"), ("out_from", "out_below")):
        if high in read and read.get(low, 0) >= read[high]:
            raise ValueError(f"{low} = {read[low]} is not below {high} = {read[high]}: no call is so long")
    read["list"] = read.get("list", read["providers"][0])
    read.setdefault("cached_input", read["input"])
    read.setdefault("cache_write", read["input"])
    own = {**read, "hours": hours, "zone": zone}
    line = Rates(id="", from_us=from_us, to_us=to_us, origin=place.origin, **own)
    return msgspec.structs.replace(line, id=_id(line, place))


def _begin(first: Any, zone: str) -> int | None:
    if first is None:
        return None
    return moment_us(first, zone) if isinstance(first, datetime) else midnight_us(first, zone)


def _end(last: Any, zone: str) -> int | None:
    if last is None:
        return None
    return moment_us(last, zone) if isinstance(last, datetime) else midnight_us(last + timedelta(days=1), zone)


def _id(line: Rates, place: Place) -> str:
    """`provider/model@first-day`, and what makes this line another one than those beside it.

    A line that is not of the book carries its file and a hash of what it says: a file may be changed, and what is
    stored with a call must never come to mean another price.
    """
    first = "" if line.valid_from is None else f"@{line.valid_from.isoformat()}"
    parts = [f"{line.provider}/{line.models[0]}{first}"]
    parts += line.hosts[:1]
    parts += [line.tier] if line.tier != "standard" else []
    parts += [_band(word, low, high) for word, low, high in _ends(line) if low is not None or high is not None]
    parts += [",".join(str(window).replace(" ", "_") for window in line.hours)] if line.hours else []
    name = "/".join(parts)
    if place.file == BOOK_ORIGIN:
        return name
    said = msgspec.json.encode(msgspec.structs.replace(line, origin=""))
    return f"{place.file}:{name}#{blake2b(said, digest_size=4).hexdigest()}"


def _ends(line: Rates) -> list[tuple[str, int | None, int | None]]:
    return [("in", line.in_from, line.in_below), ("out", line.out_from, line.out_below)]


def _band(word: str, low: int | None, high: int | None) -> str:
    if not low:
        return f"{word}<{high}"
    return f"{word}>={low}" if high is None else f"{word}={low}..{high - 1}"


def _shown(value: Any) -> str:
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
