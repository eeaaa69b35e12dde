"""`batch.report.missing`: a lost or broken file leaves the figures of all others, says so, and names a way out that works."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch.core.errors import EXIT_STORAGE
from batch.report.missing import Missing, warning
from tests.cli.conftest import Cli, cli
from tests.support.labelled import labelled
from tests.support.outfolders import blank
from tests.support.shown import shown
from tests.support.viewing import viewing

__all__ = ["cli"]

ROWS, PART = 203, 100


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shown(tmp_path_factory.mktemp("missing") / "out", rows=ROWS, part_rows=PART).root


@pytest.fixture
def out(whole: Path, tmp_path: Path) -> Path:
    """A folder of three parts and three files of calls, for each test its own."""
    copy = tmp_path / "out"
    for path in whole.rglob("*"):
        if path.is_file():
            (copy / path.relative_to(whole)).parent.mkdir(parents=True, exist_ok=True)
            (copy / path.relative_to(whole)).write_bytes(path.read_bytes())
    return copy


def lose(path: Path) -> None:
    path.unlink()


def tear(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def replace(path: Path) -> None:
    """Another table has its name, with the same columns and something else in them."""
    names = pq.read_schema(path).names
    pq.write_table(pa.table({name: [1, 2, 3] for name in names}), path)


def fold(path: Path) -> None:
    """A folder has its name."""
    path.unlink()
    (path / "inside").mkdir(parents=True)


DAMAGES = pytest.mark.parametrize("damage", [lose, blank, replace, fold])
"""One that is cut short is told as one that is another."""


@DAMAGES
def test_status_tells_all_but_the_failures_of_a_part_that_is_lost(
    damage: Callable[[Path], None], out: Path, cli: Cli
) -> None:
    """Ours: it refused to say anything."""
    before = json.loads(cli("status", out, "--json").out)
    damage(out / "results" / "part-00001.parquet")
    said = cli("status", out, "--json")
    told = json.loads(said.out)
    assert said.code == EXIT_STORAGE
    assert [lost["path"] for lost in told["missing"]] == ["results/part-00001.parquet"]
    assert before["missing"] == []
    for name in ("totals", "table_rows", "permanent", "run"):
        assert told[name] == before[name]
    failed = [sum(one["rows"] for one in found["standing"]) for found in (told, before)]
    assert failed[0] == sum(n % 7 == 6 for n in range(ROWS) if not PART <= n < 2 * PART) < failed[1]
    text = cli("status", out)
    assert text.code == EXIT_STORAGE
    assert "incomplete: the failures and flags told here are of what can be read" in text.out
    assert "--retry all asks" not in text.out, "how many failed otherwise is not known"


@pytest.mark.parametrize("damage", [lose, tear, replace, fold])
def test_status_names_a_file_of_calls_that_is_lost(damage: Callable[[Path], None], out: Path, cli: Cli) -> None:
    """Ours: it ended with 0 and said nothing, and the next run refused to start."""
    [calls] = out.glob("calls/*/part-00001.parquet")
    before = json.loads(cli("status", out, "--json").out)
    damage(calls)
    said = cli("status", out, "--json")
    told = json.loads(said.out)
    assert said.code == EXIT_STORAGE
    assert [lost["path"] for lost in told["missing"]] == [str(calls.relative_to(out))]
    assert told == {**before, "missing": told["missing"]}
    text = cli("status", out)
    assert text.code == EXIT_STORAGE
    assert f"the figures of cost, show and report are of what can be read. {calls}: cannot be read" in text.out
    assert "failures and flags told here" not in text.out


@DAMAGES
def test_labels_are_measured_over_the_parts_that_can_be_read(
    damage: Callable[[Path], None], out: Path, cli: Cli
) -> None:
    """Ours: they were refused. The newest part, which tells the columns, may be the one that is lost."""
    for number in (2, 1):
        damage(out / "results" / f"part-0000{number}.parquet")
        said = cli("labels", out, "--json")
        told = json.loads(said.out)
        lost = [f"results/part-0000{n}.parquet" for n in range(number, 3)]
        assert said.code == EXIT_STORAGE
        assert [one["path"] for one in told["missing"]] == lost
        assert told["rows"] == PART * number
        assert said.err.startswith("promptmill: incomplete: the figures are of what can be read")
        text = cli("labels", out)
        assert (text.code, "accuracy" in text.out) == (EXIT_STORAGE, True)
    damage(out / "results" / "part-00000.parquet")
    nothing = cli("labels", out)
    assert (nothing.code, nothing.out) == (EXIT_STORAGE, "")
    assert ".parquet: cannot be read" in nothing.err


def test_a_file_of_rows_to_look_at_is_not_made_of_a_part_of_the_table(out: Path, tmp_path: Path, cli: Cli) -> None:
    """Whoever goes through it takes it for all that is doubtful."""
    lose(out / "results" / "part-00001.parquet")
    said = cli("labels", out, "--review", tmp_path / "look.csv")
    assert (said.code, (tmp_path / "look.csv").exists()) == (EXIT_STORAGE, False)
    assert "part-00001.parquet: cannot be read" in said.err


@DAMAGES
def test_variants_are_compared_over_the_parts_that_can_be_read(
    damage: Callable[[Path], None], tmp_path: Path, cli: Cli
) -> None:
    """Ours: it was refused."""
    rows = [{"row_id": f"r{n}", "variant": name, "text": str(n)} for n in range(6) for name in ("long", "short")]
    out = labelled(tmp_path / "out", rows, part_rows=4).root
    damage(out / "results" / "part-00002.parquet")
    said = cli("compare", out, "--json", "--limit", "0")
    told = json.loads(said.out)
    assert (said.code, told["rows"]["read"]) == (EXIT_STORAGE, 4)
    assert [one["path"] for one in told["missing"]] == ["results/part-00002.parquet"]
    listed = cli("compare", out, "--json", "--all")
    assert (listed.code, len(listed.out.splitlines())) == (EXIT_STORAGE, 4)
    text = cli("compare", out)
    assert (text.code, "2 variants of 4 rows" in text.out) == (EXIT_STORAGE, True)
    assert text.err.startswith("promptmill: incomplete: the rows and sums are of what can be read")
    for part in filter(Path.is_file, (out / "results").iterdir()):
        damage(part)
    nothing = cli("compare", out)
    assert (nothing.code, nothing.out) == (EXIT_STORAGE, "")


@DAMAGES
@pytest.mark.parametrize("which", ["results/part-00001.parquet", "calls/*/part-00001.parquet"])
def test_a_report_is_made_of_what_can_be_read(damage: Callable[[Path], None], which: str, out: Path, cli: Cli) -> None:
    """Ours: a part, or a file of calls, whose pages are damaged was refused; so was another under its name, as a bug."""
    [path] = out.glob(which)
    damage(path)
    said = cli("report", out)
    assert said.code == EXIT_STORAGE
    assert "incomplete: the figures are of what can be read. " in said.err
    assert f"promptmill rebuild {out}" in said.err
    assert str(path.relative_to(out)) in out.with_name("out-report.html").read_text("utf-8")


@DAMAGES
def test_cost_sums_the_calls_that_can_be_read_and_says_that_it_is_not_all(
    damage: Callable[[Path], None], out: Path, cli: Cli
) -> None:
    [calls] = out.glob("calls/*/part-00001.parquet")
    damage(calls)
    said = cli("cost", out, "--json")
    told = json.loads(said.out)
    assert said.code == EXIT_STORAGE
    assert told["totals"][0]["calls"] == ROWS - PART
    assert [lost["path"] for lost in told["missing"]] == [str(calls.relative_to(out))]
    assert said.err.startswith("promptmill: incomplete: the figures are of what can be read. ")
    assert cli("cost", out, "--csv").code == EXIT_STORAGE


def test_a_lost_part_costs_no_figure_of_money_but_what_its_rows_say(out: Path, cli: Cli) -> None:
    whole = json.loads(cli("cost", out, "--json").out)
    lose(out / "results" / "part-00000.parquet")
    said = cli("cost", out, "--by", "status", "--json")
    told = json.loads(said.out)
    assert said.code == EXIT_STORAGE
    assert told["totals"][0]["cost"] == whole["totals"][0]["cost"]
    assert told["calls_without_row"] == PART
    assert {group["status"]: group["calls"] for group in told["groups"]}[None] == PART


def test_a_bill_is_not_held_against_a_part_of_the_book(out: Path, tmp_path: Path, cli: Cli) -> None:
    """Every call of the lost file would be a difference."""
    [calls] = out.glob("calls/*/part-00000.parquet")
    lose(calls)
    bill = tmp_path / "bill.csv"
    bill.write_text("date,model,cost,currency\n2026-11-21,glm-4,1,CNY\n")
    said = cli("cost", out, "--reconcile", bill)
    assert (said.code, said.out) == (EXIT_STORAGE, "")
    assert str(calls) in said.err


@DAMAGES
def test_a_row_is_shown_with_the_calls_that_can_be_read(damage: Callable[[Path], None], out: Path, cli: Cli) -> None:
    """A page of the book is read only where its row may stand."""
    [calls] = out.glob("calls/*/part-00001.parquet")
    damage(calls)
    for row, made in (("r3", 1), (f"r{PART + 3}", 0))[damage is blank :]:
        said = cli("show", out, row, "--json")
        told = json.loads(said.out)
        assert (said.code, len(told["calls"])) == (EXIT_STORAGE, made)
        assert [lost["path"] for lost in told["missing"]] == [str(calls.relative_to(out))]
        assert "incomplete: the calls are of what can be read" in said.err


@DAMAGES
@pytest.mark.parametrize("which", ["results/part-00001.parquet", "calls/*/part-00001.parquet"])
def test_the_way_out_that_is_named_makes_the_folder_whole_again(
    damage: Callable[[Path], None], which: str, out: Path, cli: Cli
) -> None:
    """Ours: for a file of calls it named a folder that is none, and a folder in the way of a file stayed there."""
    [path] = out.glob(which)
    damage(path)
    said = cli("cost", out)
    assert said.code == EXIT_STORAGE
    found = re.search(r"promptmill (rebuild .+)$", said.err.strip())
    assert found is not None
    assert cli(*shlex.split(found[1])).code == 1, "it says what is lost"
    assert [cli(command, out).code for command in ("status", "cost")] == [0, 0]
    assert not path.exists()


def test_a_byte_that_decayed_changes_no_figure(out: Path, cli: Cli) -> None:
    """Ours: `status`, `labels` and `cost` counted other flags, labels and tokens, or ended as a bug, and exited with 0."""
    commands = [(name, out, "--json") for name in ("status", "labels", "cost")]
    before = [cli(*command).out for command in commands]
    [calls] = out.glob("calls/*/part-00001.parquet")
    told = []
    for path in (out / "results" / "part-00001.parquet", calls):
        data = path.read_bytes()
        footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
        for place in range(5, footer, footer // 12):
            path.write_bytes(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
            for command, whole in zip(commands, before, strict=True):
                said = cli(*command)
                assert (said.code, said.out) == (0, whole) or said.code == EXIT_STORAGE, (path, place)
                told.append(said.code)
        path.write_bytes(data)
    assert EXIT_STORAGE in told


def test_of_many_files_the_first_few_are_named() -> None:
    lost = [Missing(f"results/part-0000{n}.parquet", f"reason {n}") for n in range(5)]
    assert warning([], "the figures") == ""
    assert warning(lost[:1], "the figures") == "incomplete: the figures are of what can be read. reason 0"
    assert warning(lost, "the figures") == (
        "incomplete: the figures are of what can be read; 5 files cannot: results/part-00000.parquet, "
        "results/part-00001.parquet, results/part-00002.parquet and 2 more. reason 0"
    )


@pytest.mark.parametrize("damage", [lose, replace])
def test_the_pages_show_what_is_there_and_name_what_is_not(damage: Callable[[Path], None], out: Path) -> None:
    """Ours: each of them was one error. What is taken along is whole, or refused."""
    [calls] = out.glob("calls/*/part-00000.parquet")
    part = out / "results" / "part-00001.parquet"
    data = part.read_bytes()
    with viewing(out) as view:
        before = {page: view.get(f"api/0/{page}").json for page in ("overview", "rows")}
        assert before["overview"]["missing"] == before["rows"]["missing"] == []
        assert before["rows"]["total"] == ROWS
        damage(part)
        damage(calls)
        lost = [str(path.relative_to(out)) for path in (part, calls)]
        overview = view.get("api/0/overview").json
        assert [one["path"] for one in overview["missing"]] == lost
        assert [one["path"] for one in overview["status"]["missing"]] == lost[:1]
        assert overview["status"]["totals"] == before["overview"]["status"]["totals"]
        labels = view.get("api/0/labels").json
        assert (labels["rows"], [one["path"] for one in labels["missing"]]) == (ROWS - PART, lost[:1])
        rows = view.get("api/0/rows").json
        assert (rows["total"], [one["path"] for one in rows["missing"]]) == (ROWS - PART, lost[:1])
        assert [one["path"] for one in view.get("api/0/money").json["missing"]] == [lost[1], lost[0]]
        refused = view.get("api/0/rows.csv")
        assert (refused.status, lost[0] in refused.json["error"]) == (503, True)
        part.write_bytes(data)
        assert view.get("api/0/rows").json["total"] == ROWS
        assert len(view.get("api/0/rows.csv").body.splitlines()) > ROWS
        for path in out.glob("results/*"):
            path.unlink()
        assert view.get("api/0/rows").status == 503
        assert view.get("api/0/overview").status == 200


def test_the_pages_show_what_is_in_parts_whose_pages_can_be_read(out: Path) -> None:
    """A file whose footer is whole is found to be damaged when it is read, and left out then."""
    [calls] = out.glob("calls/*/part-00000.parquet")
    for path in (out / "results" / "part-00001.parquet", calls):
        blank(path)
    with viewing(out) as view:
        told = {page: view.get(f"api/0/{page}").json for page in ("overview", "money", "labels")}
        told["rows"] = view.get("api/0/rows?status=failed").json
    lost = ["results/part-00001.parquet", str(calls.relative_to(out))]
    assert {page: sorted(one["path"] for one in found["missing"]) for page, found in told.items()} == {
        "overview": sorted(lost),
        "rows": lost[:1],
        "money": sorted(lost),
        "labels": lost[:1],
    }
    assert told["rows"]["total"] == sum(n % 7 == 6 for n in range(ROWS) if not PART <= n < 2 * PART)
    assert told["labels"]["rows"] == ROWS - PART
    assert told["money"]["totals"][0]["calls"] == sum(told["overview"]["series"]["calls"]) == ROWS - PART
