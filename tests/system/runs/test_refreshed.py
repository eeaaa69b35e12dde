"""A column that is not asked changes in the input: the table follows, nothing is sent, and the answer stays as it was."""

from __future__ import annotations

import json
import random
import sys
from contextlib import closing
from typing import Any

import apsw
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch.cli import main
from tests.support.ledgers import read
from tests.system.runs.conftest import Make, Mill

KEPT = "n, answer, run, epoch_us(settled_at), cost::VARCHAR, total_tokens, row_number, filename"


def tickets(count: int, **owners: str) -> list[dict[str, Any]]:
    """Rows with an owner whom nobody asks about; `n7="bob"` gives row 7 another one."""
    return [
        {"n": n, "question": f"Tell me about the number {n}.", "owner": owners.get(f"n{n}", "ann")}
        for n in range(count)
    ]


def answered(mill: Mill, count: int = 12, **output: Any) -> Mill:
    """One night over tickets, all of ann's."""
    mill.key = "n"
    mill.output = {"rows_per_part": 4, **output}
    mill.write(tickets(count))
    assert mill.run().exit_code == 0
    return mill


def owners(mill: Mill) -> list[str]:
    """As they stand in the table."""
    return mill.one("owner")


def test_the_table_follows_and_the_answer_stays_as_it_was(mill: Mill) -> None:
    """FIELD 28. Nothing is sent or paid; run, time and cost stay; only the parts concerned are written."""
    answered(mill)
    before, sent = mill.results(KEPT), len(mill.books())
    untouched = (mill.out / "results" / "part-00001.parquet").stat().st_mtime_ns
    mill.write(tickets(12, n0="bob", n11="cid"))
    code, said = mill.command()
    assert code == 0
    assert "10 answered before: left alone" in said
    assert "2 refreshed: columns that are not asked changed, and the table follows; nothing was sent" in said
    assert owners(mill) == ["bob", *["ann"] * 10, "cid"]
    assert (mill.results(KEPT), len(mill.books())) == (before, sent)
    assert (mill.out / "results" / "part-00001.parquet").stat().st_mtime_ns == untouched
    told = mill.runs()[-1]
    assert (told["planned"]["refreshed"], told["planned"]["unchanged"], told["totals"]["rows_ok"]) == (2, 10, 0)
    assert mill.run().state == "nothing_to_do"
    mill.write(tickets(12))
    report = mill.run()
    assert (report.planned.refreshed, owners(mill), mill.results(KEPT)) == (2, ["ann"] * 12, before)


def test_rows_beside_them_are_asked_in_the_same_part(mill: Mill) -> None:
    """FIELD 28. A part may have rows of every kind: asked anew, new in it, refreshed, and none of it."""
    answered(mill, 8, rows_per_part=100)
    rows = tickets(10, n1="bob", n2="bob")
    rows[2]["question"] = "What of the number 2?"
    mill.write(rows)
    report = mill.run()
    planned = report.planned
    assert (planned.new, planned.changed, planned.refreshed, planned.unchanged) == (2, 1, 1, 6)
    assert owners(mill) == ["ann", "bob", "bob", *["ann"] * 7]
    assert len(mill.books()) == 8 + 3
    mill.check_table(10)
    runs = mill.one("run")
    assert [run == report.run for run in runs] == [n in (2, 8, 9) for n in range(10)]


def test_a_row_that_failed_for_good_or_is_left_out_shows_what_its_outcome_belongs_to(make: Make) -> None:
    """FIELD 28. A standing failure follows, too; an answer to an older question keeps the input it was given for."""
    mill = make('[[fault]]\nbehaviour = 65\nrows = ["number 3."]\n')
    mill.key = "n"
    mill.write(tickets(5))
    assert mill.run().exit_code == 1
    rows = tickets(5, n1="bob", n3="bob")
    rows[1]["question"] = "What of the number 1?"
    mill.write(rows)
    report = mill.run(kinds=frozenset({"new"}))
    planned = report.planned
    assert (planned.left_out, planned.standing, planned.refreshed) == (1, 1, 1)
    assert mill.results("n, owner, status")[1] == (1, "ann", "ok"), "another question's answer beside this owner"
    assert mill.results("n, owner, status")[3] == (3, "bob", "failed")
    assert mill.run().planned.changed == 1
    assert owners(mill) == ["ann", "bob", "ann", "bob", "ann"]


