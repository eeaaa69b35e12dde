"""`batch.report.explain`: what can be looked up is what the code has, and a person finds it by the word at hand."""

from __future__ import annotations

from typing import get_args, get_type_hints

import pyarrow as pa
import pytest

from batch.core import errors, flags, records
from batch.core.codes import CODES
from batch.core.errors import RefusedToStart
from batch.core.states import STATES
from batch.job import keys, lanes, options
from batch.ledger import totals, totals_texts
from batch.money import pricekeys
from batch.output import columns, tables
from batch.plan import doctor
from batch.plan.continuation import Closing
from batch.prompts import finish_reasons
from batch.report import explain, forecast_json, row, status
from batch.report.cost import keys as keys_of_cost
from batch.report.cost import public, reconcile, reconcile_public, waste
from batch.report.explain import Topic
from batch.report.figures import filters
from batch.run import metric_families, progress, status_files
from batch.run.command import Report

FLAG = Topic("run --limit", "flag of promptmill run", "At most this many.", (), ("--limit", "limit"), ("run",))
FAULT = Topic("fault 70", "fault of the simulator", "A flood.", (), ("70", "flood of headers"), ("faults",))
WORD = Topic("phrase for good", "turn of phrase", "Not again.", (), ("for good",), ("phrases",))
THERE = explain.groups([FLAG], [WORD], [FAULT])
BY_NAME = {group.name: group.topics for group in THERE}


def names(asked: str) -> list[str]:
    return [topic.name for found in explain.find(THERE, asked) for topic in found.topics]


def test_every_column_of_both_tables_is_explained_with_its_type() -> None:
    """FIELD 50. Who adds a column adds a line to `RESULT_TEXTS` or `CALL_TEXTS` in `batch.output.columns`."""
    ours = {"results": tables.result_schema(pa.schema([]), None), "calls": tables.CALL_SCHEMA}
    expected = [(f"{table}.{field.name}", str(field.type)) for table, schema in ours.items() for field in schema]
    told = [(topic.name, dict(topic.facts).get("type", "")) for topic in BY_NAME["columns"]]
    beside = {f"results.{name}": str(kind) for name, kind in {**columns.SAMPLED, **columns.CONFIDENCE}.items()}
    assert beside.items() <= dict(told).items()
    assert [
        column
        for column in told
        if column[0] not in beside and not column[0].startswith(("results.input_", "results.label"))
    ] == expected
    assert {"results.input_rest", "results.input_NAME", "results.label", "results.label_PROPERTY"} < {
        name for name, _ in told
    }
    assert all(topic.text.endswith(".") for topic in BY_NAME["columns"])


def test_every_kind_of_error_flag_and_exit_code_is_explained() -> None:
    """FIELD 50. From the closed sets of the code: a kind, flag or code that is added without a word fails here."""
    assert [topic.name for topic in BY_NAME["errors"]] == list(get_args(errors.FailureKind))
    assert [topic.name for topic in BY_NAME["flags"]] == [*get_args(flags.Flag), FLAG.name]
    codes = sorted(value for name, value in vars(errors).items() if name.startswith("EXIT_"))
    assert [topic.name for topic in BY_NAME["exits"]] == list(map(str, codes))
    assert [topic.name for topic in BY_NAME["keys"]] == [*keys.KEYS, *(f"price.{key}" for key in pricekeys.KEYS)]
    raised = {
        value.exit_code
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, errors.BatchError)
    }
    assert raised <= set(errors.EXITS)


