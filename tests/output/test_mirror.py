"""`batch.output.mirror`: a working copy and what is in the store are brought together before a run and by `rebuild`."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from batch.core.errors import OutputError
from batch.output import mirror
from batch.output.folder import OutputFolder
from batch.output.integrity import compare
from batch.output.objects import Listed
from batch.output.rebuild import rebuild
from tests.support import storedfolders
from tests.support.outfolders import RUN
from tests.support.seaweed import BUCKET, Seaweed
from tests.support.storedfolders import key_of

PART, CALLS = "results/part-00001.parquet", f"calls/run={RUN}/part-00000.parquet"
NOW = 1_790_000_000_000_000


@pytest.fixture
def folder(seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[OutputFolder]:
    """Three parts and a file of calls, in the store and in the copy."""
    for name, value in {**seaweed.environ, "PROMPTMILL_STATE": str(tmp_path / "state")}.items():
        monkeypatch.setenv(name, value)
    with storedfolders.stored(seaweed, tmp_path / "made", rows=5, part_rows=2) as made:
        yield made


def test_what_the_copy_lost_is_fetched_and_held_against_the_ledger(folder: OutputFolder) -> None:
    """A run can begin then as if nothing had been."""
    whole = {name: (folder.root / name).read_bytes() for name in (PART, CALLS)}
    for name in whole:
        (folder.root / name).unlink()
    fetched = mirror.fetch(folder)
    assert {name: (folder.root / name).read_bytes() for name in whole} == whole
    assert fetched.brought == []
    compared = compare(folder)
    assert not compared.news
    mirror.settle(folder, fetched, compared)


@pytest.mark.parametrize("name", [PART, CALLS])
def test_what_the_store_lost_is_refused_with_its_name(folder: OutputFolder, seaweed: Seaweed, name: str) -> None:
    """Nobody puts it back unasked: somebody took it out."""
    folder.store.remove(folder.root / name)
    with pytest.raises(OutputError, match="is missing in the store") as told:
        mirror.fetch(folder)
    assert name in str(told.value)


@pytest.mark.parametrize("name", [PART, CALLS])
def test_what_a_list_of_the_store_has_not_got_yet_is_looked_for_itself(
    folder: OutputFolder, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Lists of some stores come late; neither does a run refuse to begin, nor are answers set aside and asked again."""
    listed = folder.store.listed

    def late() -> dict[str, Listed]:
        return {each: found for each, found in listed().items() if each != name}

    monkeypatch.setattr(folder.store, "listed", late)
    fetched = mirror.fetch(folder)
    assert not compare(folder).news
    mirror.settle(folder, fetched, compare(folder))
    made = rebuild(folder, NOW)
    assert (made.rows, made.lost) == (5, [])
    assert not folder.strays.exists() or not list(folder.strays.rglob("*.parquet"))
    assert name in listed()


def test_another_file_under_the_name_of_a_part_is_refused_and_stays(folder: OutputFolder, seaweed: Seaweed) -> None:
    seaweed.write(key_of(folder, PART), b"PAR1 of somebody else PAR1")
    with pytest.raises(OutputError, match="is not the file that was published"):
        mirror.fetch(folder)
    assert seaweed.read(key_of(folder, PART)) == b"PAR1 of somebody else PAR1"
    assert (folder.root / PART).read_bytes() != b"PAR1 of somebody else PAR1"


def test_an_object_that_the_ledger_does_not_name_is_looked_at_and_not_kept(
    folder: OutputFolder, seaweed: Seaweed
) -> None:
    """It is judged by the rules for files on a disk, which refuse it; the copy is as before, the store, too."""
    strange = "results/part-00009.parquet"
    seaweed.write(key_of(folder, strange), (folder.root / PART).read_bytes())
    fetched = mirror.fetch(folder)
    assert fetched.brought == [folder.root / strange]
    with pytest.raises(OutputError, match=r"part-00009.parquet"):
        compare(folder)
    fetched.take_back()
    assert not (folder.root / strange).exists()
    assert strange in folder.store.listed()


def test_a_place_with_answers_and_no_ledger_here_is_refused_with_the_way_out(folder: OutputFolder) -> None:
    """Asking everything once more would be paid twice."""
    mirror.require_ledger(folder)
    shutil.rmtree(folder.root)
    with pytest.raises(OutputError, match=f"promptmill rebuild {folder.text}"):
        mirror.require_ledger(folder)
    mirror.require_ledger(OutputFolder(Path(f"s3://{BUCKET}/new-{uuid.uuid4().hex}")))


def test_a_copy_is_made_of_the_store_alone(folder: OutputFolder) -> None:
    """What only the copy has is set aside, what differs, too: the store decides."""
    own = folder.root / "results" / "part-00009.parquet"
    own.write_bytes(b"PAR1 only here PAR1")
    kept = (folder.root / PART).read_bytes()
    (folder.root / PART).write_bytes(b"PAR1 damaged PAR1")
    (folder.root / CALLS).unlink()
    mirror.fetch_all(folder)
    assert (folder.root / PART).read_bytes() == kept
    assert (folder.root / CALLS).exists()
    assert not own.exists()
    aside = {path.read_bytes() for path in folder.strays.rglob("*.parquet")}
    assert aside == {b"PAR1 only here PAR1", b"PAR1 damaged PAR1"}


def test_what_rebuild_set_aside_is_in_the_store_before_it_leaves_the_table(
    folder: OutputFolder, seaweed: Seaweed
) -> None:
    """It may be all that is left of answers that were paid for."""
    whole = (folder.root / PART).read_bytes()
    seaweed.write(key_of(folder, PART), b"PAR1 no table PAR1")
    made = rebuild(folder, NOW)
    assert (made.rows, bool(made.lost)) == (3, True)
    listed = folder.store.listed()
    assert PART not in listed
    strays = [name for name in seaweed.names(key_of(folder, "")[:-1]) if name.startswith(".strays/")]
    assert {seaweed.read(key_of(folder, name)) for name in strays} == {b"PAR1 no table PAR1", whole}
    assert set(listed) == set(mirror.fetch(folder).listed)


def test_of_an_output_on_a_disk_nothing_is_moved(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path / "out")
    folder.prepare()
    mirror.fetch_all(folder)
    assert mirror.send_all(folder) == {}
    mirror.require_ledger(folder)
