"""The jobs that come with the project, run as they stand: checked without a warning, answered, and read by people."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from collections.abc import Callable
from hashlib import sha256
from operator import itemgetter
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from batch.cli import main
from batch.prompts.images import data_uri
from tests.simulator.conftest import Start
from tests.system.runs.conftest import ROOT

JOBS = ROOT / "jobs"
WITHOUT_KEY = re.compile(r"promptmill run jobs/(\w+) --set model.provider=simulator$", re.MULTILINE)
Rows = list[dict[str, Any]]


def asked(row: dict[str, Any]) -> list[str]:
    """What the user said after the first request, and what was answered."""
    return [message["content"] for message in json.loads(row["messages"])]


def quickstart(rows: Rows, folder: Path) -> None:
    assert sum(row["expected"] in row["answer"] for row in rows if row["note"] == "plain sum") >= 1
    assert any(row["tool_calls"] for row in rows)


def label_tickets(rows: Rows, folder: Path) -> None:
    assert {row["answer"] for row in rows} <= {"billing", "shipping", "returns", "account", "technical", "other"}
    assert all("body" not in row and row["messages"] is None for row in rows)


def vision(rows: Rows, folder: Path) -> None:
    for row in rows:
        content = json.loads(row["messages"])[0]["content"]
        parts = [] if isinstance(content, str) else content[1:]
        assert [part["source"] for part in parts] == row["pictures"]
        data = [(folder / name).read_bytes() for name in row["pictures"]]
        assert [part["image_url"]["url"] for part in parts] == [f"sha256:{sha256(one).hexdigest()}" for one in data]
        assert all(len(one) < 2_048 and data_uri(one).startswith("data:image/png") for one in data)
    assert {len(row["pictures"]) for row in rows} == {0, 1, 2}


def persona(rows: Rows, folder: Path) -> None:
    assert len({row["answer"] for row in rows}) == len(rows), "the same question, another character"


def long_document(rows: Rows, folder: Path) -> None:
    handbook = (folder / "handbook.md").read_text("utf-8")
    assert all(row["prompt_tokens"] > len(handbook) / 6 for row in rows), "it goes with every row"


def compare_models(rows: Rows, folder: Path) -> None:
    assert [row["variant"] for row in rows[:2]] == ["glm-4", "glm-3-turbo"]
    assert all(row["model"] == row["model_asked"] == row["variant"] for row in rows)
    pairs = list(zip(rows[::2], rows[1::2], strict=True))
    assert all(one["row_id"] == two["row_id"] and one["row_number"] == two["row_number"] for one, two in pairs)
    assert sum(one["cost"] for one, _ in pairs) > 20 * sum(two["cost"] for _, two in pairs)
    text = (folder / "job.toml").read_text("utf-8")
    query = " ".join(line.removeprefix("#") for line in text.splitlines() if re.match(r"#   (SELECT|FROM|WHERE)", line))
    with duckdb.connect() as connection:
        found = connection.execute(query.replace("'out/", f"'{folder}/out/")).fetchall()
    assert len(found) == len(pairs), "the query in the job's head"


def conversation(rows: Rows, folder: Path) -> None:
    talks = [json.loads(line) for line in (folder / "talks.jsonl").read_text("utf-8").splitlines()]
    for row, talk in zip(rows, talks, strict=True):
        said = [text for text in talk["said"] if text]
        assert (row["turns"], row["calls"]) == (len(said), len(said))
        assert asked(row)[1::2] == said[1:]
        assert asked(row)[-1] == row["answer"]


def banking_labels(rows: Rows, folder: Path) -> None:
    names = tomllib.loads((folder / "job.toml").read_text("utf-8"))["labels"]["names"]
    assert [row["category"] for row in rows] == names, "a question for each class"
    assert {row["label"] for row in rows} <= set(names)
    assert sum(row["label"] == row["category"] for row in rows) > 25, "by the words of the names alone"
    text = (folder / "job.toml").read_text("utf-8")
    query = text.partition("DuckDB\n#\n")[2].partition("\n#\n")[0].replace("#", "")
    with duckdb.connect() as connection:
        found = connection.execute(query.replace("'out/", f"'{folder}/out/")).fetchall()
    assert sum(count for _, count, _ in found) == len(rows), "the query in the job's head"


def memory_report(rows: Rows, folder: Path) -> None:
    reports = folder / "out" / "reports"
    found = sorted(str(path.relative_to(reports)) for path in reports.glob("*/*.txt"))
    assert [path.partition("/")[0] for path in found] == sorted(row["id"] for row in rows)
    used = {json.loads(json.loads(row["messages"])[1]["content"])["used_percent"] for row in rows}
    assert all(0 < share < 100 for share in used)
    for row in rows:
        high = json.loads(json.loads(row["messages"])[1]["content"])["used_percent"] > row["limit"]
        name = f"{row['id']}/{'mem_high' if high else 'mem_ok'}.txt"
        assert name in found
        assert row["answer"].endswith(f"{name} is written.")
        assert (row["turns"], row["tool_calls"], row["tool_errors"]) == (3, 2, 0)


LOOKS: dict[str, Callable[[Rows, Path], None]] = {
    look.__name__: look
    for look in (
        quickstart,
        label_tickets,
        vision,
        persona,
        long_document,
        compare_models,
        conversation,
        banking_labels,
        memory_report,
    )
}


def test_every_job_folder_is_looked_at() -> None:
    """A job that comes with the project is one that runs."""
    assert {path.name for path in JOBS.iterdir() if path.is_dir()} == set(LOOKS)


@pytest.mark.parametrize("name", LOOKS)
def test_a_job_of_the_project_runs_as_its_head_says_and_gives_the_table_it_promises(
    name: str, tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a real key, against the simulator: no warning, every row ok, nothing asked twice."""
    folder = tmp_path / name
    shutil.copytree(JOBS / name, folder, ignore=shutil.ignore_patterns("out"))
    head = (folder / "job.toml").read_text("utf-8").partition("\nname = ")[0]
    assert head.startswith("# "), "a job says what it is for"
    told = WITHOUT_KEY.search(head)
    assert told is None or told[1] == name
    key = "demo.0123456789abcdef"
    for variable in ("ZHIPUAI_API_KEY", "ZHIPU_API_KEY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("ZAI_API_KEY", key)
    monkeypatch.setenv("NO_COLOR", "1")

    assert main(["check", str(folder), "--full"]) == 0
    said = "".join(capsys.readouterr())
    assert "warning" not in said
    assert "cannot be" not in said.replace("0 of them cannot be asked", "")

    sim = start()
    command = ["run", str(folder), "--set", f"model.base_url=http://127.0.0.1:{sim.port}/api/paas/v4"]
    command += ["--set", "limits.requests_per_minute=100000"]  # the test has no need to be slow
    if told:
        command += ["--set", "model.provider=simulator"]
        monkeypatch.delenv("ZAI_API_KEY")
    assert main([*command, "--progress", "none"]) == 0
    config = tomllib.loads((folder / "job.toml").read_text("utf-8"))
    out = folder / "out" / config["name"]
    rows: Rows = sorted(pq.read_table(out / "results").to_pylist(), key=itemgetter("row_number"))
    assert all(row["status"] == "ok" and row["answer"] and row["cost"] is not None for row in rows)
    if config["input"]["path"].endswith(".jsonl"):
        lines = len((folder / config["input"]["path"]).read_text("utf-8").splitlines())
        assert len(rows) == lines * len(config["model"].get("names", "1"))
    LOOKS[name](rows, folder)
    bought = len(sim.books())
    assert main([*command, "--progress", "none", "--set", "limits.concurrency=3"]) == 0
    assert len(sim.books()) == bought
    assert key not in "".join(capsys.readouterr())
