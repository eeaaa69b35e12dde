"""How the simulated provider behaves: a scenario file, read and checked.

Owns its keys, their ranges and their defaults; how a table is taken apart and what is said of a wrong key is in
`toml_table.py`. Every key has a default that means "a provider in good health without limits".
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from batch.simulator.batches.form import Rules
from batch.simulator.dialects.stream import Slices
from batch.simulator.faults.behaviour import ROUTES, Allowed, Behaviour, Fault
from batch.simulator.faults.register import BEHAVIOURS
from batch.simulator.latency import Latency
from batch.simulator.limits import Change, Limit
from batch.simulator.toml_table import ScenarioError, Table, did_you_mean, nearest

_MOST_CHUNKS = 100_000


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
        wavers: the share of answers that give another label than the one that fits best: which ones, changes each time
            that the same is asked.
        obfuscation: put filler into the chunks of the OpenAI dialect unless the request says otherwise.
        strict_jwt: refuse a JWT whose header lacks `sign_type`.
        latency: see there.
        limit: limits of every (key, model) without its own.
        model_limits: limits by model name.
        limit_changes: what becomes of the limits later, by time.
        batches: what is allowed of batch files.
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
    wavers: float = 0.0
    obfuscation: bool = False
    latency: Latency = field(default_factory=Latency)
    limit: Limit = field(default_factory=Limit)
    model_limits: dict[str, Limit] = field(default_factory=dict)
    limit_changes: tuple[Change, ...] = ()
    batches: Rules = field(default_factory=Rules)
    burst_s: float = 60.0
    faults: tuple[Fault, ...] = ()


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
    table = Table("", data)
    limits = Table("limits", table.take("limits", {}))
    models = Table("limits.models", limits.take("models", {}))
    names = list(data.get("limits", {}).get("models", {}))
    latency, stream = Table("latency", table.take("latency", {})), Table("stream", table.take("stream", {}))
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
        wavers=float(table.number("wavers", 0.0, most=1)),
        obfuscation=stream.flag("obfuscation"),
        latency=_latency(latency),
        batches=_batches(Table("batches", table.take("batches", {}))),
        burst_s=float(limits.number("burst_s", 60.0)),
        limit=_limit(limits),
        model_limits={name: _model_limit(models, name) for name in names},
        limit_changes=_changes(limits),
        faults=_faults(table),
    )
    for checked in (limits, stream, table):
        checked.done()
    _check_names(scenario)
    return scenario


def _check_names(scenario: Scenario) -> None:
    """Refuse limits and faults of a model that is not served: they would never be met.

    Raises:
        ScenarioError: with the nearest name.
    """
    if scenario.models is None:
        return
    asked: list[tuple[str, str | None]] = [(f'limits.models."{name}"', name) for name in scenario.model_limits]
    asked += [("limits.change.model", change.model) for change in scenario.limit_changes]
    asked += [(f"fault[{number}].model", fault.model) for number, fault in enumerate(scenario.faults, 1)]
    served = {name.lower() for name in scenario.models}
    for place, name in asked:
        if name is not None and name.lower() not in served:
            there = f"The key models has: {', '.join(scenario.models) or 'none'}."
            hint = did_you_mean(nearest(name, scenario.models)) or there
            raise ScenarioError(f"{place} = {name!r}: is not served. {hint}")


def _texts(table: Table, key: str) -> tuple[str, ...] | None:
    value = table.take(key, None)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise table.fail(key, value, "must be a list of texts")
    return tuple(value)


def _keys(table: Table) -> dict[str, str]:
    keys = table.take("keys", {})
    if not isinstance(keys, dict) or not all(isinstance(secret, str) for secret in keys.values()):
        raise ScenarioError("keys: must be a table of secrets by key id")
    return keys


def _latency(table: Table) -> Latency:
    usual = Latency()
    latency = Latency(
        chat_ms=table.span("chat_ms", usual.chat_ms),
        task_ms=table.span("task_ms", usual.task_ms),
        submit_ms=table.span("submit_ms", usual.submit_ms),
        poll_ms=table.span("poll_ms", usual.poll_ms),
        batch_ms=table.span("batch_ms", usual.batch_ms),
        per_token_ms=float(table.number("per_token_ms", 0.0)),
        first_chunk_ms=table.span("first_chunk_ms", None),
        chunk_ms=table.span("chunk_ms", usual.chunk_ms),
    )
    table.done()
    return latency


def _batches(table: Table) -> Rules:
    usual = Rules()
    rules = Rules(
        window_s=float(table.number("window_s", usual.window_s)),
        lines=table.whole("lines", usual.lines, least=1),
        file_bytes=table.whole("file_bytes", None, least=1),
        enqueued_lines=table.whole("enqueued_lines", None, least=1),
        enqueued_tokens=table.whole("enqueued_tokens", None, least=1),
    )
    table.done()
    return rules


def _limit(table: Table) -> Limit:
    return Limit(*(table.whole(key, None, least=1) for key in ("in_flight", "rpm", "tpm")))


def _model_limit(models: Table, name: str) -> Limit:
    table = Table(models.at(name), models.take(name, {}))
    limit = _limit(table)
    table.done()
    return limit


def _changes(limits: Table) -> tuple[Change, ...]:
    entries = limits.take("change", [])
    if not isinstance(entries, list):
        raise limits.fail("change", entries, "write [[limits.change]], one for each")
    changes = [_change(Table(f"limits.change[{number}]", entry)) for number, entry in enumerate(entries, 1)]
    return tuple(sorted(changes, key=lambda change: change.after_s))


def _change(table: Table) -> Change:
    after = table.number("after_s", None)
    if after is None:
        near = table.mistaken("after_s")
        text = f"after_s is missing: the seconds after the first request at which it holds{near}"
        raise ScenarioError(f"{table.path}: {text}")
    change = Change(float(after), _limit(table), table.text("model"))
    table.done()
    if change.limit == Limit():
        raise ScenarioError(f"{table.path}: changes nothing; give one of in_flight, rpm and tpm")
    return change


def _faults(table: Table) -> tuple[Fault, ...]:
    entries = table.take("fault", [])
    if not isinstance(entries, list):
        raise table.fail("fault", entries, "write [[fault]], one for each")
    faults: list[Fault] = []
    for number, entry in enumerate(entries, 1):
        fault = _fault(Table(f"fault[{number}]", entry))
        same = sum(1 for other in faults if other.behaviour == fault.behaviour)
        faults.append(replace(fault, salt=same))
    return tuple(faults)


def _fault(table: Table) -> Fault:
    number = table.take("behaviour", None)
    if isinstance(number, bool) or not isinstance(number, int) or number not in BEHAVIOURS:
        if number is None:
            raise ScenarioError(
                f"{table.path}: behaviour is missing: the number of a fault{table.mistaken('behaviour')}"
            )
        titles = "".join(f"\n  {each}  {behaviour.title}" for each, behaviour in BEHAVIOURS.items())
        raise table.fail("behaviour", number, f"this simulator knows{titles}")
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


def _routes(table: Table, number: int, behaviour: Behaviour) -> tuple[str, ...]:
    route = table.choice("route", None, ROUTES)
    if route is None:
        return behaviour.routes
    if route not in behaviour.allowed:
        raise table.fail("route", route, f"behaviour {number} strikes only " + ", ".join(behaviour.allowed))
    return (route,)


def _rows(table: Table) -> tuple[str | int, ...]:
    rows = table.take("rows", [])
    if not isinstance(rows, list) or any(
        isinstance(row, bool) or not isinstance(row, str | int) or row in ("", 0) for row in rows
    ):
        raise table.fail("rows", rows, "must be a list of texts of user messages, or numbers of conversations from 1")
    return tuple(rows)


def _option(table: Table, key: str, allowed: Allowed) -> Any:
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
