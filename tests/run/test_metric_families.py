"""`batch.run.metric_families`: the numbers of `metrics.prom` are those of the snapshot."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from batch.core.metrics import text_of
from batch.job.job import InputSpec, Job, ModelSpec, PromptSpec
from batch.ledger.totals import Totals
from batch.limits.used import LimitUse
from batch.run import progress
from batch.run.metric_families import LAST_SUCCESS, METRICS, RUNNING, Moment, families
from tests.support.values import call, refused, unknown

Read = dict[str, dict[frozenset[tuple[str, str]], float]]


def job(folder: Path, **model: object) -> Job:
    return Job(
        folder=folder,
        name="tickets",
        input=InputSpec(path="rows.jsonl"),
        prompt=PromptSpec(user="{{ q }}"),
        model=ModelSpec(provider="glm", **model),  # type: ignore[arg-type]  # names of its fields
    )


def read(text: str) -> Read:
    """By metric and labels (without the job's), what Prometheus reads."""
    found: Read = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = {name: value for name, value in sample.labels.items() if name != "batch_job"}
            found.setdefault(sample.name, {})[frozenset(labels.items())] = sample.value
    return found


def told(job: Job, moment: Moment) -> Read:
    return read(text_of(families(job, moment), {"batch_job": job.name}))


def labels(**given: str) -> frozenset[tuple[str, str]]:
    return frozenset(given.items())


def test_a_command_without_a_run_tells_zeros_and_no_success(tmp_path: Path) -> None:
    """An alert on a count finds the series from the first night on; one on a success finds none."""
    found = told(job(tmp_path, names=("a", "b"), lane="task"), Moment(1_800_000_000.5, 2.0, 2, None, None))
    assert LAST_SUCCESS not in found
    assert found["promptmill_run_exit_code"] == {labels(): 2}
    assert found["promptmill_running"] == {labels(): 0}
    assert found["promptmill_calls_total"][labels(state="answered", model="b", lane="task")] == 0
    assert set(found["promptmill_rows"].values()) == {0}


def test_calls_tokens_and_costs_are_told_by_model(tmp_path: Path) -> None:
    """What an older version counted of the same run has no model, and is in the sum all the same."""
    totals = Totals(calls=5, answered=5, prompt_tokens=50, completion_tokens=10, units={"CNY": 10**12})
    for one in (call(), refused(), unknown()):
        totals.add_call(msgspec.structs.replace(one, model_asked="a", lane="sync"))
    totals.rows_ok, totals.rows_failed = 3, 1
    shot = msgspec.structs.replace(
        progress.waiting(""),
        totals=totals,
        expected=10,
        limits=(LimitUse("requests_per_minute", "a", 60, 30),),
    )
    found = told(job(tmp_path, name="a"), Moment(1_800_000_000.0, 2.0, None, 1_790_000_000.0, shot))
    states = {state: found["promptmill_calls_total"][labels(state=state, model="a", lane="sync")] for state in STATES}
    assert states == {"answered": 1, "refused": 1, "failed": 0, "unknown": 1}
    assert found["promptmill_calls_total"][labels(state="answered", model="", lane="")] == 5
    assert sum(found["promptmill_tokens_total"].values()) == totals.prompt_tokens + totals.completion_tokens
    assert sum(found["promptmill_cost_total"].values()) == float(sum(totals.cost.values()))
    assert found["promptmill_rows"] == {labels(state="ok"): 3, labels(state="failed"): 1, labels(state="left"): 6}
    assert found["promptmill_limit_used_ratio"] == {labels(limit="requests_per_minute", model="a"): 0.5}
    assert found["promptmill_unknown_calls"] == {labels(): 1}
    assert found[LAST_SUCCESS] == {labels(): 1_790_000_000.0}
    assert found["promptmill_running"] == {labels(): 1}
    assert "promptmill_run_exit_code" not in found
    assert set(found) <= set(METRICS)


STATES = ("answered", "refused", "failed", "unknown")


def test_the_alerts_of_the_readme_ask_for_metrics_that_there_are() -> None:
    """A rule over a name that nobody writes never fires."""
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text("utf-8")
    named = set(re.findall(r"promptmill_[a-z_]+", readme))
    assert {LAST_SUCCESS, RUNNING, "promptmill_last_run_timestamp_seconds"} <= named <= METRICS.keys()
