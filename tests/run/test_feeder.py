"""`batch.run.feeder`: admitted rows come back from the spill, each once, in bounded slices."""

from __future__ import annotations

import threading
import tracemalloc
from collections import deque
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch.core.errors import StorageError
from batch.input.spill import SpillWriter
from batch.job.job import InputSpec, Job, ModelSpec, PromptSpec
from batch.ledger.reader import LedgerReader
from batch.ledger.schema import connect
from batch.output.folder import OutputFolder
from batch.prompts.template import PromptFault
from batch.prompts.variants import Variants
from batch.run.feeder import MOST_ROWS, SLICE_BYTES, Feeder, ReadyRow, Stretch
from batch.tools.registry import ToolSet
from tests.support.ledgers import admit


def asking(folder: Path, user: str) -> Variants:
    """The one question of a job with this template."""
    job = Job(
        name="feed",
        folder=folder,
        input=InputSpec(path=Path("rows.jsonl")),
        prompt=PromptSpec(user=user),
        model=ModelSpec(provider="simulator", name="glm-4"),
    )
    return Variants(job, ToolSet.empty())


def prepared(root: Path, ranges: list[int], *, text: str = "x", user: str = "{{ q }}") -> tuple[OutputFolder, Variants]:
    """An output folder whose ledger and spills hold ranges of so many rows; row n asks `n` and the text."""
    folder = OutputFolder(root / "out")
    folder.prepare()
    schema = pa.schema({"q": pa.string(), "unused": pa.string()})
    first = 0
    with closing(connect(folder.ledger)) as db:
        for number, rows in enumerate(ranges):
            writer = SpillWriter(folder.spill(number), schema)
            for start in range(0, rows, 100):
                asked = [f"{first + n} {text}" for n in range(start, min(rows, start + 100))]
                writer.add(pa.RecordBatch.from_pydict({"q": asked, "unused": asked}, schema))
            writer.close()
            db.execute("BEGIN")
            admit(db, rows, range_number=number, part=number, first=first)
            db.execute("COMMIT")
            first += rows
    return folder, asking(root, user)


def taken(folder: OutputFolder, *works: int) -> None:
    """These rows were begun or settled before."""
    with closing(connect(folder.ledger)) as db:
        db.executemany("UPDATE pending SET state=1 WHERE work=?", [(work_id,) for work_id in works])


def drained(feeder: Feeder, count: int) -> tuple[list[int], int]:
    """The work numbers of everything there is, and the largest slice; each row asks what it should."""
    works, largest = [], 0
    while fed := feeder.next(count):
        largest = max(largest, len(fed))
        for one in fed:
            assert one.request.messages[0]["content"].split()[0] == str(one.row.work_id)
            works.append(one.row.work_id)
    return works, largest


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=4),
    st.sets(st.integers(0, 120), max_size=100),
    st.integers(1, 40),
)
def test_every_unsent_row_is_handed_out_once_in_the_order_of_admission(
    tmp_path_factory: pytest.TempPathFactory, ranges: list[int], begun: set[int], count: int
) -> None:
    """Over the borders of ranges, and over the holes a killed run left."""
    folder, prompt = prepared(tmp_path_factory.mktemp("feed"), ranges)
    taken(folder, *begun)
    with closing(Feeder(folder, prompt)) as feeder:
        works, largest = drained(feeder, count)
    assert works == sorted(set(range(sum(ranges))) - begun)
    assert largest <= count


