"""`batch.output.publish`: what a publication leaves behind that never counted."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from batch.ledger.group import encode
from batch.ledger.schema import connect
from batch.ledger.statements import INSERT_CALL, SET_RECORD
from batch.output import tables
from batch.output.folder import OutputFolder
from batch.output.integrity import compare, parquet_files
from batch.output.publish import Publisher
from tests.output.test_tables import INPUTS
from tests.support.ledgers import admitted
from tests.support.values import call

RUN = "20261121T020000123Z-a1b2"


def test_a_publication_that_failed_is_written_again_over_the_same_file_of_the_book(tmp_path: Path) -> None:
    """A part could not be written after the calls were: in a file of another number they would be counted twice."""
    folder = OutputFolder(tmp_path / "out")
    folder.prepare()
    admitted(folder.ledger, 2)
    with closing(connect(folder.ledger)) as db, closing(_publisher(folder)) as publisher:
        for number in range(2):
            record = call(number)
            db.execute(INSERT_CALL, (number, number, 0, 0, record.client_call_id, "sync", record.sent_at_us))
            db.execute(SET_RECORD, (number, encode(record)))
            publisher.prepare([])
        publication = publisher.prepare([])
        with db:
            publisher.commit(publication)(db)
        publisher.forget(publication)
        assert len(publication.calls) == 2
        assert list(parquet_files(folder.calls)) == [folder.calls_part(RUN, 0)]
        assert not compare(folder).news
        record = call(2)
        db.execute(INSERT_CALL, (2, 0, 0, 1, record.client_call_id, "sync", record.sent_at_us))
        db.execute(SET_RECORD, (2, encode(record)))
        publisher.prepare([])
        assert list(parquet_files(folder.calls)) == [folder.calls_part(RUN, number) for number in range(2)]


def _publisher(folder: OutputFolder) -> Publisher:
    schema = tables.result_schema(INPUTS, None)
    return Publisher(folder, RUN, job="job", schema=schema, tags={}, announce=lambda _: None)
