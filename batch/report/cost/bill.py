"""A bill as CSV: which of its columns mean what, by the names that providers give them, and its lines one by one.

Owns these names and how a cell is read: numbers with separators, days in any usual form, moments in seconds of UTC. It
compares nothing. Known are exports of BigModel, OpenAI (usage and costs), DeepSeek (amount and cost), and the books of
the simulator.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, tzinfo
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Final

import msgspec

from batch.core.errors import RefusedToStart
from batch.core.records import COST_DIGITS, COST_UNIT

COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "id": ("client_call_id", "request_id", "requestid", "请求id", "completion_id", "task_id", "任务id", "id"),
    "day": (
        *("day", "date", "utc_date", "usage_date", "日期", "账单日期", "消费日期", "消费时间", "调用时间", "账单时间"),
        *(
            "start_time_iso",
            "timestamp",
            "created_at",
            "created",
            "time",
            "at",
            "start_time",
            "month",
            "账期",
            "账单月份",
        ),
    ),
    "model": (
        *("model", "model_name", "model_id", "model_code", "模型", "模型名称", "模型编码", "模型产品名称", "产品名称"),
        *("snapshot_id", "snapshot", "line_item"),
    ),
    "prompt": ("prompt_tokens", "input_tokens", "n_context_tokens_total", "输入tokens", "输入token数", "输入用量"),
    "completion": (
        "completion_tokens",
        "output_tokens",
        "n_generated_tokens_total",
        "输出tokens",
        "输出token数",
        "输出用量",
    ),
    "total": ("total_tokens", "tokens", "tokens用量", "总tokens", "token数", "用量", "消耗量"),
    "cost": (
        *("cost", "cost_usd", "cost_cny", "amount_value", "amount_usd", "total_cost"),
        *("应付金额", "实付金额", "消费金额", "费用", "金额", "amount"),
    ),
    "currency": ("currency", "amount_currency", "币种"),
    "billed": ("billed",),
    "type": ("type",),
    "amount": ("amount",),
}
"""By what a column means, the names that it has in bills; the first that is there counts."""
_PARTS: Final = {"input_cache_hit_tokens": "prompt", "input_cache_miss_tokens": "prompt", "output_tokens": "completion"}
"""What a line of DeepSeek's amount export counts, by its `type`."""
_CURRENCIES: Final = {"cost_usd": "USD", "amount_usd": "USD", "cost_cny": "CNY"}
_SYMBOLS: Final = {"¥": "CNY", "￥": "CNY", "$": "USD", "RMB": "CNY", "元": "CNY", "人民币": "CNY"}
_NO: Final = ("false", "0", "no", "否")
_SECONDS: Final = 100_000_000_000
"""A number of seconds above this is one of milliseconds."""


class Entry(msgspec.Struct, frozen=True):
    """One line of a bill; what it does not tell is None."""

    line: int
    id: str | None = None
    period: str | None = None
    """A day, or a month where the bill tells no more."""
    model: str | None = None
    prompt: int | None = None
    completion: int | None = None
    total: int | None = None
    cost: int | None = None
    """In 10⁻¹² of the currency unit."""
    currency: str | None = None
    decimals: int = 0
    """Digits behind the point of the cost."""


class Bill:
    """A CSV file with what a provider bills.

    Args:
        path: the file: UTF-8 or GB 18030, with commas, semicolons or tabs.
        zone: of the days; moments that say their own offset are told in it.

    Raises:
        RefusedToStart: it cannot be read, or too few of its columns are known; says which there are.

    Attributes:
        taken: by what it means, the name of each column that was taken.
    """

    def __init__(self, path: Path, zone: tzinfo) -> None:
        self.path = path
        self._zone = zone
        self._encoding = _encoding(path)
        try:
            with path.open(encoding=self._encoding, newline="") as file:
                first = file.readline()
        except (OSError, UnicodeDecodeError) as exc:
            raise RefusedToStart(f"{path}: cannot be read: {exc}. Give a bill as CSV.") from exc
        self._delimiter = max(",;\t", key=first.count)
        names = next(csv.reader([first], delimiter=self._delimiter), [])
        self.taken = _taken(names)
        self._places = {meaning: names.index(name) for meaning, name in self.taken.items()}
        if not ({"id", "day"} & set(self.taken) and {"cost", "prompt", "total", "amount"} & set(self.taken)):
            raise RefusedToStart(
                f"{path}: of its columns ({', '.join(names[:20])}) too few are known. Needed are a request id or a "
                "day, and a cost or tokens: rename its columns, for instance to day, model, prompt_tokens, "
                "completion_tokens, cost, currency."
            )

    def entries(self) -> Iterator[Entry]:
        """Its lines, without those that say of themselves that they were not billed.

        Raises:
            RefusedToStart: a cell cannot be read; names the line.
        """
        try:
            with self.path.open(encoding=self._encoding, newline="") as file:
                reader = csv.reader(file, delimiter=self._delimiter)
                next(reader, None)
                for cells in reader:
                    if any(cell.strip() for cell in cells) and (found := self._entry(cells, reader.line_num)):
                        yield found
        except (OSError, UnicodeDecodeError, csv.Error) as exc:
            raise RefusedToStart(f"{self.path}: cannot be read: {exc}. Export it again.") from exc

    def _entry(self, cells: Sequence[str], line: int) -> Entry | None:
        said = {
            meaning: cells[at].strip() for meaning, at in self._places.items() if at < len(cells) and cells[at].strip()
        }
        if said.get("billed", "").lower() in _NO and "billed" in said:
            return None
        where = f"{self.path}, line {line}"
        tokens: dict[str, int | None] = {
            name: _whole(said.get(name), where) for name in ("prompt", "completion", "total")
        }
        if "type" in self.taken and "amount" in self.taken:
            part = _PARTS.get(said.get("type", ""))
            if part is None and "cost" not in said:
                return None  # how many requests there were, say
            if part is not None:
                tokens[part] = _whole(said.get("amount"), where)
        cost, decimals, symbol = _money(said.get("cost"), where)
        currency = said.get("currency") or symbol or _CURRENCIES.get(_plain(self.taken.get("cost", "")))
        model = said.get("model")
        if model is not None and _plain(self.taken["model"]) == "line_item":
            model = model.partition(",")[0]  # `gpt-5-mini-2025-08-07, input`
        return Entry(
            line=line,
            id=said.get("id"),
            period=None if "day" not in said else _period(said["day"], self._zone, where),
            model=model,
            cost=cost,
            decimals=decimals,
            currency=None if currency is None else _SYMBOLS.get(currency, currency.upper()),
            **tokens,
        )