def test_each_model_has_its_own_rows_however_far_the_others_are(tmp_path: Path) -> None:
    """FIELD 21: one feeder a model; the rows of the others are passed over, those admitted later are found."""
    folder, prompt = prepared(tmp_path, [60, 60])
    with closing(connect(folder.ledger)) as db:
        db.execute("UPDATE pending SET variant='b' WHERE work % 3 = 0 AND work < 60")
    only = [closing(Feeder(folder, prompt, only=names)) for names in ([""], ["b"])]
    with only[0] as most, only[1] as few:
        pending = [row.row.work_id for _ in range(3) for row in few.next(7)]
        assert pending == [n for n in range(60) if n % 3 == 0][: len(pending)]
        assert len(pending) == 20
        assert few.next(7) == []
        assert drained(most, 10)[0] == [n for n in range(120) if n % 3 or n >= 60]
        with closing(connect(folder.ledger)) as db:
            admit(db, 1, range_number=2, first=120)
            db.execute("UPDATE pending SET variant='b', range=1 WHERE work=120")
        assert [row.row.work_id for row in few.next(7)] == [120]


def test_rows_admitted_later_are_found_by_the_next_look(tmp_path: Path) -> None:
    """Empty means: nothing for now."""
    folder, prompt = prepared(tmp_path, [3])
    with closing(Feeder(folder, prompt)) as feeder:
        assert drained(feeder, 10)[0] == [0, 1, 2]
        with closing(connect(folder.ledger)) as db:
            admit(db, 2, range_number=7, first=3)
        writer = SpillWriter(folder.spill(7), pa.schema({"q": pa.string()}))
        writer.add(pa.RecordBatch.from_pydict({"q": ["3", "4"]}))
        writer.close()
        assert drained(feeder, 10)[0] == [3, 4]


@pytest.mark.parametrize("small_first", [False, True], ids=["large rows", "small rows before large ones"])
def test_a_slice_of_large_rows_stays_small_from_the_first_on(tmp_path: Path, small_first: bool) -> None:
    """Memory is flat: 8 MB a slice, whatever the rows before were like."""
    large = 64 * 1_024
    folder, prompt = prepared(tmp_path, [400], text="x" * large)
    if small_first:
        folder, prompt = prepared(tmp_path / "b", [600, 400])
        writer = SpillWriter(folder.spill(1), pa.schema({"q": pa.string()}))
        writer.add(pa.RecordBatch.from_pydict({"q": [f"{600 + n} {'x' * large}" for n in range(400)]}))
        writer.close()
    with closing(Feeder(folder, prompt)) as feeder:
        while fed := feeder.next(MOST_ROWS):
            assert sum(len(one.request.messages[0]["content"]) for one in fed) <= SLICE_BYTES


def test_what_is_left_of_a_large_range_is_not_read_whole_for_two_rows(tmp_path: Path) -> None:
    """A killed run leaves holes: the stretch between two rows may be the whole range."""
    folder, prompt = prepared(tmp_path, [1_000], text="x" * 40_000)
    taken(folder, *range(1, 999))
    with closing(Feeder(folder, prompt)) as feeder:
        tracemalloc.start()
        works, _ = drained(feeder, 10)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert works == [0, 999]
    assert peak < 2 * SLICE_BYTES


def test_a_row_that_cannot_be_asked_any_more_says_why_and_the_others_go_on(tmp_path: Path) -> None:
    """The template changed under a crash; a hostile row is one failed row."""
    folder, prompt = prepared(tmp_path, [12], user="{{ 6 // (q | length - 3) }}{{ q }}", text="")
    with closing(Feeder(folder, prompt)) as feeder:
        fed = feeder.next(20)
    assert [one.row.work_id for one in fed if one.fault is not None] == [10, 11]
    assert all(one.request.messages == [] for one in fed if one.fault is not None)
    assert len(fed) == 12


def test_the_first_request_of_one_row_is_made_for_going_on(tmp_path: Path) -> None:
    """From any range, while another is being handed out."""
    folder, prompt = prepared(tmp_path, [5, 5])
    with LedgerReader(folder.ledger) as replay, closing(Feeder(folder, prompt)) as feeder:
        rows = replay.unsent(-1, 10)
        assert [one.row.work_id for one in feeder.next(2)] == [0, 1]
        assert feeder.request(rows[8]).messages == [{"role": "user", "content": "8 x"}]
        assert drained(feeder, 3)[0] == list(range(2, 10))
    other = asking(tmp_path, "{{ q.nothing.there }}")
    with closing(Feeder(folder, other)) as feeder, pytest.raises(PromptFault):
        feeder.request(rows[8])


