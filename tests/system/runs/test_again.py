"""The same command again: what is new, changed or worth another try is asked, and every row keeps its place."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch.core.errors import InputError
from batch.job.job import Job
from batch.plan.preflight import check_job
from batch.report.scan import scan
from batch.run.command import Report
from tests.simulator.conftest import Gate, Start
from tests.system.runs.conftest import Make, Mill
from tests.system.runs.test_stops import stop


def asked(mill: Mill, report: Report) -> int:
    """Requests since the last look, with the books closed behind them."""
    assert mill.sim is not None
    count = len(mill.books())
    mill.sim.reset()
    return count


def test_the_same_command_again_has_nothing_to_do_and_sends_nothing(mill: Mill) -> None:
    """Design 4: unread, exit 0."""
    mill.questions(30)
    asked(mill, mill.run())
    before = mill.results("n, answer, run, epoch_us(settled_at)")
    report = mill.run()
    assert (report.state, report.exit_code, report.table_rows) == ("nothing_to_do", 0, 30)
    assert asked(mill, report) == 0
    assert mill.results("n, answer, run, epoch_us(settled_at)") == before
    assert len(mill.runs()) == 1


def test_a_changed_template_asks_every_row_again_and_keeps_its_place(mill: Mill) -> None:
    """Promise 3: changing what is asked re-asks, and a result's place is for ever."""
    mill.questions(50)
    mill.output = {"rows_per_part": 20}
    asked(mill, mill.run())
    places = mill.results("row_id, row_number, filename")
    mill.user = "Please: {{ question }}"
    report = mill.run()
    assert (report.exit_code, report.planned.changed, report.planned.new) == (0, 50, 0)
    assert asked(mill, report) == 50
    assert mill.results("row_id, row_number, filename") == places
    mill.check_table(50)
    assert set(mill.one("run")) == {report.run}
    assert mill.calls("count(*)") == [(100,)], "the book is append-only"


def test_appended_rows_run_alone_and_go_to_a_new_part(mill: Mill) -> None:
    """Design 2: new rows of a range get one new part."""
    rows = mill.questions(50)
    asked(mill, mill.run())
    mill.write([*rows, *({"n": n, "question": f"New: {n}"} for n in range(50, 60))])
    report = mill.run()
    assert (report.exit_code, asked(mill, report), report.planned.new) == (0, 10, 10)
    mill.check_table(60)
    assert mill.one("n") == list(range(60))
    assert mill.parts() == ["part-00000.parquet", "part-00001.parquet"]


@pytest.mark.parametrize("killed", [False, True], ids=["one process", "killed in between"])
def test_a_source_with_repeats_that_grew_after_its_first_pass_buys_only_what_is_new(killed: bool, mill: Mill) -> None:
    """Design 4: the first pass looks for no row in the index, any later one does."""
    rows = mill.questions(50)
    mill.write([*rows, *rows[3:8]])
    mill.output = {"rows_per_part": 20}
    if killed:
        assert mill.command(failpoint="admitted.committed:2")[0] == -9
    assert mill.run().exit_code == 0
    mill.check_table(55)
    ids = mill.one("row_id")
    assert ids[50:] == [f"{row_id}-2" for row_id in ids[3:8]]
    assert mill.sim is not None
    mill.sim.reset()
    mill.write([rows[3], *rows[3:8], {"n": 99, "question": "New?"}, *rows])
    report = mill.run()
    assert (report.exit_code, asked(mill, report), report.planned.new) == (0, 2, 2)
    mill.check_table(57)
    assert sorted(mill.one("n")[55:]) == [3, 99]
    assert mill.one("n")[:55] == [*range(50), *range(3, 8)]
    assert mill.run().state == "nothing_to_do"


@pytest.mark.parametrize("keyed", [True, False])
def test_rows_put_in_front_leave_all_others_where_they_are(keyed: bool, mill: Mill) -> None:
    """Design 2: row_number is given at admission, for ever."""
    mill.key = "n" if keyed else None
    rows = mill.questions(20)
    asked(mill, mill.run())
    mill.write([{"n": 100, "question": "First?"}, *rows])
    assert asked(mill, mill.run()) == 1
    assert mill.one("n") == [*range(20), 100]


def test_an_edited_row_runs_alone_and_keeps_its_place(mill: Mill) -> None:
    """Design 4: the fingerprint of one row changed."""
    mill.key = "n"
    rows = mill.questions(30)
    asked(mill, mill.run())
    rows[7]["question"] = "Something else entirely?"
    mill.write(rows)
    report = mill.run()
    assert (report.exit_code, asked(mill, report), report.planned.changed) == (0, 1, 1)
    mill.check_table(30)
    row = mill.results("n, question, row_number, run")[7]
    assert row == (7, "Something else entirely?", 7, report.run)


