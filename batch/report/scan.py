"""Reads an input before a run: its first rows as they will be asked, or all of it, for the rows that cannot be asked.

Sends nothing, and writes only a temporary database that goes away by itself: the identities of ten million rows do not
fit in memory.
"""

from __future__ import annotations

from contextlib import ExitStack, closing
from hashlib import blake2b
from typing import Any, Final

import apsw
import msgspec

from batch.core.canonical import record_id
from batch.core.records import Message, RowRequest
from batch.input.batches import SourceBatch
from batch.job.job import InputSpec
from batch.labels.samples import short_of_samples
from batch.ledger.index import Gone, IndexReader, gone_of
from batch.ledger.reader import LedgerReader
from batch.output.folder import OutputFolder
from batch.plan.gone import Pass
from batch.plan.preflight import CheckedJob
from batch.plan.question import nothing_said, question
from batch.prompts.template import PromptFault
from batch.prompts.variants import old_models
from batch.providers import message_rules

FIRST: Final = 10
READ_ROWS: Final = 1_000


class Sample(msgspec.Struct, frozen=True):
    """One of the first rows: its place in the input, and its messages or why there are none."""

    place: str
    messages: list[Message]
    fault: str | None = None
    warnings: tuple[str, ...] = ()
    """How its service may understand these messages otherwise than they are meant."""
    variants: tuple[str, ...] = ()
    """Those that ask the row so, as the ledger names them; none for a row that cannot be read."""
    later: tuple[Message, ...] = ()
    """What the user says after the answers."""
    notes: tuple[str, ...] = ()
    """How cells of the row are understood, where that is not plain."""


class Scan(msgspec.Struct):
    """What reading the whole input found. The lists hold the first ten of each kind, and every text names its place."""

    rows: int = 0
    unreadable: int = 0
    unreadable_first: list[str] = []
    no_key: int = 0
    no_key_first: list[str] = []
    duplicates: int = 0
    duplicates_first: list[str] = []
    unrendered: int = 0
    unrendered_first: list[str] = []
    empty: int = 0
    empty_first: list[str] = []
    """Rows that say nothing."""
    repeats: int = 0
    """Rows equal to an earlier one, where no key tells rows apart; each is asked all the same."""
    shared: int = 0
    """Results of rows that ask what an earlier one asks, where such rows are asked once."""
    gone: Gone = Gone()
    """Rows of the table that are not in this input."""

    short: int = 0
    """Rows of the table that were asked less often than the job asks, and get the missing samples."""

    @property
    def bad(self) -> int:
        """How many rows would fail without being asked."""
        return self.unreadable + self.no_key + self.duplicates + self.unrendered + self.empty


def samples(checked: CheckedJob, count: int) -> list[Sample]:
    """The first `count` rows as they will be asked, each once for all variants that ask it alike.

    Raises:
        InputError: the input cannot be read.
    """
    collected: list[Sample] = []
    rows = 0
    reader = checked.source.reader()
    try:
        while rows < count and (batch := reader.read(count - rows)) is not None:
            collected += _samples(checked, batch)
            rows += len(batch.records)
    finally:
        reader.close()
    return collected


def _samples(checked: CheckedJob, batch: SourceBatch) -> list[Sample]:
    collected: list[Sample] = []
    for index, record in enumerate(batch.records):
        place = batch.place(index)
        failure = batch.failures[index]
        if record is None or failure is not None:
            collected.append(Sample(place, [], failure.message if failure else "cannot be read"))
        else:
            collected += _of_row(checked, place, record)
    return collected


def _of_row(checked: CheckedJob, place: str, record: dict[str, Any]) -> list[Sample]:
    """One sample for the variants that ask the row alike."""
    collected: list[Sample] = []
    for variant in checked.variants:
        try:
            request = variant.request(record)
            sample = _sample(checked, place, request)
            if variant.says_nothing(record, request):
                sample = msgspec.structs.replace(sample, fault=nothing_said(variant, record))
            sample = msgspec.structs.replace(sample, notes=tuple(variant.prompt.notes(record)))
        except PromptFault as exc:
            empty = variant.says_nothing(record)
            sample = Sample(place, [], nothing_said(variant, record) if empty else str(exc))
        same = next(
            (n for n, other in enumerate(collected) if msgspec.structs.replace(other, variants=()) == sample), None
        )
        if same is None:
            collected.append(msgspec.structs.replace(sample, variants=(variant.name,)))
        else:
            collected[same] = msgspec.structs.replace(
                collected[same], variants=(*collected[same].variants, variant.name)
            )
    return collected


def _sample(checked: CheckedJob, place: str, request: RowRequest) -> Sample:
    messages = request.messages
    findings = message_rules.findings(checked.endpoint.service, request.model, messages, request.parameters)
    fault = next((finding.text for finding in findings if finding.level == "error"), None)
    warnings = tuple(finding.line() for finding in findings if finding.level == "warning")
    return Sample(place, messages, fault, warnings, later=request.follow_ups)


def last_asked(folder: OutputFolder) -> list[str | None]:
    """The variants of the last run in this folder, as the table has them; empty when there was none."""
    if not folder.ledger.is_file():
        return []
    with LedgerReader(folder.ledger) as reader:
        last = reader.runs()[-1:] if reader.made else []
    return [name or None for run in last for name in old_models(msgspec.json.decode(run.request))]