def test_every_word_for_how_something_stands_is_explained() -> None:
    """FIELD 50. From the closed sets of the code: a state, reason or number that is added without a text fails here."""
    known = {*get_args(status.State), *get_args(Closing), *get_args(get_type_hints(Report)["state"])}
    assert set(STATES) == {*known, progress.waiting("").state}
    assert list(options.KINDS) == list(get_args(options.Kind))
    assert list(records.CALL_STATES) == list(get_args(records.CallState))
    assert list(records.LANES) == list(get_args(records.Lane))
    assert list(lanes.TEXTS) == [*records.LANES, lanes.AUTO]
    assert list(row.STAGES) == list(get_args(row.Stage))
    assert set(finish_reasons.TEXTS) == {*finish_reasons.MEANINGS.values(), finish_reasons.UNKNOWN}
    assert list(totals_texts.PLANNED) == list(totals.Planned.__struct_fields__)
    assert list(totals_texts.TOTALS) == list(totals.Totals().public())
    assert list(progress.PROGRESS) == list(progress.waiting("").public())
    told = [topic for topic in BY_NAME["words"] if topic.what != WORD.what]
    assert all(topic.text.endswith(".") for topic in told)
    tables = (STATES, options.KINDS, row.STAGES, CODES, records.CALL_STATES, lanes.TEXTS, finish_reasons.TEXTS)
    numbers = (status_files.RUN_FILE, totals_texts.PLANNED, totals_texts.TOTALS, progress.PROGRESS)
    more = (forecast_json.KEYS, status_files.HEARTBEAT, doctor.AREAS, doctor.STATES, metric_families.METRICS)
    money = (keys_of_cost.BY, waste.WASTE, reconcile.KINDS, public.COST_KEYS, reconcile_public.DIFFERENCE_KEYS)
    found = [word for table in (*tables, *numbers, *more, *money, filters.FILTERS) for word in table]
    assert [topic.aliases[0] for topic in told] == found


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("limits.concurrency", ["limits.concurrency"]),
        ("LIMITS.Concurrency ", ["limits.concurrency"]),
        ("concurrency", ["limits.concurrency", "limits.model.NAME.concurrency"]),
        ("error_kind", ["results.error_kind", "calls.error_kind"]),
        ("calls.state", ["calls.state"]),
        ("run --limit", ["run --limit"]),
        ("--limit", ["run --limit"]),
        ("timeout", ["timeout"]),
        ("exit code 2", ["2"]),
        ("70", ["70", "fault 70"]),
        ("flood of headers", ["fault 70"]),
        ("[tools]", [key for key in keys.KEYS if key.startswith("tools.")]),
        ("run", ["results.run", "calls.run", "runs.run", "progress.run", "by run", "filter run", "run --limit"]),
        ("model", ["model", "limits.model", "results.model"]),
        ("errors", list(errors.FAILURES)),
        ("error", list(errors.FAILURES)),
        ("rate_limit/1302", ["rate_limit"]),
        ("input_rest", ["results.input_rest"]),
        ("unchanged", ["planned.unchanged"]),
        ("settled", ["stage settled"]),
        ("job_changed", ["state job_changed"]),
        ("failed", ["reason failed", "call failed", "totals.failed"]),
        ("For Good", ["phrase for good"]),
        ("reasons", ["reason new", "reason changed", "reason failed", "reason short", "reason permanent"]),
    ],
)
def test_a_topic_is_found_by_the_word_at_hand(asked: str, expected: list[str]) -> None:
    """FIELD 50. By its whole name, by the last part of it, by what it belongs to."""
    assert names(asked)[: len(expected)] == expected


@pytest.mark.parametrize(
    ("asked", "near"),
    [("output.columnz", "output.columns"), ("concurrenci", "concurrency"), ("timeou", "timeout"), ("errorz", "errors")],
)
def test_an_unknown_topic_names_the_nearest(asked: str, near: str) -> None:
    """FIELD 50. And the way to all of them; it is a refusal like any other, exit 2."""
    with pytest.raises(RefusedToStart, match=f"Did you mean .*{near}.*`promptmill explain` lists"):
        explain.find(THERE, asked)
    with pytest.raises(RefusedToStart, match="It is spoken of in model.key_form. "):
        explain.find(THERE, "jwt")
    with pytest.raises(RefusedToStart, match="^nothing is called 'zzz' here. `promptmill explain` lists"):
        explain.find(THERE, "zzz")