def test_a_removed_row_stays_as_it_is(mill: Mill) -> None:
    """Design 4: rows no longer asked for stay."""
    mill.key = "n"
    rows = mill.questions(20)
    asked(mill, mill.run())
    mill.write(rows[:5] + rows[6:])
    report = mill.run()
    assert (report.exit_code, asked(mill, report)) == (0, 0)
    mill.check_table(20)
    assert mill.run().state == "nothing_to_do"


@pytest.mark.parametrize(
    "change",
    [
        {"lane": "task"},
        {"limits": {"concurrency": 3, "requests_per_minute": 6000}},
        {"output": {"rows_per_part": 7}},
        {"more": "", "url": "http://127.0.0.1:1"},
    ],
    ids=["lane", "limits", "parts", "base_url"],
)
def test_a_change_that_asks_nothing_else_buys_nothing(change: dict[str, Any], mill: Mill) -> None:
    """Promise 3."""
    mill.questions(30)
    asked(mill, mill.run())
    before = mill.results("n, answer, run")
    for name, value in change.items():
        setattr(mill, name, value)
    report = mill.run()
    assert (report.exit_code, report.totals.calls, report.planned.unchanged) == (0, 0, 30)
    assert asked(mill, report) == 0
    assert mill.results("n, answer, run") == before
    assert mill.run().state == "nothing_to_do"


def test_a_limit_takes_the_next_rows_and_without_it_all_the_rest_run(mill: Mill) -> None:
    """Design 4: at most N rows that need work."""
    mill.questions(70)
    for done in (20, 40):
        report = mill.run(limit=20)
        assert (report.exit_code, asked(mill, report), mill.one("n")) == (0, 20, list(range(done)))
    assert asked(mill, mill.run()) == 30
    mill.check_table(70)
    assert mill.run().state == "nothing_to_do"
    assert asked(mill, mill.run(limit=5)) == 0


def test_a_shuffled_limit_draws_the_same_rows_again_and_runs_them_in_source_order(make: Make, start: Start) -> None:
    """Design 4: --limit N --shuffle --seed S."""
    sim = start()
    drawn = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        mill = make(sim=sim, name=name)
        mill.questions(200)
        assert mill.run(limit=20, sample_seed=seed).exit_code == 0
        drawn.append(mill.one("n"))
        mill.check_table(20)
        assert mill.one("n") == sorted(mill.one("n"))
        assert asked(mill, mill.run()) == 200
        assert len(mill.one("DISTINCT n")) == 200
        assert mill.run().state == "nothing_to_do"
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize("lane", ["sync", "task"])
def test_rows_that_failed_for_a_passing_reason_are_asked_by_the_next_command(
    lane: str, make: Make, start: Start
) -> None:
    """Design 4: retryable failures are pending, permanent ones are not."""
    sick = start(
        '[[fault]]\nbehaviour = 28\nrate = 0.4\nroute = "chat"\n[[fault]]\nbehaviour = 28\nrate = 0.4\nroute = "submit"'
    )
    mill = make(sim=sick, lane=lane)
    mill.questions(60)
    mill.limits["max_attempts"] = 1
    report = mill.run()
    failed = [n for n, status in mill.results("n, status") if status == "failed"]
    assert report.exit_code == 1
    assert 5 < len(failed) < 55
    assert report.standing == (0, len(failed))
    well = start()
    mill.url = f"http://127.0.0.1:{well.port}"
    mill.sim = well
    again = mill.run()
    assert (again.exit_code, again.planned.retried, len(mill.books())) == (0, len(failed), len(failed))
    mill.check_table(60)
    assert mill.one("n") == list(range(60))
    assert [n for n, run in mill.results("n, run") if run == again.run] == failed
    assert mill.run().state == "nothing_to_do"


def test_rows_that_failed_for_good_are_not_bought_again(make: Make) -> None:
    """Design 4: permanent failures need a new fingerprint."""
    mill = make()
    mill.tools = (
        'from batch import tool\n\n\n@tool\ndef add(a: int, b: int) -> int:\n    """Add."""\n    return a + b\n'
    )
    mill.max_turns = 1
    mill.write([{"n": n, "question": f"{n} plus {n}?" if n < 5 else f"Tell me of {n}."} for n in range(20)])
    assert mill.run().exit_code == 1
    asked(mill, mill.run())
    report = mill.run()
    assert (report.state, report.exit_code, report.standing) == ("nothing_to_do", 0, (5, 0))
    mill.write([{"n": n, "question": f"{n} plus {n}?" if n < 5 else f"Tell me of {n}."} for n in range(21)])
    report = mill.run()
    assert (report.exit_code, asked(mill, report), report.planned.standing) == (0, 1, 5)