def gone_before(folder: OutputFolder) -> Gone:
    """The rows of the table that were not in the input when it was last read to its end."""
    if not _made(folder):
        return Gone()
    with LedgerReader(folder.ledger) as reader:
        return gone_of(reader)


def scan(checked: CheckedJob) -> Scan:
    """Read the whole input.

    Raises:
        InputError: a file cannot be read any further.
    """
    result = Scan()
    with ExitStack() as stack:
        reader = stack.enter_context(closing(checked.source.reader()))
        seen, asked = (stack.enter_context(closing(_Seen())) for _ in range(2))
        table = stack.enter_context(Pass(checked.folder.ledger, checked.job.input)) if _made(checked.folder) else None
        while (batch := reader.read(READ_ROWS)) is not None:
            _look(checked, batch, result, seen)
            if checked.job.prompt.dedupe:
                _look_for_shared(checked, batch, result, asked)
            if table is not None:
                table.take(batch)
        if table is not None:
            result.gone = table.find([variant.name for variant in checked.variants])
            result.short = _short(checked)
    return result


def _short(checked: CheckedJob) -> int:
    """How many rows of the table are short of samples, in the variants that are asked."""
    if (samples := checked.samples) is None:
        return 0
    names = {variant.name for variant in checked.variants}
    with IndexReader(checked.folder.ledger) as reader:
        return sum(variant in names and short_of_samples(kept, samples) for variant, kept in reader.labelled())


def _made(folder: OutputFolder) -> bool:
    """Whether there is a table to hold the input against."""
    if not folder.ledger.is_file():
        return False
    with LedgerReader(folder.ledger) as reader:
        return reader.made


def _look(checked: CheckedJob, batch: SourceBatch, result: Scan, seen: _Seen) -> None:
    key = checked.job.input.key
    with seen:
        for index, record in enumerate(batch.records):
            result.rows += 1
            place = batch.place(index)
            failure = batch.failures[index]
            if record is None or failure is not None:
                result.unreadable += 1
                _keep(result.unreadable_first, failure.message if failure else f"{place}: cannot be read")
                if record is not None and key is not None:
                    seen.before(str(batch.key(index, key)), place)  # a later row with its key is a repeat all the same
                continue
            _identify(result, seen, batch, index, checked.job.input)
            if (reason := _nothing_said(checked, record)) is not None:
                result.empty += 1
                _keep(result.empty_first, f"{place}: {reason}")
            elif (reason := _unasked(checked, record)) is not None:
                result.unrendered += 1
                _keep(result.unrendered_first, f"{place}: {reason}")


def _look_for_shared(checked: CheckedJob, batch: SourceBatch, result: Scan, asked: _Seen) -> None:
    with asked:
        for index, failure in enumerate(batch.failures):
            for variant in checked.variants:
                told = question(variant, batch, index, failure)
                if told.fault is None:
                    result.shared += asked.before(told.fingerprint.hex(), "") is not None


def _nothing_said(checked: CheckedJob, record: dict[str, Any]) -> str | None:
    """Why a row says nothing, in one of its variants; None of a row that says something in each."""
    for variant in checked.variants:
        try:
            request = variant.request(record)
        except PromptFault:
            request = None
        if variant.says_nothing(record, request):
            return nothing_said(variant, record)
    return None


def _unasked(checked: CheckedJob, record: dict[str, Any]) -> str | None:
    """Why a row would fail without being sent."""
    try:
        requests = [variant.request(record) for variant in checked.variants]
    except PromptFault as exc:
        return str(exc)
    service = checked.endpoint.service
    refused = (message_rules.refused(service, request.messages) for request in requests)
    return next((failure.message for failure in refused if failure is not None), None)


def _identify(result: Scan, seen: _Seen, batch: SourceBatch, index: int, spec: InputSpec) -> None:
    place = batch.place(index)
    if spec.key is None:
        record = batch.records[index] or {}
        result.repeats += seen.before(record_id(record, but=spec.file_column), place) is not None
        return
    key = batch.key(index, spec.key)
    if key is None:
        result.no_key += 1
        _keep(result.no_key_first, f"{place}: {spec.key} is empty")
    elif (earlier := seen.before(key, place)) is not None:
        result.duplicates += 1
        _keep(result.duplicates_first, f"{place}: {spec.key} {key[:80]!r} stands already at {earlier}")


def _keep(first: list[str], text: str) -> None:
    if len(first) < FIRST:
        first.append(text)


class _Seen:
    """Remembers where each identity was met first; on disk once it is large. A context is one transaction."""

    def __init__(self) -> None:
        self._db = apsw.Connection("")  # a private temporary file, removed when closed
        self._db.execute("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-65536").fetchall()
        self._db.execute("CREATE TABLE seen(name BLOB PRIMARY KEY, place TEXT) WITHOUT ROWID")

    def before(self, name: str, place: str) -> str | None:
        """Where this identity was met before; None when this is the first time, which is noted."""
        digest = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        self._db.execute("INSERT OR IGNORE INTO seen VALUES(?,?)", (digest, place))
        if self._db.changes():
            return None
        earlier = self._db.execute("SELECT place FROM seen WHERE name=?", (digest,)).fetchone()
        return str(earlier[0]) if earlier else place

    def close(self) -> None:
        """Remove the file."""
        self._db.close()

    def __enter__(self) -> None:
        self._db.execute("BEGIN")

    def __exit__(self, *_: object) -> None:
        self._db.execute("COMMIT")