def test_a_row_brought_back_by_the_event_loop_does_not_disturb_the_feeding_thread(tmp_path: Path) -> None:
    """Ids of overdue tasks come back in the middle of a run, while a slice is being rendered in a thread."""
    folder, prompt = prepared(tmp_path, [500, 500])
    with LedgerReader(folder.ledger) as replay:
        rows = replay.unsent(-1, 1_000)
    faults: list[BaseException] = []
    stop = threading.Event()

    with closing(Feeder(folder, prompt)) as feeder:

        def bring_back() -> None:
            try:
                while not stop.is_set():
                    for row in rows[::97]:
                        assert feeder.request(row).messages[0]["content"] == f"{row.work_id} x"
            except BaseException as exc:  # noqa: BLE001 - told by the test
                faults.append(exc)

        thread = threading.Thread(target=bring_back)
        thread.start()
        try:
            for _ in range(3):
                assert drained(feeder, 50)[0] == list(range(1_000))
                feeder._after = -1
        finally:
            stop.set()
            thread.join()
    assert faults == []


def kept(folder: OutputFolder, prompt: Variants, works: range, last: int | None = None) -> Stretch:
    """These rows as planning keeps them; `last` is the last one of the range."""
    with LedgerReader(folder.ledger) as reader:
        rows = reader.unsent(works.start - 1, len(works))
    asked = [prompt.first.packed(prompt.first.request({"q": f"{row.work_id} kept"})) for row in rows]
    ready = [(tuple(row), packed) for row, packed in zip(rows, asked, strict=True) if packed is not None]
    size = sum(packed[0] for _, packed in ready)
    return Stretch(works.start, works.stop - 1 if last is None else last, deque(ready), size)


def works_of(rows: list[ReadyRow]) -> list[int]:
    return [one.row.work_id for one in rows]


def test_rows_kept_from_planning_come_without_their_spill_and_after_those_before_them(tmp_path: Path) -> None:
    """What was admitted by an earlier process is on the disk only; it comes first, and nothing comes twice."""
    folder, prompt = prepared(tmp_path, [5, 10, 5])
    folder.spill(1).unlink()
    with closing(Feeder(folder, prompt)) as feeder:
        feeder.keep(kept(folder, prompt, range(5, 15)), but=frozenset({7}))
        assert feeder.ready(10) == []
        assert works_of(feeder.next(3)) == [0, 1, 2]
        assert works_of(feeder.next(10)) == [3, 4]
        assert feeder.next(10) == []
        held = feeder.kept_bytes
        first = feeder.ready(4)
        assert works_of(first) == [5, 6, 8, 9]
        assert {one.request.messages[0]["content"] for one in first} == {f"{n} kept" for n in (5, 6, 8, 9)}
        assert 0 < feeder.kept_bytes < held
        assert works_of(feeder.ready(20)) == [10, 11, 12, 13, 14]
        assert feeder.kept_bytes == 0
        assert feeder.ready(20) == []
        assert drained(feeder, 10)[0] == list(range(15, 20))


def test_rows_that_were_not_kept_any_more_are_read_from_the_spill_behind_those_that_were(tmp_path: Path) -> None:
    """The first of a range have room in memory, the others not."""
    folder, prompt = prepared(tmp_path, [10, 10])
    with closing(Feeder(folder, prompt)) as feeder:
        feeder.keep(kept(folder, prompt, range(4)))
        feeder.keep(kept(folder, prompt, range(10, 13)))
        handed = []
        while rows := feeder.ready(3) or feeder.next(3) or feeder.ready(3):
            handed += works_of(rows)
    assert handed == list(range(20))