def test_a_new_column_is_added_to_every_old_part_and_old_rows_have_it_too(mill: Mill) -> None:
    """FIELD 28. Design 5: a column added later is added to every old part once; the table follows, nothing is asked."""
    mill.input, mill.key = "rows.parquet", "n"
    old = pa.table({"n": list(range(30)), "question": [f"What of {n}?" for n in range(30)]})
    pq.write_table(old, mill.folder / "rows.parquet")
    mill.output = {"rows_per_part": 10}
    asked(mill, mill.run())
    new = pa.table(
        {
            "n": list(range(35)),
            "extra": pa.array(range(35), pa.int16()),
            "question": [f"What of {n}?" for n in range(35)],
        }
    )
    pq.write_table(new, mill.folder / "rows.parquet")
    report = mill.run()
    assert (report.exit_code, asked(mill, report), report.planned.refreshed) == (0, 5, 30)
    for path in sorted((mill.out / "results").iterdir()):
        assert pq.read_schema(path).field("extra").type == pa.int16(), path
    assert mill.one("extra") == list(range(35))
    mill.check_table(35)
    schemas = {str(pq.read_schema(path)) for path in (mill.out / "results").iterdir()}
    assert len(schemas) == 1


def test_a_column_of_another_type_is_refused_naming_both_types(mill: Mill) -> None:
    """Design 5: exit 2 naming column and both types, if the job names or reads it; also when an input in between lacked it."""
    mill.input, mill.key = "rows.parquet", "n"

    def write(**columns: Any) -> None:
        table = pa.table({"n": list(range(5)), "question": [f"What of {n}?" for n in range(5)], **columns})
        pq.write_table(table, mill.folder / "rows.parquet")

    def refused() -> None:
        write(size=["large"] * 5)
        mill.output = {"columns": ["n", "question", "size"]}
        with pytest.raises(InputError, match=r"size.*(int64.*string|string.*int64)"):
            mill.run()
        mill.output = {}

    write(size=pa.array(range(5), pa.int64()))
    assert mill.run().exit_code == 0
    before = pq.read_table(mill.out / "results").to_pylist()
    refused()
    write()
    assert mill.run().exit_code == 0
    refused()
    write(size=pa.array(range(5), pa.int32()))
    assert mill.run().exit_code == 0
    assert pq.read_table(mill.out / "results").to_pylist() == before


def test_a_column_of_another_type_that_nobody_reads_stops_no_night(mill: Mill) -> None:
    """FIELD 36: the table keeps its type, and what does not fit is in `input_rest`; nothing is asked again."""
    mill.input, mill.key = "rows.parquet", "n"
    for count, size in ((2, [1, 2]), (3, ["1", "2", "large"])):
        questions = [f"What of {n}?" for n in range(count)]
        pq.write_table(pa.table({"n": range(count), "question": questions, "size": size}), mill.folder / "rows.parquet")
        assert mill.run().exit_code == 0
    assert len(mill.books()) == 3
    assert mill.results("n, size, input_rest")[2] == (2, None, '{"size":"large"}')
    assert mill.query(f"SELECT DISTINCT typeof(size) FROM '{mill.out}/results/*.parquet'") == [("BIGINT",)]


def test_a_template_of_before_costs_nothing_after_an_interrupted_change(make: Make, gate: Gate) -> None:
    """Design 5: an index entry describes the outcome that is in the table; back at A nothing is bought."""
    mill = make(gate=gate)
    mill.limits["concurrency"] = 4
    mill.questions(16)
    gate.open()
    assert mill.run().exit_code == 0
    asked(mill, None)  # type: ignore[arg-type]  # there is no report yet
    mill.user = "B: {{ question }}"
    gate.shut()
    gate.let_pass(4)
    process = mill.start("--log-format", "json")
    assert mill.sim is not None
    mill.sim.until_books(len(mill.sim.books()) + 4)
    stop(process, signal.SIGTERM)
    gate.open()
    process.communicate(timeout=120)
    assert process.returncode == 4
    replaced = len({row[0] for row in mill.calls("row_id", f"run = '{mill.runs()[-1]['run']}'")})
    asked(mill, None)  # type: ignore[arg-type]  # there is no report yet
    mill.user = "{{ question }}"
    report = mill.run()
    assert (report.exit_code, asked(mill, report)) == (0, replaced)
    mill.check_table(16)


