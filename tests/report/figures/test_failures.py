"""`batch.report.figures.failures`: each way to fail and each flag, counted part by part as the commands count them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from batch.report.figures import parquet
from batch.report.figures.failures import MESSAGE, failures
from batch.report.figures.memory import FileMemory
from batch.report.status import status_of
from tests.support.outfolders import finished
from tests.support.values import outcome


def test_each_way_to_fail_is_counted_with_its_first_row(tmp_path: Path) -> None:
    """By kind, code and whether it is worth another try; a long message is cut."""
    server = {"status": "failed", "error_kind": "server", "error_code": "500", "retryable": True}
    label = {"status": "failed", "error_kind": "label", "error_code": None, "retryable": False}
    outcomes = [outcome(str(n)) for n in range(30)]
    for n in (3, 11, 25):
        outcomes[n] = outcome(None, **server, error_message=f"boom {n} {'x' * 1_000}")
    outcomes[20] = outcome(None, **label, error_message="no label")
    folder = finished(tmp_path / "out", pa.table({"t": [str(n) for n in range(30)]}), outcomes, part_rows=10)
    [first, second] = failures(sorted(folder.results.iterdir()), FileMemory()).public()
    assert (first["kind"], first["code"], first["retryable"], first["count"]) == ("server", "500", True, 3)
    assert (first["row_number"], first["row_id"], first["variant"]) == (3, "r3", None)
    assert first["message"].startswith("boom 3 xxx")
    assert len(first["message"]) == MESSAGE + 1
    assert (second["kind"], second["code"], second["count"], second["message"]) == ("label", None, 1, "no label")


def test_what_is_counted_is_what_status_counts(tmp_path: Path) -> None:
    """With the same examples, in the same order."""
    outcomes = [
        outcome(None, status="failed", error_kind="server", error_code=str(500 + n % 3), retryable=n % 2 == 0)
        if n % 5 == 0
        else outcome(str(n), flags=("truncated", "tie")[: n % 3])
        for n in range(100)
    ]
    folder = finished(tmp_path / "out", pa.table({"t": [str(n) for n in range(100)]}), outcomes, part_rows=17)
    state = failures(sorted(folder.results.iterdir()), FileMemory()).state()
    told = status_of(folder.root)
    assert (state.standing, state.flagged) == (told.standing, told.flagged)
    assert len(state.standing) == 6
    assert [flagged.flag for flagged in state.flagged] == ["truncated", "tie"]


def test_a_part_without_failures_and_flags_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its footer says so."""
    folder = finished(tmp_path / "out", pa.table({"t": [str(n) for n in range(40)]}), part_rows=10)

    def never(*_: object) -> None:
        raise AssertionError("it was read")

    monkeypatch.setattr(parquet.OpenPart, "read", never)
    found = failures(sorted(folder.results.iterdir()), FileMemory())
    assert (found.ways, found.flags) == ({}, {})