def test_each_variant_of_a_row_follows_unless_its_own_question_changed(mill: Mill) -> None:
    """FIELD 28. One prompt reads the owner, the other does not."""
    mill.key = "n"
    mill.more = (
        '[prompt.variants]\nplain = { user = "{{ question }}" }\nnamed = { user = "{{ owner }}: {{ question }}" }\n'
    )
    mill.write(tickets(4))
    assert mill.run().exit_code == 0
    before = {(n, variant): answer for n, variant, answer in mill.results("n, variant, answer")}
    mill.write(tickets(4, n2="bob"))
    planned = mill.run().planned
    assert (planned.changed, planned.refreshed, planned.source_rows) == (1, 1, 1)
    assert mill.results("n, variant, owner")[4:6] == [(2, "plain", "bob"), (2, "named", "bob")]
    after = {(n, variant): answer for n, variant, answer in mill.results("n, variant, answer")}
    assert {key for key in after if after[key] != before[key]} == {(2, "named")}


def test_values_of_every_kind_follow_in_an_input_of_another_order(mill: Mill) -> None:
    """FIELD 28. Nested values, nulls, late keys and misfits; the rows of a part come from several ranges."""
    answered(mill, 23)
    rows: list[dict[str, Any]] = tickets(23)
    rows[4]["owner"] = None
    rows[9]["owner"] = {"first": "cid", "tags": [1, 2]}  # does not fit the column
    rows[17]["late"] = "x"  # has no column
    random.Random(7).shuffle(rows)
    mill.write(rows)
    report = mill.run()
    assert (report.planned.refreshed, report.planned.unchanged) == (3, 20)
    found = {n: (owner, rest) for n, owner, rest in mill.results("n, owner, input_rest")}
    assert found[4] == (None, None)
    assert (found[9][0], json.loads(found[9][1])) == (None, {"owner": {"first": "cid", "tags": [1, 2]}})
    assert (found[17][0], json.loads(found[17][1])) == ("ann", {"late": "x"})
    mill.check_table(23)
    assert mill.run().state == "nothing_to_do"


def test_the_same_rows_in_another_format_change_nothing(mill: Mill) -> None:
    """FIELD 28. The hash is of values: JSONL and Parquet, and columns in another order, are the same."""
    answered(mill)
    rows = tickets(12)
    columns = {name: [row[name] for row in rows] for name in ("owner", "question", "n")}
    pq.write_table(pa.table(columns), mill.folder / "rows.parquet")
    mill.input = "rows.parquet"
    planned = mill.run().planned
    assert (planned.unchanged, planned.refreshed) == (12, 0)
    pq.write_table(pa.table(columns).drop_columns(["owner"]), mill.folder / "rows.parquet")
    mill.run()
    assert owners(mill) == ["ann"] * 12, "a column that the input has no more keeps what it had"


@pytest.mark.parametrize("older", [False, True])
def test_a_column_that_is_chosen_later_is_filled(older: bool, mill: Mill) -> None:
    """FIELD 28. Also where an older version made the index, which knows no columns of its rows."""
    answered(mill, 8, columns=["n"])
    if older:
        with closing(apsw.Connection(str(mill.out / "ledger.db"))) as db:
            db.execute("UPDATE entries_3 SET content = NULL")
    mill.output["columns"] = ["n", "owner"]
    planned = mill.run().planned
    assert (planned.refreshed, planned.unchanged) == (8, 0)
    assert (owners(mill), len(mill.books())) == (["ann"] * 8, 8)


