"""`batch.report.status`: a folder whose run was killed tells what was sent apart from what was only read."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pyarrow as pa

from batch.cli.status import _left
from batch.ledger.schema import connect
from batch.report.status import status_of
from tests.support.ledgers import admit
from tests.support.outfolders import RUN, finished


def killed(root: Path, *, sent: int) -> Path:
    """A folder whose run had admitted 100 rows when it was killed, `sent` of which had left."""
    folder = finished(root, pa.table({"text": ["a", "b"]}))
    with closing(connect(folder.ledger)) as db:
        db.execute("UPDATE runs SET state='running', ended_at=NULL WHERE run=?", (RUN,))
        admit(db, 100, range_number=7, part=7, first=50)
        db.executemany(
            "INSERT INTO calls(call, work, turn, attempt, call_id, lane, sent_at) VALUES(?,?,0,0,?,'sync',5)",
            [(1_000 + n, 50 + n, f"c-{n}") for n in range(sent)],
        )
    folder.run_file(RUN).unlink(missing_ok=True)
    return folder.root


def test_rows_that_were_only_admitted_are_not_begun(tmp_path: Path) -> None:
    """Ours: all hundred were told as begun, of which one had ever left."""
    told = status_of(killed(tmp_path / "out", sent=1))
    assert (told.state, told.unsettled, told.begun) == ("killed", 100, 1)
    assert _left(told).startswith("100 rows known to remain, 1 of them begun")
    none = status_of(killed(tmp_path / "none", sent=0))
    assert (none.unsettled, none.begun) == (100, 0)
    assert _left(none).startswith("100 rows known to remain\n")
