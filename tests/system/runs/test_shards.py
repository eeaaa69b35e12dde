"""Several shards of one job, each a run of its own: together they are one run of the whole job."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from batch.core.errors import EXIT_REFUSED
from batch.simulator.scenario import parse
from tests.simulator.conftest import Gate
from tests.support import processes
from tests.support.virtual import PatientClock, World, beside
from tests.system.runs.conftest import ENVIRON, Make, Mill

COUNT = 3
SHARDS = [f"{number}/{COUNT}" for number in range(COUNT)]


def job(ports: list[int], folder: Path, limits: str) -> str:
    return f"""
        name = "divided"
        [input]
        path = "{folder}/rows.jsonl"
        key = "n"
        [prompt]
        user = "{{{{ text }}}}"
        [model]
        provider = "glm"
        name = "glm-4"
        base_url = "http://127.0.0.1:{ports[0]}/api/paas/v4"
        parameters = {{ max_tokens = 40 }}
        [limits]
        {limits}
        [output]
        path = "{folder}/out"
    """


def at_once(folder: Path, world: World, limits: str, rows: int) -> list[Any]:
    """All shards at a time, on one machine, under a clock moved by hand."""
    lines = (json.dumps({"n": n, "text": f"ticket {n}: {'word ' * (n % 9)}"}) for n in range(rows))
    (folder / "rows.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    homes = [folder / f"home-{number}" for number in range(COUNT)]
    for home in homes:
        home.mkdir()
    return beside(
        [world],
        dict.fromkeys(homes, lambda ports: job(ports, folder, limits)),
        {**ENVIRON, "PROMPTMILL_STATE": str(folder / "state")},
        shards=SHARDS,
    )


@pytest.mark.parametrize(
    ("provider", "limits"),
    [
        ({"rpm": 600, "in_flight": 40}, "concurrency = 40\nrequests_per_minute = 600"),
        ({"tpm": 20_000, "in_flight": 40}, "concurrency = 40\ntokens_per_minute = 20_000"),
    ],
    ids=["requests", "tokens"],
)
def test_all_shards_together_keep_to_the_limit_of_the_job(
    tmp_path: Path, provider: dict[str, int], limits: str
) -> None:
    """In any minute, though none of them knows of the others; and what the limit lets through is used."""
    clock = PatientClock()
    scenario: dict[str, Any] = {"latency": {"chat_ms": [200, 400]}, "limits": provider}
    parse(scenario)
    world = World(clock, scenario)
    reports = at_once(tmp_path, world, limits, rows=1_300 if "rpm" in provider else 700)
    assert [(report.exit_code, report.totals.rows_failed, report.totals.refused) for report in reports] == [
        (0, 0, 0)
    ] * 3
    judge = world.app.provider.judge
    verdict = judge.verdict(60.0)
    assert verdict["max_requests"] <= provider.get("rpm", 10**9)
    assert verdict["max_tokens"] <= provider.get("tpm", 10**9)
    assert verdict["max_in_flight"] <= 40
    if "rpm" in provider:
        assert verdict["max_requests"] >= 0.97 * 600


def columns(mill: Mill, out: Path) -> list[tuple[Any, ...]]:
    return sorted(
        mill.query(
            "SELECT row_id, n, answer, status, error_code, total_tokens, cost, fingerprint "
            f"FROM read_parquet('{out}/**/results/*.parquet', hive_partitioning=false)"
        ),
        key=str,
    )


def charged(mill: Mill, out: Path) -> Counter[tuple[Any, ...]]:
    return Counter(
        mill.query(
            "SELECT row_id, state, prompt_tokens, completion_tokens, cost "
            f"FROM read_parquet('{out}/**/calls/*/*.parquet', hive_partitioning=false)"
        )
    )


def test_three_shards_at_a_time_are_one_run(make: Make) -> None:
    """Ids, answers, failures and books; repeats and lines that cannot be read have the names that one run gives them."""
    whole, parts = make(name="whole"), make(name="parts")
    for mill in (whole, parts):
        mill.key = "n"
        rows = mill.questions(120)
        mill.write([*rows, rows[5], {"n": "5-2", "question": "A key that the repeat would have."}, rows[5], rows[60]])
        with (mill.folder / "rows.jsonl").open("a", encoding="utf-8") as file:
            file.write('{"n": 7, "question"\n')
    assert whole.command()[0] == 1
    runs = [parts.start("--shard", shard) for shard in SHARDS]
    said = ["".join(run.communicate(timeout=120)) for run in runs]
    assert {run.returncode for run in runs} <= {0, 1}, said
    assert columns(parts, parts.out) == columns(whole, whole.out)
    assert len(columns(parts, parts.out)) == 125
    assert charged(parts, parts.out) == charged(whole, whole.out)
    assert len(parts.books()) == len(whole.books()) == sum(charged(whole, whole.out).values())


def test_all_shards_open_as_one_table(make: Make) -> None:
    mill = make()
    mill.questions(40)
    for shard in SHARDS:
        assert mill.command("--shard", shard)[0] == 0
    found = mill.query(f"SELECT shard, count(*) FROM read_parquet('{mill.out}/**/results/*.parquet') GROUP BY shard")
    by_shard = dict(found)
    assert (sorted(by_shard), sum(by_shard.values())) == ([0, 1, 2], 40)
    frame = pl.scan_parquet(f"{mill.out}/shard=*/results/*.parquet", hive_partitioning=True).collect()
    assert dict(frame["shard"].value_counts().iter_rows()) == by_shard
    assert frame["n"].sort().to_list() == list(range(40))
    for number in range(COUNT):
        one = mill.query(f"SELECT row_number FROM read_parquet('{mill.out}/shard={number}/results/*.parquet')")
        assert [row[0] for row in one] == list(range(len(one))), "in input order, as in every output"


def test_a_row_stays_in_its_shard_whatever_file_it_stands_in(make: Make) -> None:
    """So the next night, with the rows in another order and file, asks only what is new."""
    mill = make()
    mill.key, mill.input = "n", "in"
    rows = [{"n": n, "question": f"Tell me something about the number {n}."} for n in range(30)]
    (mill.folder / "in").mkdir()
    for night, some in (("a", rows[:20]), ("b", rows[::-1])):
        text = "".join(json.dumps(row) + "\n" for row in some)
        for old in (mill.folder / "in").iterdir():
            old.unlink()
        (mill.folder / "in" / f"{night}.jsonl").write_text(text, encoding="utf-8")
        for shard in SHARDS:
            assert mill.command("--shard", shard)[0] == 0
    assert mill.query(
        f"SELECT count(*), count(DISTINCT row_id) FROM read_parquet('{mill.out}/**/results/*.parquet')"
    ) == [(30, 30)]
    assert len(mill.books()) == 30


def test_a_killed_shard_goes_on_alone(make: Make, gate: Gate) -> None:
    mill = make(gate=gate)
    mill.questions(60)
    killed = mill.start("--shard", "1/3", failpoint="sent.committed:2")
    gate.open()
    killed.communicate(timeout=120)
    assert killed.returncode == -signal.SIGKILL
    others = [mill.start("--shard", shard) for shard in ("0/3", "2/3")]
    for run in others:
        run.communicate(timeout=120)
    assert [run.returncode for run in others] == [0, 0]
    before = len(mill.books())
    assert mill.command("--shard", "1/3")[0] == 0
    table = mill.query(f"SELECT n FROM read_parquet('{mill.out}/**/results/*.parquet')")
    assert sorted(row[0] for row in table) == list(range(60))
    here = mill.query(f"SELECT count(*) FROM read_parquet('{mill.out}/shard=1/results/*.parquet')")[0][0]
    assert len(mill.books()) - before <= here, "a row of another shard was asked"


def test_a_limit_of_rows_is_that_of_each_shard(make: Make) -> None:
    mill = make()
    mill.questions(60)
    for shard, more in (("0/3", ()), ("1/3", ("--shuffle",))):
        assert mill.command("--shard", shard, "--limit", "4", *more)[0] == 0
    assert len(mill.books()) == 8
    rows = mill.query(f"SELECT shard, row_id FROM read_parquet('{mill.out}/**/results/*.parquet')")
    assert Counter(row[0] for row in rows) == {0: 4, 1: 4}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--shard", "0/0"], "there are 1 to 1,000 shards"),
        (["--shard", "4/3"], "of 3 the last one is 2/3"),
        (["--shard", "a/b"], "such as 0/4"),
        (["--shard", "/3"], "JOB_COMPLETION_INDEX"),
        (["--shard", "0/4"], "divided among 3 shards, and this is --shard 0/4"),
        (["--shard", "0/2"], "divided among 3 shards, and this is --shard 0/2"),
        ([], "holds the outputs of 3 shards, and a run of the whole job would buy their answers again"),
        (["-o", "out/shard=0"], "the runs here were with --shard 0/3, and this command has none"),
        (["--shard", "0/17"], "limits.concurrency = 16: cannot be divided among 17 shards"),
    ],
)
def test_what_would_buy_rows_again_is_refused_with_the_way_out(make: Make, words: list[str], said: str) -> None:
    mill = make()
    mill.questions(12)
    assert mill.command("--shard", "0/3")[0] == 0
    bought = len(mill.books())
    environ = {**os.environ, **mill.environ}
    command = [sys.executable, "-m", "batch", "run", str(mill.folder), "--progress", "none", *words]
    run = processes.start(command, env=environ, cwd=mill.folder)
    told = run.communicate(timeout=120)[1]
    assert run.returncode == EXIT_REFUSED, told
    assert said in told
    assert len(mill.books()) == bought
    assert sorted(path.name for path in mill.out.glob("shard=*")) == ["shard=0"]


def test_the_output_of_a_whole_job_cannot_be_divided_any_more(make: Make) -> None:
    mill = make()
    mill.questions(12)
    assert mill.command()[0] == 0
    code, said = mill.command("--shard", "0/3")
    assert (code, len(mill.books())) == (EXIT_REFUSED, 12)
    assert "is the output of a job without --shard" in said


def test_commands_that_read_take_all_shards_or_say_how_one_is_given(make: Make) -> None:
    mill = make()
    mill.questions(30)
    for shard in SHARDS:
        assert mill.command("--shard", shard)[0] == 0

    def told(*words: str) -> tuple[int, str]:
        run = processes.start([sys.executable, "-m", "batch", *words], env={**os.environ, **mill.environ})
        said = "".join(run.communicate(timeout=120))
        return run.returncode, said

    each = [str(mill.out / f"shard={number}") for number in range(COUNT)]
    code, said = told("cost", *each, "--json")
    assert code == 0
    by_shard = [mill.query(f"SELECT count(*) FROM read_parquet('{out}/results/*.parquet')")[0][0] for out in each]
    assert sum(group["calls"] for group in json.loads(said)["groups"]) == 30
    for command in ("status", "labels", "report", "cost"):
        code, said = told(command, str(mill.out))
        assert code == EXIT_REFUSED
        assert f"Every other command takes one: {mill.out}/shard=0" in said
    assert told("status", each[0])[0] == 0
    code, said = told("check", str(mill.folder), "--shard", "2/3")
    assert code == 0
    assert "2/3: 33.3% of the rows, limits and budgets" in said
    mill.questions(60)
    code, said = told("estimate", str(mill.folder), "--shard", "2/3", "--json")
    assert code == 0
    news = mill.command("--shard", "2/3")
    table = mill.query(f"SELECT count(*) FROM read_parquet('{mill.out}/shard=2/results/*.parquet')")[0][0]
    assert json.loads(said)["rows"]["new"] == table - by_shard[2], (said, news)
