"""A scenario file, checked. Owns its keys, their ranges and what is said about a wrong one.

Every key has a default that means "a provider in good health without limits".
"""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from batch.simulator.dialects.stream import Slices
from batch.simulator.faults.behaviour import ROUTES, Allowed, Behaviour, Fault
from batch.simulator.faults.register import BEHAVIOURS
from batch.simulator.limits import Change, Limit

_MOST_CHUNKS = 100_000


class ScenarioError(ValueError):
    """A scenario cannot be used; the message names the place, the value and the way out."""


@dataclass(frozen=True, slots=True)
class Latency:
    """How long things take, in milliseconds before `time_factor`; pairs are the ends of an even distribution.

    Attributes:
        chat_ms: a chat answer.
        task_ms: from a task's submission to its result.
        submit_ms: the answer to a submission.
        poll_ms: the answer to a poll.
        per_token_ms: added to chats and tasks for each completion token; a stream spreads it over its chunks.
        first_chunk_ms: until the first chunk of a stream, its headers included; None takes `chat_ms`.
        chunk_ms: between two chunks; with nothing here and no `per_token_ms` all leave at once.
    """

    chat_ms: tuple[float, float] = (20.0, 60.0)
    task_ms: tuple[float, float] = (100.0, 300.0)
    submit_ms: tuple[float, float] = (0.0, 0.0)
    poll_ms: tuple[float, float] = (0.0, 0.0)
    per_token_ms: float = 0.0
    first_chunk_ms: tuple[float, float] | None = None
    chunk_ms: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Scenario:
    """How the simulated provider behaves.

    Attributes:
        seed: decides every draw.
        time_factor: stretches all latencies.
        mode: `current` or `2024`, of the GLM dialect: the ends of the sampling parameters' ranges, and whether every
            chunk of a stream says the role and only the last one a finish reason.
        models: names that are served; None serves any.
        gzip: compress long answers for clients that accept it.
        cached_prefix: report and price prompt tokens that repeat an earlier prompt's beginning.
        refuse_duplicates: refuse a GLM request whose `request_id` is still in work.
        idle_close_s: seconds after which an idle connection is closed.
        keys: secrets by key id; empty accepts any key of the right form, and of a JWT checks form and expiry only.
        escaped_arguments: spell what is not ASCII in the arguments of tool calls as JSON escapes.
        slices: how streamed texts are cut: `[latency] chunk_tokens`, `[stream] chunks`.
        obfuscation: put filler into the chunks of the OpenAI dialect unless the request says otherwise.
        strict_jwt: refuse a JWT whose header lacks `sign_type`.
        latency: see there.
        limit: limits of every (key, model) without its own.
        model_limits: limits by model name.
        limit_changes: what becomes of the limits later, by time.
        burst_s: what request and token buckets hold, in seconds of their limit.
        faults: in the order of the file.
    """

    seed: int = 7
    time_factor: float = 1.0
    mode: str = "current"
    models: tuple[str, ...] | None = None
    gzip: bool = False
    cached_prefix: bool = False
    refuse_duplicates: bool = False
    idle_close_s: int = 600
    keys: dict[str, str] = field(default_factory=dict)
    strict_jwt: bool = False
    escaped_arguments: bool = False
    slices: Slices = field(default_factory=Slices)
    obfuscation: bool = False
    latency: Latency = field(default_factory=Latency)
    limit: Limit = field(default_factory=Limit)
    model_limits: dict[str, Limit] = field(default_factory=dict)
    limit_changes: tuple[Change, ...] = ()
    burst_s: float = 60.0
    faults: tuple[Fault, ...] = ()