def test_an_index_made_again_knows_the_columns(mill: Mill, capsys: pytest.CaptureFixture[str]) -> None:
    """FIELD 28. A rebuild reads them from the parts: what has not changed since is left alone, what has is refreshed."""
    answered(mill)
    mill.write([{**row, "more": {"a": n}} if n == 5 else row for n, row in enumerate(tickets(12))])
    assert mill.run().planned.refreshed == 1
    contents = "SELECT row_id, content FROM entries"
    known = read(mill.out / "ledger.db", contents)
    (mill.out / "ledger.db").unlink()
    assert main(["rebuild", str(mill.out)]) == 1
    capsys.readouterr()
    assert read(mill.out / "ledger.db", contents) == known
    rows = tickets(12, n3="bob")
    mill.write(rows)
    planned = mill.run().planned
    assert (planned.refreshed, planned.unchanged, len(mill.books())) == (2, 10, 12)
    assert owners(mill) == ["ann", "ann", "ann", "bob", *["ann"] * 8]


def test_a_rebuild_after_a_kill_before_their_records_were_removed(
    mill: Mill, capsys: pytest.CaptureFixture[str]
) -> None:
    """FIELD 28. They have no outcome to be published again: the next command ended with exit 70."""
    answered(mill)
    mill.write(tickets(12, n0="bob", n11="bob"))
    keeping = (
        "from batch import cli\nfrom batch.ledger import writer\nwriter.prune_slice = lambda db: False\ncli.main()"
    )
    code, said = mill.command(failpoint="publish.committed", program=(sys.executable, "-c", keeping))
    assert code == -9, said
    assert read(mill.out / "ledger.db", "SELECT state, outcome IS NULL FROM pending") == [(2, 1), (2, 1)]
    assert main(["rebuild", str(mill.out)]) == 0
    capsys.readouterr()
    assert mill.run().exit_code == 0
    assert owners(mill) == ["bob", *["ann"] * 10, "bob"]
    assert (mill.pending(), len(mill.books())) == ([], 12)


@pytest.mark.parametrize(
    "point",
    ["spill.written", "admitted.committed", "publish.rewrite_written", "publish.rewrite_named:2", "publish.committed"],
)
def test_a_kill_in_the_middle_loses_and_doubles_nothing(point: str, mill: Mill) -> None:
    """FIELD 28. Wherever it is killed the table is whole, and the same command has it follow; also edited back."""
    answered(mill)
    before = mill.results(KEPT)
    mill.write(tickets(12, n0="bob", n5="bob", n11="bob"))
    code, said = mill.command(failpoint=point)
    assert code == -9, said
    assert mill.results(KEPT) == before
    if point == "publish.rewrite_named:2":
        mill.write(tickets(12))  # the input of before: the files may be of the other one by now
        assert mill.run().exit_code == 0
        assert owners(mill) == ["ann"] * 12
        mill.write(tickets(12, n0="bob", n5="bob", n11="bob"))
    assert mill.run().exit_code == 0
    assert owners(mill) == ["bob" if n in (0, 5, 11) else "ann" for n in range(12)]
    assert (mill.results(KEPT), len(mill.books()), mill.pending()) == (before, 12, [])
    assert mill.run().state == "nothing_to_do"
    mill.check_table(12)


def test_a_spill_that_is_lost_meanwhile_is_read_again(mill: Mill) -> None:
    """FIELD 28. A killed run whose rows are to be refreshed and lost their spill plans them anew."""
    answered(mill)
    mill.write(tickets(12, n0="bob", n11="bob"))
    assert mill.command(failpoint="publish.rewrite_named")[0] == -9
    for path in (mill.out / "pending").iterdir():
        path.unlink()
    mill.write(tickets(12, n11="bob"))
    assert mill.run().exit_code == 0
    assert owners(mill) == [*["ann"] * 11, "bob"]
    assert len(mill.books()) == 12
