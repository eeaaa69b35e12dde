"""`batch.report.figures.figures`: what the commands tell, as plain objects, and nothing written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest

from batch.core.errors import OutputError, StorageError
from batch.ledger.schema import connect
from batch.report.figures.figures import Figures
from batch.report.status import status_of
from tests.cli.conftest import Cli, cli
from tests.support.labelled import EARLIER, labelled
from tests.support.outfolders import RUN, finished
from tests.support.values import outcome

__all__ = ["cli"]


def night(number: int) -> dict[str, Any]:
    return {
        "text": f"t{number}",
        "truth": "xy"[number % 2],
        "label": "xxy"[number % 3],
        "run": RUN if number % 4 else EARLIER,
    }


def test_the_overview_is_what_the_commands_tell_and_json(tmp_path: Path, cli: Cli) -> None:
    """Status and money under the names that programs know."""
    failed = outcome(None, status="failed", error_kind="server", error_code="500", retryable=True, error_message="boom")
    folder = finished(tmp_path / "out", pa.table({"t": [str(n) for n in range(40)]}), [failed] * 3, part_rows=15)
    figures = Figures(folder.root, "as typed")
    told = figures.overview()
    assert json.loads(msgspec.json.encode(told))
    assert (told["name"], told["run"]) == ("as typed", RUN)
    assert json.loads(msgspec.json.encode(told["status"])) == json.loads(cli("status", folder.root, "--json").out)
    assert [(run["run"], run["rows"], run["failed"]) for run in told["runs"]] == [(RUN, 40, 3)]
    assert told["errors"][0]["message"] == "boom"
    assert figures.money(("model",)) == json.loads(cli("cost", folder.root, "--by", "model", "--json").out)


def test_the_last_run_is_told_as_its_status_tells_it(tmp_path: Path) -> None:
    """The ledger calls a run that was killed running, and knows only what it has published."""
    folder = finished(tmp_path / "out", pa.table({"t": ["a", "b"]}))
    db = connect(folder.ledger)
    db.execute("UPDATE runs SET state = 'running', ended_at = NULL")
    db.close()
    told = Figures(folder.root).overview()
    assert [run["state"] for run in told["runs"]] == ["killed"] == [told["status"]["state"]]


def test_labels_name_the_rows_behind_each_cell_and_the_labels_of_each_run(tmp_path: Path, cli: Cli) -> None:
    """A click on a cell shows just so many rows."""
    from batch.report.figures.filters import parse

    folder = labelled(tmp_path / "out", [night(n) for n in range(60)], gold="truth", names=["x", "y"], part_rows=25)
    figures = Figures(folder.root)
    told = figures.labels()
    command = json.loads(cli("labels", folder.root, "--json").out)
    assert json.loads(msgspec.json.encode({name: told[name] for name in command})) == command
    assert sum(cell["rows"] for cell in told["cells"]) == 60
    for cell in told["cells"]:
        asked = parse([("where", pair) for pair in cell["filter"]["where"]])
        assert figures.count(asked) == cell["rows"] == command["confusion"][cell["truth"]][cell["label"]]
    assert [(run["run"], run["rows"]) for run in told["runs"]] == [(EARLIER, 15), (RUN, 45)]
    assert told["columns"] == ["label"]


def test_variants_are_compared_with_the_first_rows_that_differ(tmp_path: Path, cli: Cli) -> None:
    """The sums are those of the command."""
    made = [
        {"text": f"t{n // 2}", "row_id": f"r{n // 2}", "variant": "ab"[n % 2], "label": "x" if n % 5 else "y"}
        for n in range(100)
    ]
    folder = labelled(tmp_path / "out", made)
    told = Figures(folder.root).compare()
    command = json.loads(cli("compare", folder.root, "--json", "--limit", "0").out)
    assert {name: told[name] for name in command} == command
    assert len(told["examples"]) == 20
    assert told["examples"][0]["row_id"] == "r0"
    assert [one["variant"] for one in told["examples"][0]["answers"]] == ["a", "b"]


def test_a_run_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """And the last one named."""
    figures = Figures(finished(tmp_path / "out", pa.table({"t": ["a"]})).root)
    with pytest.raises(OutputError, match=f"has no run 'odd'. The last one is {RUN}"):
        figures.overview("odd")


def test_a_damaged_part_is_told_in_the_words_of_the_other_commands(tmp_path: Path) -> None:
    """Which file, and the way out; a page goes on without it, and what is taken along does not."""
    folder = finished(tmp_path / "out", pa.table({"t": [str(n) for n in range(30)]}), part_rows=10)
    figures = Figures(folder.root)
    folder.part(1).write_bytes(b"PAR1 nothing of it PAR1")
    for ask in (lambda: list(figures.download("csv")), lambda: figures.row(12)):
        with pytest.raises(StorageError, match=r"part-00001.parquet: cannot be read: .* promptmill rebuild"):
            ask()
    assert figures.rows()["total"] == 20
    for told in (figures.rows(), figures.overview()):
        [lost] = told["missing"]
        assert "part-00001.parquet: cannot be read" in lost["reason"]
        assert "promptmill rebuild" in lost["reason"]


def test_nothing_is_written_into_the_folder(tmp_path: Path) -> None:
    """Not a file more, not a byte changed; but SQLite's own index beside the ledger, which every reader needs."""
    folder = labelled(tmp_path / "out", [night(n) for n in range(20)], gold="truth")

    def state() -> dict[str, tuple[int, bytes]]:
        return {
            str(path.relative_to(folder.root)): (path.stat().st_mtime_ns, path.read_bytes())
            for path in folder.root.rglob("*")
            if path.is_file() and path.name not in ("ledger.db-shm", "ledger.db-wal")
        }

    before = state()
    figures = Figures(folder.root)
    figures.overview()
    figures.rows()
    figures.row(3)
    figures.labels()
    figures.money()
    list(figures.download("csv"))
    assert state() == before


def test_the_version_changes_with_the_tables_and_with_nothing_else(tmp_path: Path) -> None:
    """By it a page knows whether figures over all rows are old."""
    folder = finished(tmp_path / "out", pa.table({"t": ["a", "b"]}), part_rows=1)
    figures = Figures(folder.root)
    version = figures.version()
    folder.status.write_text("{}")
    assert figures.version() == version
    hidden = folder.results / ".new"
    hidden.write_bytes(folder.part(0).read_bytes())
    hidden.replace(folder.part(0))
    assert figures.version() != version
    assert status_of(folder.root).table_rows == 2