class _Table:
    """A TOML table that is taken apart key by key; what is left over at the end was unknown."""

    def __init__(self, place: str, value: Any) -> None:
        if not isinstance(value, dict):
            raise ScenarioError(f"{place} = {value!r}: must be a table")
        self.place = place
        self._left = dict(value)
        self._asked: list[str] = []

    def at(self, key: str) -> str:
        quoted = key if key.replace("_", "").replace("-", "").isalnum() else f'"{key}"'
        return f"{self.place}.{quoted}" if self.place else quoted

    def fail(self, key: str, value: Any, wanted: str) -> ScenarioError:
        return ScenarioError(f"{self.at(key)} = {value!r}: {wanted}")

    def take(self, key: str, default: Any) -> Any:
        self._asked.append(key)
        return self._left.pop(key, default)

    def number(self, key: str, default: Any, *, least: float = 0, most: float | None = None) -> Any:
        value = self.take(key, default)
        wanted = (
            f"must be a number of at least {least:g}" if most is None else f"must be between {least:g} and {most:g}"
        )
        if value is default:
            return value
        if isinstance(value, bool) or not isinstance(value, int | float) or not value >= least:
            raise self.fail(key, value, wanted)
        if most is not None and value > most:
            raise self.fail(key, value, wanted)
        return value

    def whole(self, key: str, default: Any, *, least: int = 0) -> Any:
        value = self.take(key, default)
        if value is not default and (isinstance(value, bool) or not isinstance(value, int) or value < least):
            raise self.fail(key, value, f"must be a whole number of at least {least}")
        return value

    def flag(self, key: str) -> bool:
        value = self.take(key, False)
        if not isinstance(value, bool):
            raise self.fail(key, value, "must be true or false")
        return value

    def text(self, key: str) -> str | None:
        value = self.take(key, None)
        if value is not None and (not isinstance(value, str) or not value):
            raise self.fail(key, value, "must be a text")
        return value

    def choice(self, key: str, default: Any, choices: tuple[Any, ...]) -> Any:
        value = self.take(key, default)
        # Codes are texts on the wire, but nobody should have to know that: `code = 1305` will do.
        if isinstance(value, int) and str(value) in choices:
            return str(value)
        if value is not default and (isinstance(value, bool) or value not in choices):
            raise self.fail(key, value, "must be one of " + ", ".join(str(choice) for choice in choices))
        return value

    def span(self, key: str, default: Any) -> Any:
        value = self.take(key, None)
        if value is None:
            return default
        good = isinstance(value, list) and len(value) == 2
        if not good or any(isinstance(end, bool) or not isinstance(end, int | float) for end in value):
            raise self.fail(key, value, "must be two numbers, [least, most]")
        if not 0 <= value[0] <= value[1]:
            raise self.fail(key, value, "must be two numbers, [least, most], with 0 <= least <= most")
        return float(value[0]), float(value[1])

    def mistaken(self, key: str) -> str:
        near = difflib.get_close_matches(key, self._left, n=1, cutoff=0.5)
        return f"; did you mean it by {near[0]}?" if near else ""

    def done(self) -> None:
        for key, value in self._left.items():
            near = difflib.get_close_matches(key, self._asked, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else "known here: " + ", ".join(sorted(self._asked))
            raise ScenarioError(f"{self.at(key)} = {value!r}: unknown key; {hint}")


def load(path: Path) -> Scenario:
    """Read and check a scenario file.

    Raises:
        ScenarioError: the file cannot be read, is not TOML, or says something that does not exist.
    """
    try:
        return parse(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ScenarioError(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{path}: is not TOML: {error}") from None
    except ScenarioError as error:
        raise ScenarioError(f"{path}: {error}") from None


def parse(data: dict[str, Any]) -> Scenario:
    """Check a scenario given as the tables of its TOML file.

    Raises:
        ScenarioError: a key is unknown or a value is out of range.
    """
    table = _Table("", data)
    limits = _Table("limits", table.take("limits", {}))
    models = _Table("limits.models", limits.take("models", {}))
    names = list(data.get("limits", {}).get("models", {}))
    latency, stream = _Table("latency", table.take("latency", {})), _Table("stream", table.take("stream", {}))
    chunk_tokens = latency.whole("chunk_tokens", 1, least=1)
    scenario = Scenario(
        seed=table.whole("seed", 7),
        time_factor=float(table.number("time_factor", 1.0)),
        mode=table.choice("mode", "current", ("current", "2024")),
        models=_texts(table, "models"),
        gzip=table.flag("gzip"),
        cached_prefix=table.flag("cached_prefix"),
        refuse_duplicates=table.flag("refuse_duplicates"),
        idle_close_s=table.whole("idle_close_s", 600, least=1),
        keys=_keys(table),
        strict_jwt=table.flag("strict_jwt"),
        escaped_arguments=table.flag("escaped_arguments"),
        slices=Slices(chunk_tokens, _option(stream, "chunks", range(1, _MOST_CHUNKS + 1))),
        obfuscation=stream.flag("obfuscation"),
        latency=_latency(latency),
        burst_s=float(limits.number("burst_s", 60.0)),
        limit=_limit(limits),
        model_limits={name: _model_limit(models, name) for name in names},
        limit_changes=_changes(limits),
        faults=_faults(table),
    )
    for whole in (limits, stream, table):
        whole.done()
    return scenario


def _texts(table: _Table, key: str) -> tuple[str, ...] | None:
    value = table.take(key, None)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise table.fail(key, value, "must be a list of texts")
    return tuple(value)


def _keys(table: _Table) -> dict[str, str]:
    keys = table.take("keys", {})
    if not isinstance(keys, dict) or not all(isinstance(secret, str) for secret in keys.values()):
        raise ScenarioError("keys: must be a table of secrets by key id")
    return keys


def _latency(table: _Table) -> Latency:
    usual = Latency()
    latency = Latency(
        chat_ms=table.span("chat_ms", usual.chat_ms),
        task_ms=table.span("task_ms", usual.task_ms),
        submit_ms=table.span("submit_ms", usual.submit_ms),
        poll_ms=table.span("poll_ms", usual.poll_ms),
        per_token_ms=float(table.number("per_token_ms", 0.0)),
        first_chunk_ms=table.span("first_chunk_ms", None),
        chunk_ms=table.span("chunk_ms", usual.chunk_ms),
    )
    table.done()
    return latency


def _limit(table: _Table) -> Limit:
    return Limit(*(table.whole(key, None, least=1) for key in ("in_flight", "rpm", "tpm")))


def _model_limit(models: _Table, name: str) -> Limit:
    table = _Table(models.at(name), models.take(name, {}))
    limit = _limit(table)
    table.done()
    return limit


def _changes(limits: _Table) -> tuple[Change, ...]:
    entries = limits.take("change", [])
    if not isinstance(entries, list):
        raise limits.fail("change", entries, "write [[limits.change]], one for each")
    changes = [_change(_Table(f"limits.change[{number}]", entry)) for number, entry in enumerate(entries, 1)]
    return tuple(sorted(changes, key=lambda change: change.after_s))


def _change(table: _Table) -> Change:
    after = table.number("after_s", None)
    if after is None:
        raise ScenarioError(f"{table.place}: after_s is missing: the seconds after the first request at which it holds")
    change = Change(float(after), _limit(table), table.text("model"))
    if change.limit == Limit():
        raise ScenarioError(f"{table.place}: changes nothing; give one of in_flight, rpm and tpm")
    table.done()
    return change


def _faults(table: _Table) -> tuple[Fault, ...]:
    entries = table.take("fault", [])
    if not isinstance(entries, list):
        raise table.fail("fault", entries, "write [[fault]], one for each")
    faults: list[Fault] = []
    for number, entry in enumerate(entries, 1):
        fault = _fault(_Table(f"fault[{number}]", entry))
        same = sum(1 for other in faults if other.behaviour == fault.behaviour)
        faults.append(replace(fault, salt=same))
    return tuple(faults)


def _fault(table: _Table) -> Fault:
    number = table.take("behaviour", None)
    if isinstance(number, bool) or not isinstance(number, int) or number not in BEHAVIOURS:
        if number is None:
            raise ScenarioError(
                f"{table.place}: behaviour is missing: the number of a fault{table.mistaken('behaviour')}"
            )
        known = "".join(f"\n  {known}  {behaviour.title}" for known, behaviour in BEHAVIOURS.items())
        raise table.fail("behaviour", number, f"this simulator knows{known}")
    behaviour = BEHAVIOURS[number]
    options = {key: _option(table, key, allowed) for key, allowed in behaviour.options.items()}
    rate, rows, first = table.number("rate", None, most=1), _rows(table), table.whole("first", None, least=1)
    fault = Fault(
        behaviour=number,
        routes=_routes(table, number, behaviour),
        rate=behaviour.rate if rate is None and not rows and first is None else rate,
        rows=rows,
        first=first,
        model=table.text("model"),
        options={key: value for key, value in options.items() if value is not None},
    )
    table.done()
    return fault


def _routes(table: _Table, number: int, behaviour: Behaviour) -> tuple[str, ...]:
    route = table.choice("route", None, ROUTES)
    if route is None:
        return behaviour.routes
    if route not in behaviour.allowed:
        raise table.fail("route", route, f"behaviour {number} strikes only " + ", ".join(behaviour.allowed))
    return (route,)


def _rows(table: _Table) -> tuple[str | int, ...]:
    rows = table.take("rows", [])
    if not isinstance(rows, list) or any(
        isinstance(row, bool) or not isinstance(row, str | int) or row in ("", 0) for row in rows
    ):
        raise table.fail("rows", rows, "must be a list of texts of user messages, or numbers of conversations from 1")
    return tuple(rows)


def _option(table: _Table, key: str, allowed: Allowed) -> Any:
    if isinstance(allowed, tuple):
        return table.choice(key, None, allowed)
    if allowed is str:
        return table.text(key)
    if isinstance(allowed, range):
        value = table.whole(key, None, least=allowed.start)
        if value is not None and value not in allowed:
            raise table.fail(key, value, f"must be a whole number below {allowed.stop}")
        return value
    return table.whole(key, None, least=1) if allowed is int else table.number(key, None)