def test_a_row_that_was_read_before_its_range_was_kept_comes_once(tmp_path: Path) -> None:
    """A thread may find a range the moment it is durable, before it is kept."""
    folder, prompt = prepared(tmp_path, [10])
    with closing(Feeder(folder, prompt)) as feeder:
        assert works_of(feeder.next(4)) == [0, 1, 2, 3]
        feeder.keep(kept(folder, prompt, range(10)))
        assert works_of(feeder.ready(20)) == list(range(4, 10))
        assert drained(feeder, 10)[0] == []


def test_what_is_handed_out_at_once_is_bounded_by_what_it_says(tmp_path: Path) -> None:
    """From memory and from the spill; one row goes however large it is."""
    folder, prompt = prepared(tmp_path, [20], text="x" * 10_000)
    with closing(Feeder(folder, prompt)) as feeder:
        assert len(feeder.next(20, 35_000)) == 4
        assert len(feeder.next(20, 1)) == 1
        feeder.keep(kept(folder, prompt, range(5, 20)))
        assert works_of(feeder.ready(20, 3 * prompt.first.request({"q": "5 kept"}).bytes)) == [5, 6, 7]
        assert works_of(feeder.ready(20, 1)) == [8]


def test_a_row_whose_file_was_changed_after_it_was_admitted_is_not_sent(tmp_path: Path) -> None:
    """What is sent is what was admitted; the next run finds the row changed, and asks with the file as it is."""
    (tmp_path / "guide.md").write_text("before", encoding="utf-8")
    folder, prompt = prepared(tmp_path, [4], user="{{ file('guide.md') }} {{ q }}")
    with closing(connect(folder.ledger)) as db:
        for number in range(4):
            fingerprint = prompt.first.fingerprint(prompt.first.request({"q": f"{number} x"}))
            db.execute("UPDATE pending SET fingerprint=? WHERE work=?", (fingerprint, number))
    with closing(Feeder(folder, prompt)) as feeder:
        assert [one.fault for one in feeder.next(2)] == [None, None]
    (tmp_path / "guide.md").write_text("behind", encoding="utf-8")
    with closing(Feeder(folder, asking(tmp_path, "{{ file('guide.md') }} {{ q }}"))) as feeder:
        faults = [one.fault for one in feeder.next(4)]
    assert all(fault is not None and "was changed since" in fault for fault in faults)


def test_what_many_rows_ask_is_read_at_once_whatever_their_order(tmp_path: Path) -> None:
    """The same as one by one, over the borders of ranges; a row whose input is lost says so in its place."""
    folder, prompt = prepared(tmp_path, [30, 250])
    with closing(Feeder(folder, prompt)) as feeder, LedgerReader(folder.ledger) as reader:
        rows = {row.work_id: row for row in reader.unsent(-1, 300)}
        wanted = [rows[n] for n in (279, 0, 31, 29, 130, 30, 129)]
        lost = rows[5]._replace(range=-1)
        *found, fault = feeder.requests([*wanted, lost])
        assert found == [feeder.request(row) for row in wanted]
        assert isinstance(fault, PromptFault)
        assert "its input is lost" in str(fault)
        assert feeder.requests([]) == []


def test_a_spill_that_is_gone_is_a_storage_fault(tmp_path: Path) -> None:
    """Its rows were admitted from it; the text names the file."""
    folder, prompt = prepared(tmp_path, [3])
    folder.spill(0).unlink()
    with closing(Feeder(folder, prompt)) as feeder, pytest.raises(StorageError, match="range-00000"):
        feeder.next(10)


def test_closing_twice_is_harmless(tmp_path: Path) -> None:
    """A run that failed may close more than once."""
    folder, prompt = prepared(tmp_path, [3])
    feeder = Feeder(folder, prompt)
    feeder.next(1)
    feeder.close()
    feeder.close()
