"""`batch.job.shard`: whose a row is, and how what a job may use is divided."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.core.errors import JobError, RefusedToStart
from batch.job.job import Job
from batch.job.shard import MOST, Shard, divided, own_state, shard_of
from tests.support.jobtext import SOUND, load

LIMITED = (
    SOUND
    + """
parameters = { max_tokens = 10 }
endpoints = [{ base_url = "http://a.example/v1", limits = { requests_per_minute = 7 } }]
[limits]
concurrency = 10
requests_per_minute = 100
tokens_per_minute = 1000.5
[limits.model."glm-4"]
concurrency = 4
[budget]
max_cost = "50 CNY"
max_tokens = 100
max_rows = 11
per_day = "1 CNY"
grants = [{ tokens = 8 }]
[output]
path = "out"
"""
)


@given(st.text(), st.integers(1, MOST))
def test_a_row_is_of_one_shard_whatever_its_id(row_id: str, count: int) -> None:
    assert sum(Shard(number, count).has(row_id) for number in range(count)) == 1


def test_a_row_is_of_the_same_shard_for_ever() -> None:
    """Rows of folders that are there already would move, and be bought again."""
    ids = ["1", "2", "ticket-3", "ключ", "bad-0a1b", "\ud800"]
    assert [next(number for number in range(5) if Shard(number, 5).has(row_id)) for row_id in ids] == [0, 0, 2, 2, 4, 4]


def test_shards_have_about_as_many_rows_each() -> None:
    ids = [f"ticket-{number}" for number in range(30_000)]
    for number in range(3):
        assert sum(map(Shard(number, 3).has, ids)) == pytest.approx(10_000, rel=0.03)


@given(st.integers(0, 10**15), st.integers(1, MOST))
def test_parts_of_a_number_come_to_the_whole(whole: int, count: int) -> None:
    parts = [Shard(number, count).part(whole) for number in range(count)]
    assert sum(parts) == whole
    assert max(parts) - min(parts) <= 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0/0", "there are 1 to 1,000 shards"),
        ("0/1001", "there are 1 to 1,000 shards"),
        ("4/3", "counted from 0, so of 3 the last one is 2/3"),
        ("3/3", "counted from 0, so of 3 the last one is 2/3"),
        ("a/b", "such as 0/4"),
        ("/8", "completionMode: Indexed"),
        ("1", "such as 0/4"),
        ("-1/4", "such as 0/4"),
        ("1.0/4", "such as 0/4"),
    ],
)
def test_words_that_name_no_shard_are_refused_with_what_to_write(text: str, said: str) -> None:
    with pytest.raises(RefusedToStart, match=f"^--shard {text}: ") as caught:
        Shard.parse(text)
    assert said in str(caught.value)
    assert caught.value.exit_code == 2


def test_the_parts_of_all_limits_and_budgets_come_to_what_the_job_says(tmp_path: Path) -> None:
    """Of tokens a minute, half a one is left over; nothing is ever above."""
    parts = [load(tmp_path, LIMITED, shard=f"{number}/3") for number in range(3)]

    def together(value: str) -> list[float]:
        return [eval(f"job.{value}", {"job": job}) for job in parts]

    assert together("limits.concurrency") == [4, 3, 3]
    assert together("limits.requests_per_minute") == [34, 33, 33]
    assert together("limits.tokens_per_minute") == [334, 333, 333]
    assert together("limits.model['glm-4'].concurrency") == [2, 1, 1]
    assert together("model.endpoints[0].limits.requests_per_minute") == [3, 2, 2]
    assert sum(together("budget.max_cost.units")) == 50 * 10**12
    assert sum(together("budget.per_day.units")) == 10**12
    assert together("budget.max_tokens") == [34, 33, 33]
    assert together("budget.max_rows") == [4, 4, 3]
    assert together("budget.grants[0].size") == [3, 3, 2]
    assert [job.output.path for job in parts] == [tmp_path / "out" / f"shard={number}" for number in range(3)]


def test_a_shard_asks_what_the_whole_job_asks(tmp_path: Path) -> None:
    """Only its limits and its place are others, so what was learned of the job holds for it."""
    whole, part = load(tmp_path, LIMITED), load(tmp_path, LIMITED, shard="1/3")
    assert part.request_part() == whole.request_part()
    assert (part.name, part.where, part.settings) == (whole.name, whole.where, whole.settings)
    assert (shard_of(whole), shard_of(part)) == (None, Shard(1, 3))


def test_a_limit_that_leaves_a_shard_nothing_is_refused_with_every_other_one(tmp_path: Path) -> None:
    with pytest.raises(JobError) as caught:
        load(tmp_path, LIMITED, shard="0/9")
    assert [line.partition(": ")[0] for line in caught.value.faults] == [
        'limits.model."glm-4".concurrency = 4',
        "model.endpoints (a.example).requests_per_minute = 7",
        "budget.grants = 8",
    ]
    assert "among 9 shards, each of which needs 1 of it at least: raise it, or have fewer shards" in str(caught.value)


def test_flags_are_divided_as_what_stands_in_the_file(tmp_path: Path) -> None:
    flags = {"overrides": ["limits.concurrency=64"], "max_cost": "8 CNY", "shard": "3/4"}
    job = load(tmp_path, LIMITED, **flags)
    assert job.limits.concurrency == 16
    assert job.budget is not None
    assert str(job.budget.max_cost) == "2 CNY"


def test_a_job_without_limits_has_a_part_of_the_usual_ones(tmp_path: Path) -> None:
    """The usual number of calls in flight holds for the job as a whole, too."""
    assert [load(tmp_path, SOUND, shard=f"{number}/4").limits.concurrency for number in range(4)] == [13, 13, 12, 12]


def test_a_job_in_a_store_has_its_shards_there(tmp_path: Path) -> None:
    job = load(tmp_path, SOUND + '[output]\npath = "s3://bucket/{name}"\n', shard="0/2")
    assert job.output.path == Path("s3:/bucket/label-tickets/shard=0")


def test_what_a_shard_may_use_is_shared_with_nobody_but_the_same_part_of_other_jobs(tmp_path: Path) -> None:
    """Three shards on one machine would else have a third of a third."""
    whole: Job = load(tmp_path, SOUND)
    assert own_state(whole, tmp_path) == tmp_path
    assert own_state(divided(whole, "1/3"), tmp_path) == tmp_path / "shard=1-of-3"
