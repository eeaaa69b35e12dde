"""`batch.report.labels`: figures over a table, however its rows lie in parts and batches."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from batch.core.errors import RefusedToStart
from batch.report import label_table, labels
from batch.report.label_json import public
from batch.report.labels import LabelReport
from tests.support.labelled import EARLIER, labelled
from tests.support.outfolders import RUN, as_published

NAMES = ["billing", "shipping", "refund", "other"]
FAILED: dict[str, Any] = {"label": None, "status": "failed", "error_kind": "label", "retryable": False}


def rows(count: int, seed: int = 1) -> list[dict[str, Any]]:
    """Labels that are right three times of four, some not valid, some without a truth."""
    rng = random.Random(seed)
    made = []
    for _ in range(count):
        truth = rng.choice(NAMES)
        row = {
            "truth": truth if rng.random() < 0.9 else None,
            "label": truth if rng.random() < 0.75 else rng.choice([*NAMES, "new"]),
            "day": rng.choice(["mon", "tue", None]),
            "status": "ok",
            "error_kind": None,
            "retryable": None,
        }
        made.append(row | FAILED if rng.random() < 0.1 else row)
    return made


@pytest.mark.parametrize(("part_rows", "batch"), [(1_000, 65_536), (37, 10)])
def test_figures_are_those_of_scikit_learn_over_the_rows_with_a_label_and_a_truth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part_rows: int, batch: int
) -> None:
    """Failed rows count for the coverage, rows without a truth for the distribution."""
    from sklearn import metrics  # as slow to load as all the rest

    monkeypatch.setattr(label_table, "READ_ROWS", batch)
    made = rows(400)
    told = public(LabelReport(labelled(tmp_path / "out", made, part_rows=part_rows).root, gold="truth"))
    measured = [row for row in made if row["label"] is not None and row["truth"] is not None]
    truth, label = [row["truth"] for row in measured], [row["label"] for row in measured]
    assert (told["rows"], told["measured"]) == (400, len(measured))
    assert told["failed"] == sum(row["status"] == "failed" for row in made)
    assert told["labelled"] == sum(row["label"] is not None for row in made)
    assert told["coverage"] == told["labelled"] / 400
    assert told["gold_rows"] == sum(row["truth"] is not None for row in made)
    assert told["distribution"] == {
        name: {"rows": times, "share": times / told["labelled"]}
        for name, times in Counter(row["label"] for row in made if row["label"] is not None).most_common()
    }
    assert told["accuracy"] == pytest.approx(metrics.accuracy_score(truth, label))
    assert told["kappa"] == pytest.approx(metrics.cohen_kappa_score(truth, label))
    names = sorted({*truth, *label})
    assert list(told["per_class"]) == names
    theirs = metrics.classification_report(truth, label, output_dict=True, zero_division=0)
    for name, found in told["per_class"].items():
        assert (found["precision"] or 0) == pytest.approx(theirs[name]["precision"])
        assert (found["recall"] or 0) == pytest.approx(theirs[name]["recall"])
        assert found["f1"] == pytest.approx(theirs[name]["f1-score"])
        assert found["support"] == theirs[name]["support"]
    assert told["per_class"]["new"]["recall"] is None
    matrix = metrics.confusion_matrix(truth, label, labels=names).tolist()
    assert [[told["confusion"].get(t, {}).get(p, 0) for p in names] for t in names] == matrix


def test_a_table_without_a_truth_has_figures_all_the_same(tmp_path: Path) -> None:
    """Those that need one are null."""
    told = public(LabelReport(labelled(tmp_path / "out", rows(20)).root))
    assert (told["gold"], told["accuracy"], told["kappa"], told["per_class"], told["confusion"]) == (None,) * 5
    assert told["coverage_interval"][0] < told["coverage"] < told["coverage_interval"][1]
    assert told["drift"] is None, "there is one run only"


def test_votes_and_ties_are_counted(tmp_path: Path) -> None:
    """A null label is a tie only where the row says so: an object may have nulls that are values."""
    made: list[dict[str, Any]] = [
        {"label": "a", "agreement": 1.0, "confidence": 0.5, "flags": ()},
        {"label": "a", "agreement": 2 / 3, "confidence": None, "flags": ("coerced",)},
        {"label": None, "agreement": 0.5, "confidence": None, "flags": ("tie",)},
        {"label": None, "agreement": 1.0, "confidence": 1.0, "flags": ()},
        {"label": None, "agreement": None, "confidence": None, "flags": ()},
    ]
    told = public(LabelReport(labelled(tmp_path / "out", [{"text": "t", **row} for row in made]).root))
    assert told["agreement"] == pytest.approx((1 + 2 / 3 + 0.5 + 1) / 4)
    assert (told["unanimous"], told["ties"], told["labelled"]) == (2, 1, 2)
    assert told["confidence"] == 0.75


def test_groups_are_the_values_of_a_column_and_variants_are_told_apart_unasked(tmp_path: Path) -> None:
    """Null is a group; the sums of the groups are the whole."""
    made = [
        {**row, "row_id": f"r{n}", "variant": variant}
        for n, row in enumerate(rows(60))
        for variant in ("glm-4", "glm-3-turbo")
    ]
    out = labelled(tmp_path / "out", made).root
    told = public(LabelReport(out, gold="truth"))
    assert told["by"] == "variant"
    assert [(group["value"], group["rows"]) for group in told["groups"]] == [("glm-4", 60), ("glm-3-turbo", 60)]
    told = public(LabelReport(out, gold="truth", by="day"))
    assert {group["value"] for group in told["groups"]} == {"mon", "tue", None}
    for key in ("rows", "labelled", "measured", "failed"):
        assert sum(group[key] for group in told["groups"]) == told[key]
    one = next(group for group in told["groups"] if group["value"] == "mon")
    of_it = [r for r in made if r["day"] == "mon" and r["label"] is not None and r["truth"] is not None]
    assert one["accuracy"] == pytest.approx(sum(r["label"] == r["truth"] for r in of_it) / len(of_it))


def test_the_drift_is_between_the_last_run_and_the_one_before(tmp_path: Path) -> None:
    """Older runs do not count, in whatever order their rows lie; new and vanished labels are named."""
    oldest = "20261101T020000123Z-a1b2"
    nights = {oldest: ["gone"] * 50, EARLIER: ["a"] * 50 + ["b"] * 45 + ["c"] * 5, RUN: ["a"] * 90 + ["d"] * 10}
    made = [{"text": "t", "label": label, "run": run} for run, given in nights.items() for label in given]
    random.Random(3).shuffle(made)
    drift = public(LabelReport(labelled(tmp_path / "out", made, part_rows=40).root))["drift"]
    assert (drift["run"], drift["before_run"], drift["rows"], drift["before_rows"]) == (RUN, EARLIER, 100, 100)
    assert (drift["new"], sorted(drift["gone"])) == (["d"], ["b", "c"])
    assert drift["distance"] == pytest.approx(0.5)
    assert list(drift["classes"])[:2] == ["b", "a"], "the largest difference first"
    a = drift["classes"]["a"]
    assert (a["share"], a["before_share"], a["significant"]) == (0.9, 0.5, True)
    assert a["difference_interval"][0] < a["difference"] < a["difference_interval"][1]
    assert drift["classes"]["c"]["significant"] is False, "5 of 100 may be chance"


def test_truths_that_differ_in_case_alone_are_pointed_out(tmp_path: Path) -> None:
    """They count as different, as scikit-learn counts them."""
    made = [{"truth": "Billing ", "label": "billing"}, {"truth": "refund", "label": "refund"}]
    report = LabelReport(labelled(tmp_path / "out", made).root, gold="truth")
    assert report.lookalikes() == [("Billing ", "billing")]
    assert report.total.pairs.accuracy().value == 0.5


def test_an_old_part_without_the_columns_counts_as_rows_without_a_label(tmp_path: Path) -> None:
    """As parts are before a later run adds the columns to them."""
    folder = labelled(tmp_path / "out", [{"text": "t", "label": "a", "agreement": 1.0}] * 4, part_rows=2)
    part = folder.part(0)
    pq.write_table(pq.read_table(part).drop_columns(["label", "agreement"]), part)
    as_published(folder)
    told = public(LabelReport(folder.root))
    assert (told["rows"], told["labelled"], told["unanimous"]) == (4, 2, 2)


def test_a_column_with_too_many_values_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A column of texts is no label, and no group."""
    out = labelled(tmp_path / "out", [{"text": f"t{n}", "label": f"l{n}"} for n in range(9)]).root
    monkeypatch.setattr(labels, "MOST_GROUPS", 5)
    with pytest.raises(RefusedToStart, match="--by text: has more than 5 different values"):
        LabelReport(out, by="text")
    monkeypatch.setattr(labels, "MOST_CLASSES", 5)
    with pytest.raises(RefusedToStart, match="label has more than 5 different values, which are no labels"):
        LabelReport(out)