def _taken(names: Sequence[str]) -> dict[str, str]:
    plain: dict[str, str] = {}
    for name in names:
        plain.setdefault(_plain(name), name)
    found = {meaning: plain[known] for meaning, words in COLUMNS.items() for known in words[::-1] if known in plain}
    if "type" in found and "amount" in found and _plain(found.get("cost", "")) == "amount":
        del found["cost"]  # DeepSeek: an amount of tokens
    elif "type" not in found or "amount" not in found:
        found = {meaning: name for meaning, name in found.items() if meaning not in ("type", "amount")}
    return found


def _plain(name: str) -> str:
    return re.sub(r"[\s()（）/\-]+", "_", name.strip().lower()).strip("_")


def _encoding(path: Path) -> str:
    with suppress(OSError), path.open("rb") as file:
        try:
            file.read(1 << 20).decode("utf-8-sig")
        except UnicodeDecodeError as exc:
            return "utf-8-sig" if exc.end >= (1 << 20) - 4 else "gb18030"
    return "utf-8-sig"


def _whole(text: str | None, where: str) -> int | None:
    if text is None:
        return None
    try:
        number = Decimal(text.replace(",", ""))
        if number == number.to_integral_value():
            return int(number)
    except InvalidOperation:
        pass
    raise RefusedToStart(f"{where}: {text!r} is no number of tokens. Correct the cell, or empty it.")


def _money(text: str | None, where: str) -> tuple[int | None, int, str | None]:
    """A cost in 10⁻¹² of its unit, the digits behind its point, and the currency that stands with it."""
    if text is None or text.lower() in ("none", "null"):
        return None, 0, None
    symbol = next((symbol for symbol in _SYMBOLS if symbol in text), None)
    plain = text.replace(symbol or ",", "").replace(",", "").strip()
    try:
        number = Decimal(plain)
        if number.is_finite():
            decimals = max(0, -int(number.as_tuple().exponent))
            return (
                int((number * COST_UNIT).to_integral_value()),
                min(decimals, COST_DIGITS),
                symbol and _SYMBOLS[symbol],
            )
    except InvalidOperation:
        pass
    raise RefusedToStart(f"{where}: {text!r} is no amount of money. Correct the cell, or empty it.")


def _period(text: str, zone: tzinfo, where: str) -> str:
    """The day, as `2026-10-01`, or the month, as `2026-10`."""
    plain = text.replace("/", "-").replace("年", "-").replace("月", "-").replace("日", "").strip("- ")
    if re.fullmatch(r"\d{4}-\d{1,2}", plain):
        year, month = map(int, plain.split("-"))
        return f"{year}-{month:02d}"
    try:
        if re.fullmatch(r"\d{8}", plain):
            return datetime.strptime(plain, "%Y%m%d").date().isoformat()  # noqa: DTZ007 - a day, no moment
        if re.fullmatch(r"\d{9,}(\.\d+)?", plain):
            seconds = float(plain)
            moment = datetime.fromtimestamp(seconds / 1_000 if seconds > _SECONDS else seconds, UTC)
            return moment.astimezone(zone).date().isoformat()
        if match := re.fullmatch(r"(\d{4})-(\d{1,2})-(\d{1,2})(.*)", plain):
            moment = datetime.fromisoformat(f"{match[1]}-{int(match[2]):02d}-{int(match[3]):02d}{match[4].rstrip()}")
            return (moment if moment.tzinfo is None else moment.astimezone(zone)).date().isoformat()
    except (ValueError, OverflowError, OSError):
        pass
    raise RefusedToStart(f"{where}: {text!r} is no day and no moment. Write days as 2026-10-31.")


def described(taken: Mapping[str, str]) -> str:
    """Which columns were taken for what, for people."""
    words = {"prompt": "tokens in", "completion": "tokens out", "total": "tokens", "id": "request id"}
    return ", ".join(f"{words.get(meaning, meaning)} from {name}" for meaning, name in taken.items())
