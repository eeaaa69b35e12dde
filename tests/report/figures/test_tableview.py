"""`batch.report.figures.tableview`: what is looked at while it changes is looked at again."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pyarrow as pa
import pytest

from batch.core.errors import OutputError, StorageError
from batch.ledger.schema import connect
from batch.output.folder import OutputFolder, RunLock
from batch.report.figures import tableview
from batch.report.figures.figures import Figures
from batch.report.figures.tableview import Changed, TableView, steadily, table_view
from tests.support.outfolders import finished

FROZEN = Path(__file__).parents[2] / "frozen"


@pytest.fixture
def folder(tmp_path: Path) -> OutputFolder:
    return finished(tmp_path / "out", pa.table({"t": [str(n) for n in range(40)]}), part_rows=10)


def test_a_table_is_its_parts_as_the_ledger_names_them(folder: OutputFolder) -> None:
    """A file that no ledger names is half of a publication."""
    (folder.results / "part-00009.parquet").write_bytes(folder.part(0).read_bytes())
    view = table_view(folder)
    assert [(part.path.name, part.rows) for part in view.parts] == [(f"part-0000{n}.parquet", 10) for n in range(4)]
    assert view.schema.names[0] == "t"


@pytest.mark.parametrize("name", ["finished", "format-2/finished", "format-3/finished", "format-4/finished"])
def test_a_folder_of_an_older_format_shows_its_rows(tmp_path: Path, name: str) -> None:
    """Nothing is written into it: only a run brings a ledger to today's format."""
    with zipfile.ZipFile(FROZEN / f"{name}.zip") as packed:
        packed.extractall(tmp_path)
    figures = Figures(tmp_path / "out")
    ledger = (tmp_path / "out" / "ledger.db").read_bytes()
    assert figures.count() == 15
    assert len(figures.rows()["rows"]) == 15
    assert figures.row(3)["views"][0]["outcome"]["status"] == "ok"
    assert figures.overview()["status"]["table_rows"] == 15
    assert (tmp_path / "out" / "ledger.db").read_bytes() == ledger


def test_a_part_that_left_the_table_meanwhile_is_no_damage(folder: OutputFolder) -> None:
    """`prune` takes the file away a moment before the ledger says so."""
    looks: list[int] = []

    def look(view: TableView) -> int:
        looks.append(len(view.parts))
        if len(looks) == 1:
            folder.part(2).unlink()
        elif len(looks) == 2:
            db = connect(folder.ledger)
            db.execute("DELETE FROM parts WHERE part = 2")
            db.close()
        return sum(len(part.path.read_bytes()) > 0 for part in view.parts if _readable(part.path))

    with RunLock(folder).take():  # as `prune` does
        assert steadily(folder, look) == 3
    assert looks == [4, 4, 3]


def _readable(path: Path) -> bool:
    if not path.exists():
        raise StorageError(f"{path}: cannot be read")
    return True


def test_a_part_that_was_replaced_between_two_looks_is_looked_at_again(folder: OutputFolder) -> None:
    """Until it holds still; and a table that never does is told so."""
    looks: list[int] = []

    def restless(view: TableView) -> str:
        looks.append(1)
        if len(looks) < 3:
            raise Changed(view.parts[0].path)
        return "whole"

    assert steadily(folder, restless) == "whole"

    def never(view: TableView) -> str:
        raise Changed(view.parts[0].path)

    with pytest.raises(Changed, match="was replaced while it was read. Ask again."):
        steadily(folder, never)


def test_damage_is_told_after_a_second_look(folder: OutputFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not after many: a page waits for it."""
    monkeypatch.setattr(tableview, "_MOMENT_S", 0.0)
    looks: list[int] = []

    def look(view: TableView) -> None:
        looks.append(1)
        raise StorageError(f"{view.parts[0].path}: cannot be read")

    with pytest.raises(StorageError):
        steadily(folder, look)
    assert len(looks) == 2


def test_a_folder_that_went_away_is_said_in_the_words_of_every_command(folder: OutputFolder) -> None:
    """Not as a ledger that is damaged."""
    figures = Figures(folder.root)
    folder.root.rename(folder.root.with_name("elsewhere"))
    for ask in (figures.rows, figures.status, figures.overview):
        with pytest.raises(OutputError, match="there is no such folder"):
            ask()
