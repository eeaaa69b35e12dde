from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest

from batch.core.errors import FAILURES, OutputError
from batch.report.digest import LONGEST_TEXT, coarser, digest
from tests.support.labelled import labelled
from tests.support.shown import LABELS, NASTY, SECRET_PROMPT, shown

PROSE = "ticket 33"
"""A text that only a row has."""


def test_a_digest_has_the_figures_that_the_commands_have(tmp_path: Path) -> None:
    out = shown(tmp_path / "out").root
    told = digest(out)
    figures = told["figures"]
    assert told["folders"][0]["job"] == "tickets"
    assert figures["overview"]["status"]["table_rows"] == 60
    assert [error["kind"] for error in figures["overview"]["errors"]] == ["label"]
    assert told["meanings"] == {"label": FAILURES["label"]}
    assert sum(figures["overview"]["series"]["calls"]) == 60
    assert [group["by"] for group in figures["money_by"]] == [["day"], ["model"], ["lane"], ["tag:team"]]
    assert sum(Decimal(group["cost"]) for group in figures["money_by"][1]["groups"]) == Decimal(
        figures["money"]["totals"][0]["cost"]
    )
    assert set(figures["labels"]["distribution"]) == set(LABELS)
    assert figures["compare"] is None


def test_without_being_asked_for_no_text_of_a_prompt_an_answer_or_a_message_is_told(tmp_path: Path) -> None:
    """The manager who gets the report may not be allowed to read the tickets."""
    out = shown(tmp_path / "out").root
    told = json.dumps(digest(out), ensure_ascii=False)
    for text in (SECRET_PROMPT, PROSE, "answer to", "said ticket", *NASTY):
        assert text not in told
    assert "temperature" in told
    assert "Without text" in told


def test_with_text_the_rows_that_stand_out_are_told_whole(tmp_path: Path) -> None:
    out = shown(tmp_path / "out").root
    told = digest(out, with_text=True)
    rows = told["figures"]["rows"]
    assert {reason for row in rows for reason in row["reasons"]} == {"failed", "slow", "dear"}
    assert len({row["row_id"] for row in rows}) == len(rows)
    assert all(row["views"][0]["inputs"]["text"] and row["views"][0]["calls"] for row in rows)
    assert SECRET_PROMPT in json.dumps(told)
    assert next(error["message"] for error in told["figures"]["overview"]["errors"]).startswith("said ")


def test_a_long_text_is_cut_and_says_how_much_is_missing(tmp_path: Path) -> None:
    rows = [{"text": "x" * 9_000, "label": "a", "status": "failed", "answer": None, "error_kind": "label"}]
    out = labelled(tmp_path / "out", rows).root
    [row] = digest(out, with_text=True)["figures"]["rows"]
    text = row["views"][0]["inputs"]["text"]
    assert text == "x" * LONGEST_TEXT + "… (5,000 more characters)"


@pytest.mark.parametrize(
    "values",
    [
        [f"a sentence of the answer {n % 201}" for n in range(1_000)],
        [f"a sentence of the answer {n}" for n in range(12)],
        ["a sentence of the answer" + " that goes on and on" * 3] * 5,
    ],
    ids=["many", "each once", "long"],
)
def test_a_column_whose_values_may_be_sentences_is_left_out(tmp_path: Path, values: list[str]) -> None:
    out = labelled(tmp_path / "out", [{"text": "t", "label": value} for value in values]).root
    told = digest(out)
    assert told["figures"]["labels"] is None
    assert "may be text of answers" in told["left_out"][0]
    assert "a sentence" not in json.dumps(told)
    assert digest(out, with_text=True)["figures"]["labels"]["labelled"] == len(values)


def test_a_truth_that_may_be_a_sentence_of_the_input_is_left_out_too(tmp_path: Path) -> None:
    """The column that labels are held against is input."""
    rows = [
        {"text": "t", "label": "a", "expected": f"{PROSE} and everything that was written of it, word by word, {n}"}
        for n in range(5)
    ]
    out = labelled(tmp_path / "out", rows, gold="expected", names=["a"]).root
    assert digest(out)["figures"]["labels"] is None


def test_names_that_the_job_declares_are_no_text_however_many_they_are(tmp_path: Path) -> None:
    names = [f"class {n}" for n in range(250)]
    out = labelled(tmp_path / "out", [{"text": "t", "label": name} for name in names], names=names).root
    assert digest(out)["figures"]["labels"]["labelled"] == 250


def test_of_many_classes_those_with_the_most_mistakes_stay(tmp_path: Path) -> None:
    """Seventy-seven classes of a bank: a matrix of all is nothing to read, and too large."""
    rows = [{"text": "t", "label": f"c{n:03}", "gold": f"c{n:03}"} for n in range(150)]
    rows += [{"text": "t", "label": "c149", "gold": "c148"}] * 3
    out = labelled(tmp_path / "out", rows, gold="gold", names=sorted({row["label"] for row in rows})).root
    labels = digest(out)["figures"]["labels"]
    assert labels["confusion"]["c148"] == {"c148": 1, "c149": 3}
    assert (len(labels["confusion"]), labels["classes_left_out"]) == (24, 126)
    assert len(labels["distribution"]) == len(labels["per_class"]) == 60


def test_variants_are_told_by_their_sums_and_with_text_by_the_rows_on_which_they_differ(tmp_path: Path) -> None:
    rows = [
        {"text": f"t{n}", "row_id": f"r{n}", "variant": variant, "label": variant if n else "same"}
        for n in range(2)
        for variant in ("one", "two")
    ]
    out = labelled(tmp_path / "out", rows).root
    assert "examples" not in digest(out)["figures"]["compare"]
    [example] = digest(out, with_text=True)["figures"]["compare"]["examples"]
    assert example["row_id"] == "r1"
    assert [answer["variant"] for answer in example["answers"]] == ["one", "two"]


def test_half_as_many_points_have_the_same_sums_and_the_larger_latency() -> None:
    series = {
        "bin_s": 5,
        "t": [0, 5, 10],
        "rows": [1, 2, 3],
        "latency_p95": [None, 0.2, None],
        "cost": {"CNY": ["0.1", "0.2", "0.4"]},
    }
    assert coarser(series) == {
        "bin_s": 10,
        "t": [0, 10],
        "rows": [3, 3],
        "latency_p95": [0.2, None],
        "cost": {"CNY": ["0.3", "0.4"]},
    }


def test_there_is_no_digest_of_what_is_no_output_folder(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is no output folder"):
        digest(tmp_path)
