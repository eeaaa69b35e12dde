"""`labels`: what it says, how wide, and how it ends; `tests/report/test_labels.py` has the figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from batch.cli.figures import WIDTH, filled
from tests.cli.conftest import Cli
from tests.support.labelled import EARLIER, labelled
from tests.support.outfolders import RUN

LONG = "customers_who_ask_for_a_refund_of_a_card_payment_that_they_did_not_make"


def ticket(truth: str, label: str | None, **more: Any) -> dict[str, Any]:
    usual = {"text": "t", "category": truth, "label": label, "status": "ok", "error_kind": None, "retryable": None}
    failed = {"status": "failed", "error_kind": "label", "retryable": False} if label is None else {}
    return {**usual, **failed, **more}


def tickets() -> list[dict[str, Any]]:
    """20 rows: 18 labelled, 16 rightly; shipping is taken for billing twice."""
    rows = [ticket("billing", "billing")] * 9 + [ticket("shipping", "shipping")] * 7
    return [*rows, *[ticket("shipping", "billing")] * 2, ticket("shipping", None), ticket("billing", None)]


def test_labels_tells_the_figures_and_what_is_taken_for_what(tmp_path: Path, cli: Cli) -> None:
    """The whole of a small table."""
    out = labelled(tmp_path / "out", tickets()).root
    said = cli("labels", out, "--gold", "category")
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines() == [
        f"{out}: the labels in column label",
        "  rows   20",
        "  valid  18 have a valid label: 90.0 % (69.9 to 97.2)",
        "",
        "  label     rows   share",
        "  billing     11  61.1 %",
        "  shipping     7  38.9 %",
        "",
        "held against category: 18 rows have a valid label and a known truth",
        "  accuracy  88.9 % (67.2 to 96.9)",
        "  kappa     0.778 (0.495 to 1.000)",
        "",
        "  class, worst first  truth  given     precision        recall            F1",
        "  shipping                9      7    1.00 .65–1  0.78 .45–.94  0.88 .62–.97",
        "  billing                 9     11  0.82 .52–.95    1.00 .70–1  0.90 .69–.97",
        "",
        "  taken for  rows  of  truth",
        "  billing       2   9  shipping",
        "",
        "In brackets: where the true figure lies, with 95 %.",
    ]


def test_without_a_truth_it_says_how_to_name_one(tmp_path: Path, cli: Cli) -> None:
    """By a flag or in the job; a job whose truth is not in the table is told how it gets there."""
    out = labelled(tmp_path / "out", tickets()).root
    said = cli("labels", out).out
    assert "How many labels are right is not known" in said
    assert "--gold COLUMN" in said
    assert '  gold = "COLUMN"\n' in said
    assert "accuracy" not in said
    lacking = labelled(tmp_path / "lacking", tickets(), gold="truth").root
    said = " ".join(cli("labels", lacking).out.split())
    assert "the table has no such column" in said
    assert "output.columns of the job names it" in said
    named = labelled(tmp_path / "named", tickets(), gold="category").root
    assert "held against category" in cli("labels", named).out


def test_variants_and_groups_have_a_line_each(tmp_path: Path, cli: Cli) -> None:
    """Variants unasked; a column by --by; without a truth the most frequent label."""
    rows = [
        {**ticket(truth, truth if variant == "good" else "billing"), "row_id": f"r{n}", "variant": variant, "day": day}
        for n, (truth, day) in enumerate([("billing", "mon"), ("shipping", "tue"), ("refund", None)] * 4)
        for variant in ("good", "bad")
    ]
    out = labelled(tmp_path / "out", rows).root
    lines = [line.split() for line in cli("labels", out, "--gold", "category").out.splitlines()]
    assert ["variant", "rows", "labelled", "accuracy", "kappa"] in lines
    assert ["good", "12", "12", "100.0", "%", "(75.8", "to", "100.0)", "1.000"] in lines
    assert ["bad", "12", "12", "33.3", "%", "(13.8", "to", "60.9)", "0.000"] in lines
    lines = [line.split() for line in cli("labels", out, "--by", "day").out.splitlines()]
    assert ["day", "rows", "labelled", "most", "frequent"] in lines
    assert ["(null)", "8", "8", "billing", "50.0", "%"] in lines


def test_the_drift_names_new_labels_and_the_shares_that_moved(tmp_path: Path, cli: Cli) -> None:
    """And says so when none did."""
    before, now = ["a"] * 50 + ["b"] * 50, ["a"] * 90 + ["c"] * 10
    rows = [
        {"text": "t", "label": label, "run": run} for run, given in ((EARLIER, before), (RUN, now)) for label in given
    ]
    said = cli("labels", labelled(tmp_path / "out", rows).root).out
    assert "the last run beside the one before: 100 and 100 rows with a label\n" in said
    assert "  new: c\n" in said
    assert "  not given any more: b\n" in said
    assert "  3 shares differ by more than chance explains:\n" in said
    assert "  b      50.0 %   0.0 %  -50.0 (-" in said
    same = [{**row, "label": "a"} for row in rows]
    assert "No share differs by more than chance explains." in cli("labels", labelled(tmp_path / "same", same).root).out


def test_tables_fit_into_80_cells_whatever_the_names(tmp_path: Path, cli: Cli) -> None:
    """Long ones and Chinese ones are cut, hostile ones are harmless; of many, the first are shown."""
    names = [
        LONG,
        "信用卡付款没有到账并且客户要求退款的所有情况和别的情况",
        "\x1b[31mred",
        "",
        *(f"class_{n}" for n in range(30)),
    ]
    rows = [
        ticket(truth, label, day=truth, run=run)
        for run in (EARLIER, RUN)
        for n, truth in enumerate(names)
        for label in (truth, names[n - 1 if run == RUN else 0])
    ]
    said = cli("labels", labelled(tmp_path / "out", rows).root, "--gold", "category", "--by", "day").out
    assert "\x1b" not in said
    assert [line for line in said.splitlines()[1:] if cell_len(line) > 80] == []
    assert "  … 14 more labels: --json has all of them" in said
    assert "  … 14 more classes: --json has all of them" in said
    assert "more pairs: --json has all of them" in said
    assert "(empty)" in said
    assert "信用卡付款" in said


def test_for_programs_there_is_one_object(tmp_path: Path, cli: Cli) -> None:
    """With every class and every confusion."""
    out = labelled(tmp_path / "out", tickets()).root
    told = json.loads(cli("labels", out, "--gold", "category", "--json").out)
    assert told["accuracy"] == pytest.approx(16 / 18)
    assert told["coverage"] == 0.9
    assert told["kappa_interval"][0] < told["kappa"] <= told["kappa_interval"][1]
    assert told["per_class"]["billing"]["precision"] == pytest.approx(9 / 11)
    assert told["confusion"] == {"billing": {"billing": 9}, "shipping": {"billing": 2, "shipping": 7}}
    assert told["distribution"]["billing"] == {"rows": 11, "share": pytest.approx(11 / 18)}
    assert (told["drift"], told["groups"]) == (None, [])


def test_a_review_file_is_told_of_with_the_way_into_its_tool(tmp_path: Path, cli: Cli) -> None:
    """How many rows there are for which reason; figures are left out."""
    out = labelled(tmp_path / "out", tickets()).root
    target = tmp_path / "look.jsonl"
    said = cli("labels", out, "--review", target)
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines() == [
        f"{target}: 2 rows to look at, the most doubtful first",
        "  without a valid label  2",
    ]
    assert [json.loads(line)["row_id"] for line in target.read_text().splitlines()] == ["r18", "r19"]
    assert cli("labels", out, "--review", target, "--max", "1").out.startswith(f"{target}: 1 of 2 rows to look at")
    said = cli("labels", out, "--review", tmp_path / "ls.json", "--format", "label-studio")
    assert '    <Choice value="shipping"/>\n' in said.out
    assert "paste this" in said.out
    said = cli("labels", out, "--review", tmp_path / "argilla.json", "--format", "argilla")
    assert "rg.LabelQuestion('label', labels=['billing', 'shipping'])" in said.out
    listed = labelled(tmp_path / "listed", tickets(), names=["billing", "never given"]).root
    said = cli("labels", listed, "--review", tmp_path / "argilla.json", "--format", "argilla")
    assert "labels=['billing', 'never given', 'shipping']" in said.out, "what the job lists may be chosen, too"
    good = labelled(tmp_path / "good", [ticket("a", "a")]).root
    assert cli("labels", good, "--review", target, "--format", "argilla").out == (
        f"{target}: 0 rows to look at, the most doubtful first\n"
    )


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--max", "3"), "--max says how a review file is written. Name it with --review FILE."),
        (("--format", "csv"), "--format says how"),
        (("--below", "0.5"), "--below says how"),
        (("--review", "a.jsonl", "--json"), "--review writes a file and shows no figures: leave out --json."),
        (("--review", "a.jsonl", "--by", "text"), "leave out --by"),
        (("--review", "a.jsonl", "--max", "0"), "--max 0: give a number of rows, at least 1."),
        (("--review", "a.jsonl", "--below", "80"), "go from 0 to 1"),
        (("--review", "a.jsonl", "--below", "nan"), "go from 0 to 1"),
        (("--review", "a.jsonl", "--format", "doccano"), "label-studio"),
        (("--gold", "categry"), "Did you mean category?"),
        (("--by", "dy"), "the table has no such column"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_way_out(
    tmp_path: Path, cli: Cli, words: tuple[str, ...], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 2, nothing on stdout, no file."""
    out = labelled(tmp_path / "out", tickets()).root
    monkeypatch.chdir(tmp_path)
    said = cli("labels", out, *words)
    assert (said.code, said.out) == (2, "")
    assert reason in " ".join(said.err.split())
    assert not (tmp_path / "a.jsonl").exists()


def test_a_table_without_any_label_is_told_as_that(tmp_path: Path, cli: Cli) -> None:
    """No division by nothing."""
    out = labelled(tmp_path / "out", [ticket("a", None), ticket("b", None)]).root
    said = cli("labels", out, "--gold", "category")
    assert said.code == 0
    assert "No row has a valid label." in said.out
    assert "no row has both a valid label and a value in category" in said.out
    assert json.loads(cli("labels", out, "--gold", "category", "--json").out)["accuracy"] is None


def test_the_last_words_stand_within_the_width() -> None:
    """Long lists go on further in."""
    lines = list(filled(["new:", *(f"name_{n}," for n in range(40))]))
    assert all(cell_len(line) <= WIDTH for line in lines)
    assert lines[0].startswith("  new: name_0,")
    assert lines[1].startswith("    name_")