def test_repeated_keys_and_a_key_that_looks_like_one_stay_apart(mill: Mill) -> None:
    """Promise 1: exactly one row for each (row_id, variant), whatever the keys are."""
    mill.key = "id"
    names = ["a", "a", "a-2", "b-2", "b", "b", "a"]
    mill.write([{"id": name, "n": n, "question": f"What of {n}?"} for n, name in enumerate(names)])
    report = mill.run()
    assert report.exit_code == 1
    mill.check_table(7)
    again = mill.run()
    assert again.state == "nothing_to_do"
    codes = {row[0]: row[1] for row in mill.results("n, error_code")}
    twice = "duplicate_key"
    assert [codes[n] for n in range(7)] == [None, twice, None, None, None, twice, twice]
    assert [row_id for row_id, code in mill.results("row_id, error_code") if not code] == ["a", "a-2", "b-2", "b"]


def test_a_repeated_key_never_takes_the_answer_of_a_row_whose_key_looks_like_its_name(mill: Mill) -> None:
    """Promises 1 and 2: its answer stays in the table, and is not bought again once the input is put right."""
    mill.key = "id"
    rows = [{"id": name, "question": f"What of {name}?"} for name in ("a", "a-2", "a-3")]
    mill.write(rows)
    report = mill.run()
    assert (report.exit_code, asked(mill, report)) == (0, 3)
    answers = mill.results("row_id, answer")
    mill.write([rows[0], rows[0], rows[0], *rows[1:]])
    report = mill.run()
    assert (report.exit_code, asked(mill, report)) == (1, 0)
    assert [row for row in mill.results("row_id, answer") if row[1]] == answers
    mill.check_table(5)
    mill.write(rows)
    report = mill.run()
    assert (report.exit_code, asked(mill, report)) == (0, 0)
    assert mill.results("row_id, answer") == answers


def test_keys_that_are_written_with_a_point_one_night_are_the_rows_of_the_nights_before(mill: Mill) -> None:
    """Promise 2. Pandas writes a whole column with a point as soon as one of its numbers is missing."""
    mill.key = "n"
    rows = mill.questions(20)
    report = mill.run()
    assert (report.exit_code, asked(mill, report)) == (0, 20)
    missing = {"n": None, "question": "Whose?"}
    mill.write([*({**row, "n": float(row["n"])} for row in rows), missing, {**rows[0], "question": "Again?"}])
    report = mill.run()
    assert (report.exit_code, asked(mill, report)) == (1, 0)
    assert [code for code in mill.one("error_code") if code] == ["no_key", "duplicate_key"]
    assert mill.one("row_id")[:20] == [str(n) for n in range(20)]
    said = scan(check_job(Job.load(mill.folder), environ=mill.environ))
    assert (said.no_key, said.duplicates) == (1, 1)
    mill.write([*rows, {"n": 20.0, "question": "New?"}, {"n": 20.5, "question": "Newer?"}])
    report = mill.run()
    assert (report.exit_code, asked(mill, report)) == (0, 2)
    assert mill.one("row_id")[20:] == ["20", "20.5"]


def test_a_nightly_file_with_overlapping_rows_asks_only_the_new_ones(mill: Mill) -> None:
    """Design 4: that one rule is resume, retry and the nightly increment; the file's name does not matter."""
    mill.key = "n"
    mill.questions(30)
    asked(mill, mill.run())
    mill.input = "tomorrow.jsonl"
    mill.questions(40, first=20)
    report = mill.run()
    assert (report.exit_code, asked(mill, report)) == (0, 30)
    mill.check_table(60)


def test_the_same_rows_in_another_file_format_are_the_same_rows(mill: Mill) -> None:
    """Design 4: identity is the canonical record; key order and file format do not count."""
    rows = mill.questions(20)
    asked(mill, mill.run())
    mill.input = "rows.parquet"
    pq.write_table(
        pa.table({"question": [r["question"] for r in rows], "n": [r["n"] for r in rows]}), mill.folder / mill.input
    )
    report = mill.run()
    assert (report.exit_code, asked(mill, report)) == (0, 0)


def test_run_files_and_status_tell_of_every_run(mill: Mill) -> None:
    """Design 5: runs/*.json and status.json."""
    mill.questions(10)
    report = mill.run()
    [told] = mill.runs()
    assert (told["run"], told["state"], told["totals"]["rows_ok"]) == (report.run, "finished", 10)
    assert msgspec.json.decode(Path(mill.out / "status.json").read_bytes())["state"] == "finished"
    assert json.dumps(told).count("Secret") == 0
