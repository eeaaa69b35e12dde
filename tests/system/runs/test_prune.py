"""Rows that the input has no more: those that never were rows go by themselves, the others are counted and go by prune."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from batch.cli import main
from tests.support import processes
from tests.support.ledgers import read
from tests.system.runs.conftest import KEY, Mill

Say = Callable[..., tuple[int, str]]
TORN = '{"n": 90, "question": "Tell me someth'


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Say:
    """A command that sends nothing, in this process: its exit code and all it says."""
    monkeypatch.setenv("ZHIPUAI_API_KEY", KEY)

    def command(*words: str | Path) -> tuple[int, str]:
        code = main([str(word) for word in words])
        told = capsys.readouterr()
        return code, told.out + told.err

    return command


def answered(mill: Mill, count: int = 10) -> list[dict[str, Any]]:
    """One night; gives its rows."""
    mill.key = "n"
    mill.output = {"rows_per_part": 4}
    rows = mill.questions(count)
    assert mill.run().exit_code == 0
    return rows


def write(mill: Mill, rows: list[dict[str, Any]], *lines: str) -> None:
    """Rows, and lines as they are behind them."""
    text = "".join(json.dumps(row) + "\n" for row in rows) + "".join(f"{line}\n" for line in lines)
    (mill.folder / mill.input).write_text(text, encoding="utf-8")


def ids(mill: Mill) -> list[str]:
    """The table, as it lies in the files."""
    return mill.one("row_id")


# -- lines that could not be read -------------------------------------------------------------------------------------


def test_a_half_copied_line_leaves_the_table_once_it_is_whole(mill: Mill, say: Say) -> None:
    """FIELD 29. Nothing was paid for it; `status` does not count it any more."""
    mill.key = "n"
    rows = mill.questions(3)
    write(mill, rows, TORN)
    assert mill.run().exit_code == 1
    told = say("status", mill.out)[1]
    assert told.count("unreadable, for good") == 1
    assert "1 row cannot be asked as the input stands: mend it there" in told
    assert "--retry all" not in told, "it would do nothing"
    rows = [*rows, {"n": 90, "question": "Tell me something about the number 90."}]
    write(mill, rows)
    report = mill.run()
    assert (report.exit_code, report.planned.new, report.standing) == (0, 1, (0, 0))
    assert ids(mill) == ["0", "1", "2", "90"]
    code, told = say("status", mill.out)
    assert (code, "for good" in told, "gone" in told) == (0, False, False)
    assert mill.run().state == "nothing_to_do"


def test_every_row_that_stood_for_a_fault_of_the_input_goes_with_it(mill: Mill) -> None:
    """FIELD 29. A line without its key, a key that stood twice, a line twice: all but what failed in its own right."""
    mill.key = "n"
    mill.user = "{{ question.title() }}"
    good = [{"n": n, "question": "What of it?"} for n in range(3)]
    fails = {"n": 7, "question": [1]}
    write(mill, [*good, good[1], {"question": "Who am I?"}, fails], TORN, TORN)
    assert mill.run().exit_code == 1
    assert len(ids(mill)) == 8
    write(mill, good)
    report = mill.run()
    assert (report.exit_code, report.gone.rows, report.standing) == (0, 1, (1, 0))
    assert mill.results("row_id, error_code")[3:] == [("7", "render")]


def test_a_line_that_stays_broken_keeps_its_row_and_a_pass_that_ends_early_removes_none(mill: Mill) -> None:
    """FIELD 29. Only a whole pass says that a line is gone."""
    mill.key = "n"
    rows = mill.questions(3)
    write(mill, rows, TORN)
    mill.run()
    write(mill, [*rows, {"n": 4, "question": "And the number 4?"}, {"n": 5, "question": "And 5?"}])
    report = mill.run(limit=1)
    assert (report.planned.gone, len(ids(mill))) == (None, 5)
    write(mill, [*rows, {"n": 5, "question": "And 5?"}], TORN)
    report = mill.run()
    assert (report.planned.gone, report.planned.standing, len(ids(mill))) == (1, 1, 6)


def test_a_whole_part_of_such_rows_is_removed(mill: Mill) -> None:
    """FIELD 29. Neither its file nor its place in the ledger stays."""
    rows = answered(mill, 4)
    write(mill, rows, *(f"{TORN}{n}" for n in range(3)))
    assert mill.run().exit_code == 1
    assert mill.parts() == ["part-00000.parquet", "part-00001.parquet"]
    write(mill, rows)
    assert mill.run().exit_code == 0
    assert (mill.parts(), ids(mill)) == (["part-00000.parquet"], ["0", "1", "2", "3"])
    assert mill.run().state == "nothing_to_do"


# -- gone and pruned --------------------------------------------------------------------------------------------------


def test_rows_that_are_gone_stay_and_everybody_says_so(mill: Mill, say: Say) -> None:
    """FIELD 30. Summary, `status`, `check`, with the command that takes them out."""
    rows = answered(mill)
    write(mill, [*rows[3:], {"n": 50, "question": "Tell me about 50."}])
    code, said = mill.command()
    assert code == 0
    told = "3 rows of the table not in the input any more: they stay"
    way_out = f"promptmill prune {mill.out} {mill.folder} takes them out"
    for text in (
        said,
        say("status", mill.out)[1],
        say("check", mill.folder)[1],
        say("check", mill.folder, "--full")[1],
    ):
        assert told in text
        assert way_out in text
    assert len(ids(mill)) == 11
    assert json.loads(say("status", mill.out, "--json")[1])["gone"] == {"rows": 3, "variants": 0}
    assert mill.runs()[-1]["planned"]["gone"] == 3
    write(mill, rows[5:])  # not run yet: --full reads what there is now
    assert "6 rows of the table not in the input" in say("check", mill.folder, "--full")[1]
    write(mill, rows)
    assert mill.run().gone.total == 1


def test_prune_takes_them_out_and_one_that_comes_back_is_new(mill: Mill, say: Say) -> None:
    """FIELD 30. The rest keeps its places, calls stay in the book, the same input is read again."""
    rows = answered(mill)
    kept = mill.results("n, answer, run, row_number, filename")[3:]
    write(mill, rows[3:])
    assert mill.run().gone.total == 3
    code, said = say("prune", mill.out, mill.folder, "--yes")
    assert (code, f"{mill.out}: 3 rows removed from the table" in said) == (0, True), said
    assert mill.results("n, answer, run, row_number, filename") == kept
    assert (len(mill.books()), mill.calls("count(*)")) == (10, [(10,)])
    assert "gone" not in say("status", mill.out)[1]
    code, said = say("prune", mill.out, mill.folder)
    assert (code, "nothing to remove, every row of the table is in the input" in said) == (0, True)
    write(mill, rows)
    planned = mill.run().planned
    assert (planned.new, planned.unchanged, planned.gone) == (3, 7, 0)
    assert ids(mill) == ["3", "4", "5", "6", "7", "8", "9", "0", "1", "2"]
    assert sorted(mill.one("row_number")) == list(range(3, 13))
    mill.check_books()


def test_rows_that_were_pruned_are_not_asked_after_a_rebuild(mill: Mill, say: Say) -> None:
    """FIELD 30. Their calls are in the book, and `rebuild` said that the next run asks them; two that come back are."""
    rows = answered(mill)
    write(mill, rows[3:8] + rows[9:])
    assert say("prune", mill.out, mill.folder, "--yes")[0] == 0
    code, said = say("rebuild", mill.out)
    assert (code, "to ask      4 rows without an answer, if the input has them\n" in said) == (0, True), said
    assert (mill.run().planned.new, len(mill.books())) == (0, 10)
    write(mill, rows[2:])
    assert (mill.run().planned.new, len(mill.books())) == (2, 12)
    assert ids(mill) == [str(n) for n in range(2, 10)], "not in the order of the input"


def test_an_input_that_is_put_back_is_looked_at_again(mill: Mill, say: Say) -> None:
    """FIELD 30. Pruned over a file that was cut, which then is the one of the last run to the second: nothing is lost."""
    rows = answered(mill)
    file, aside = mill.folder / mill.input, mill.folder / "aside.jsonl"
    file.rename(aside)
    write(mill, rows[:6])
    assert say("prune", mill.out, mill.folder, "--yes")[0] == 0
    aside.rename(file)
    assert mill.run().planned.new == 4
    mill.check_books()


def test_prune_needs_an_answer_a_readable_input_and_a_number_for_more_than_half(mill: Mill, say: Say) -> None:
    """FIELD 30. Refused with exit 2 and the way out; nothing is removed."""
    rows = answered(mill)

    def refused(*words: str, told: str) -> None:
        code, said = say("prune", mill.out, mill.folder, *words)
        assert (code, told in said, "nothing was removed" in said) == (2, True, True), said
        assert len(ids(mill)) == 10

    write(mill, rows[2:], TORN)
    refused("--yes", told="1 row of the input cannot be read")
    write(mill, rows[2:])
    refused(told="2 rows of 10 would be removed (2 not in the input any more)")
    refused("--yes", "--max-gone", "1", told="more than --max-gone 1 allows")
    write(mill, rows[6:])
    refused("--yes", told="6 rows of 10 would be removed (6 not in the input any more), more than half of the table")
    assert say("prune", mill.out, mill.folder, "--yes", "--max-gone", "6")[0] == 0
    assert ids(mill) == ["6", "7", "8", "9"]


@pytest.mark.parametrize(("answer", "left"), [("y\n", 8), ("n\n", 10), ("\n", 10), ("", 10)])
def test_at_a_terminal_prune_asks(
    answer: str, left: int, mill: Mill, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FIELD 30. With how many, of which kind, and a few of them by name."""
    rows = answered(mill)
    write(mill, rows[2:])
    typed = io.StringIO(answer)
    monkeypatch.setattr(typed, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", typed)
    code, said = say("prune", mill.out, mill.folder)
    assert code == 0
    assert "2 rows of 10 would be removed (2 not in the input any more), such as 0, 1." in said
    assert ("nothing was removed" in said) == (left == 10)
    assert len(ids(mill)) == left


def test_variants_that_are_not_asked_any_more_are_gone_too(mill: Mill, say: Say) -> None:
    """FIELD 30. They stay as rows do, are told apart from them, and go with them."""
    mill.key = "n"
    mill.more = '[prompt.variants]\none = { user = "{{ question }}" }\ntwo = { user = "Now: {{ question }}" }\n'
    rows = mill.questions(6)
    assert mill.run().exit_code == 0
    mill.more = '[prompt.variants]\none = { user = "{{ question }}" }\n'
    write(mill, rows[1:])
    report = mill.run()
    assert (report.gone.rows, report.gone.variants, report.planned.gone) == (2, 5, 7)
    assert (
        "2 rows of the table not in the input any more, 5 rows of variants not asked any more"
        in say("status", mill.out)[1]
    )
    assert say("prune", mill.out, mill.folder, "--yes", "--max-gone", "7")[0] == 0
    assert mill.results("n, variant") == [(n, "one") for n in range(1, 6)]
    assert mill.run().planned.unchanged == 5


def test_rows_without_a_key_and_repeats_of_them_are_told_apart(mill: Mill, say: Say) -> None:
    """FIELD 30. Of three equal rows one is gone: the third."""
    rows = mill.questions(4)
    write(mill, [*rows, rows[0], rows[0]])
    assert mill.run().exit_code == 0
    write(mill, [rows[0], *rows])
    assert mill.run().gone.total == 1
    assert say("prune", mill.out, mill.folder, "--yes")[0] == 0
    left = ids(mill)
    assert len(left) == 5
    assert [row_id.endswith("-2") for row_id in left] == [False] * 4 + [True]


def test_prune_leaves_a_folder_alone_that_is_not_settled_or_none(mill: Mill, say: Say) -> None:
    """FIELD 30. A killed run goes on first; a folder that is none says what it is."""
    mill.key = "n"
    rows = mill.questions(4)
    assert mill.command(failpoint="settled.committed")[0] == -9
    write(mill, rows[2:])
    code, said = say("prune", mill.out, mill.folder, "--yes")
    assert (code, "Run the job again first" in said) == (2, True), said
    code, said = say("prune", mill.folder, mill.folder)
    assert (code, "It is a job; its output lies in" in said) == (2, True), said
    code, said = say("prune", mill.folder / "none", mill.folder)
    assert (code, "there is no such folder" in said) == (2, True), said


@pytest.mark.parametrize(
    ("point", "left"),
    [
        ("prune.part_written", 0),
        ("prune.part_named", 2),
        ("prune.committed", 2),
        ("prune.committed:2", 6),
        ("prune.part_removed", 6),
    ],
)
def test_a_prune_that_is_killed_loses_and_doubles_nothing(point: str, left: int, mill: Mill, say: Say) -> None:
    """FIELD 30. Some parts lost their rows, the others not; index and files agree, and what is left goes next time."""
    rows = answered(mill)  # in parts of four, four and two
    write(mill, [rows[0], rows[1], *rows[8:]])
    command = [sys.executable, "-m", "batch", "prune", str(mill.out), str(mill.folder), "--yes", "--max-gone", "6"]
    process = processes.start(command, env={**os.environ, **mill.environ, "PROMPTMILL_FAILPOINT": point})
    said = "".join(process.communicate(timeout=60))
    assert process.returncode == -9, said
    write(mill, rows)  # all of them are back
    planned = mill.run().planned
    assert (planned.new, planned.unchanged, len(mill.books())) == (left, 10 - left, 10 + left)
    assert sorted(ids(mill)) == [str(n) for n in range(10)]
    assert read(mill.out / "ledger.db", "SELECT count(*) FROM leaving") == [(0,)]
    assert mill.run().state == "nothing_to_do"
    mill.check_books()
    write(mill, [rows[0], rows[1], *rows[8:]])
    assert say("prune", mill.out, mill.folder, "--yes", "--max-gone", "6")[0] == 0
    assert sorted(ids(mill)) == ["0", "1", "8", "9"]


@pytest.mark.parametrize("point", ["prune.part_written", "prune.part_named", "prune.committed", "prune.part_removed"])
def test_a_run_killed_while_a_line_leaves_the_table_goes_on(point: str, mill: Mill) -> None:
    """FIELD 29. The part is rewritten, or removed whole; the same command ends what was begun."""
    mill.key = "n"
    mill.output = {"rows_per_part": 4}
    rows = mill.questions(6)
    torn = [f"{TORN}{n}" for n in range(2 if point == "prune.part_removed" else 1)]
    write(mill, rows[:3] if len(torn) == 1 else rows[:4], *torn)
    assert mill.run().exit_code == 1
    write(mill, rows)
    code, said = mill.command(failpoint=point)
    assert code == -9, said
    assert mill.run().exit_code == 0
    assert ids(mill) == [str(n) for n in range(6)]
    assert len(mill.books()) == 6
    assert mill.run().state == "nothing_to_do"


def test_ctrl_c_at_the_question_ends_it_at_once(mill: Mill) -> None:
    """FIELD 30. Exit 4, and nothing is removed: a wait for an answer is no work to be finished."""
    rows = answered(mill)
    write(mill, rows[2:])
    ours, theirs = os.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "batch", "prune", str(mill.out), str(mill.folder)],
            env={**os.environ, **mill.environ},
            stdin=theirs,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        said = ""
        while "[y/N]" not in said:
            piece = process.stderr.read(1)
            assert piece, said
            said += piece
        process.send_signal(signal.SIGINT)
        assert "interrupted." in process.communicate(timeout=120)[1]
    finally:
        os.close(ours)
        os.close(theirs)
    assert (process.returncode, len(ids(mill))) == (4, 10)
