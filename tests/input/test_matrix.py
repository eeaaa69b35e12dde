"""Hostile and awkward inputs, one suite: what is written, and the rows or the sentence that must come of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from batch.core.errors import InputError
from tests.input.cases import Bad, Case, check_places, check_spill, opened, outcomes, read
from tests.input.csvfiles import CSV
from tests.input.linefiles import JSONL, LINES
from tests.input.names import FILES
from tests.input.tables import ARROW, PARQUET
from tests.input.texts import NUMBERS, SIZE, TEXT

CASES = [
    pytest.param(case, id=f"{area}: {case.name}")
    for area, cases in {
        "text": TEXT,
        "size": SIZE,
        "numbers": NUMBERS,
        "arrow": ARROW,
        "parquet": PARQUET,
        "jsonl": JSONL,
        "files": FILES,
        "batch file": LINES,
        "csv": CSV,
    }.items()
    for case in cases
]


@pytest.mark.parametrize("case", CASES)
def test_every_awkward_input_gives_its_rows_or_one_sentence(tmp_path: Path, case: Case) -> None:
    """FIELD 38. FIELD 39. Never lost, doubled or a crash; the same rows wherever reading was cut and taken up again."""
    folder = tmp_path / "input"
    if case.refused:
        with pytest.raises(InputError, match=re.escape(case.refused)) as caught:
            opened(folder, case)
        str(caught.value).encode()
        return
    source = opened(folder, case)
    batches = read(source)
    whole = outcomes(batches)
    records = [record for batch in batches for record in batch.records]
    failures = [failure for batch in batches for failure in batch.failures]
    assert case.rows is not None
    assert len(records) == len(case.rows)
    for wanted, record, failure in zip(case.rows, records, failures, strict=True):
        if isinstance(wanted, Bad):
            assert failure is not None, record
            assert (failure.kind, failure.code) == ("input", wanted.code)
            assert wanted.text in failure.message
        elif wanted is not ...:
            assert failure is None
            assert record is not None
            assert repr({key: record[key] for key in wanted if wanted[key] is not ...}) == repr(
                {key: value for key, value in wanted.items() if value is not ...}
            )
            assert all(record[key] is None for key in record.keys() - wanted.keys())
    assert case.types is None or source.types == case.types
    if sum(batch.bytes for batch in batches) < 100_000:
        check_spill(tmp_path, source, batches)
    if len(whole) < 100:
        check_places(source, whole)
