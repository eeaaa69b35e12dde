"""The input held against the table, row by row, before anything is sent: what is to be asked, and how large it is.

Owns one pass over the whole input that writes nothing: how many rows are new, changed, to be tried again, answered or
gone, and the sums of what the requests to be made are made of. Rows that were answered before, whose calls are in the
book, teach what this very job's requests count for. Memory does not grow with the input: sums are kept, and what must
be known of every row lies in a temporary file. The output folder may be new, and another process may be at work in it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, closing, nullcontext
from typing import Final

import msgspec

from batch.core.records import Lane
from batch.input.batches import SourceBatch
from batch.job.options import KINDS, ORDINARY, Kind
from batch.job.shard import shard_of
from batch.labels.samples import Sampling
from batch.ledger.copies import key_of
from batch.ledger.index import Gone, IndexReader
from batch.ledger.reader import Entry
from batch.ledger.waves import BegunRow
from batch.plan import history
from batch.plan.asked import Asked
from batch.plan.former import Former
from batch.plan.gone import Pass
from batch.plan.history import History
from batch.plan.kinds import kind_of, samples_had
from batch.plan.preflight import CheckedJob
from batch.plan.question import Question, question
from batch.plan.sizes import RowSize, Sizer
from batch.plan.underway import UnderWay
from batch.tokens import measure
from batch.tokens.model import Learned, TokenModel

READ_ROWS: Final = 1_000
TAUGHT: Final = 2_000
"""Answers of this job that teach; more of them change nothing."""


class Load(msgspec.Struct):
    """What is to be asked of one model, of rows whose first prompts fall into one band of its prices."""

    rows: int = 0
    askings: int = 0
    """How often these rows are asked: once for each sample that they lack."""
    calls: int = 0
    known: float = 0.0
    """The tokens of all first calls together whose tokens are known, because the row was asked the same before."""
    first: list[float] = msgspec.field(default_factory=lambda: list(measure.NOTHING))
    """The counts of all other first calls together."""
    later: list[float] = msgspec.field(default_factory=lambda: list(measure.NOTHING))
    """Of the calls that follow whatever the answers are, without the answers."""
    replays: int = 0
    """How many answers are sent again in later calls."""
    likely: float = 0.0
    """The likely tokens of all first calls together, before this pass taught anything."""
    squares: float = 0.0
    """The sum of the likely tokens of each row squared, of rows whose tokens are not known."""

    def add(self, size: RowSize, likely: float, *, askings: int = 1, known: bool = False) -> None:
        """Add one row.

        Args:
            size: of one asking.
            likely: the tokens of the first call of one.
            askings: how often it is asked.
            known: whether those tokens are known.
        """
        self.rows += 1
        self.askings += askings
        self.calls += askings * size.calls
        if size.calls > 1:
            for place, number in enumerate(size.later):
                self.later[place] += askings * number
            self.replays += askings * size.replays
        self.likely += askings * likely
        if known:
            self.known += askings * likely
            return
        for place, number in enumerate(size.first):
            self.first[place] += askings * number
        self.squares += (askings * likely) ** 2  # all askings of a row are larger or smaller than likely together


class Survey(msgspec.Struct):
    """What one pass over the input found."""

    read: int = 0
    """Rows of the input."""
    asked: Counter[Kind] = msgspec.field(default_factory=Counter)
    """Rows that need work, by reason; a row counts once for each variant."""
    unaskable: int = 0
    """Of the rows that need work, those that fail without being sent."""
    shared: int = 0
    """Of the rows that need work, those that are not sent because another one asks the same, and gets the answer."""
    taken_over: int = 0
    """Rows that are not sent, because their question stands answered under the name of a former variant."""
    standing: int = 0
    """Rows that failed for good, and are left alone."""
    unchanged: int = 0
    refreshed: int = 0
    """Rows that are not asked and of which other columns may have changed are among `unchanged`."""
    begun: int = 0
    """Rows that an earlier run left in the middle of a call or conversation: the next one goes on with them. What is
    left of them is not known, so they count as if they were asked anew."""
    bought: dict[Lane, dict[str, dict[int, Load]]] = {}
    """By lane, as `loads`: rows whose only call is at the provider, which is collected and not bought again."""
    superseded: Counter[Lane] = msgspec.field(default_factory=Counter)
    """By lane, further calls at the provider, of rows that are gone or ask something else by now: collected, too."""
    gone: Gone = Gone()
    loads: dict[str, dict[int, Load]] = {}
    """By model, and by band of its prices: how many of the bands' borders lie at or below a prompt's tokens."""
    taught: dict[str, Learned] = {}
    """By model, what the answers to other rows of this job taught."""
    history: History = msgspec.field(default_factory=History)

    @property
    def kinds(self) -> list[Kind]:
        """The reasons for which an ordinary run asks rows, in the order in which they are told."""
        return [kind for kind in KINDS if kind in ORDINARY]

    @property
    def to_ask(self) -> int:
        """Rows that will be sent."""
        return sum(self.asked.values()) - self.unaskable - self.shared + self.begun

    def rows_bought(self, lane: Lane) -> int:
        """Rows that wait for what the provider took by this lane, and ask nothing else."""
        return sum(load.rows for bands in self.bought.get(lane, {}).values() for load in bands.values())

    @property
    def askings(self) -> int:
        """How often these rows are asked in all; more than there are rows where a row gets several samples."""
        return sum(load.askings for bands in self.loads.values() for load in bands.values())


def unseen(rows: int, part: float | None) -> None:
    """Tell nobody how many rows were read, and which part of the input that is."""


def survey(
    checked: CheckedJob,
    models: dict[str, TokenModel],
    borders: dict[str, list[int]],
    *,
    seen: Callable[[int, float | None], None] = unseen,
) -> Survey:
    """Read the whole input against the table.

    Args:
        checked: the job.
        models: for each model of the job, what is known of its tokens.
        borders: for each model, the prompt tokens at which its price changes, ascending.
        seen: told after each thousand rows how many were read, and which part of the input that is, if it is known.

    Raises:
        InputError: the input cannot be read on.
        StorageError: the ledger cannot be read, or there is no room for the ids of the input.
    """
    with ExitStack() as stack:
        look = _Look(checked, models, borders, stack)
        reader = stack.enter_context(closing(checked.source.reader()))
        while (batch := reader.read(READ_ROWS)) is not None:
            look.take(batch)
            seen(look.found.read, checked.fraction(batch.position))
        look.end()
        return look.found


class _Look:
    """One pass, as far as it has come."""

    def __init__(
        self, checked: CheckedJob, models: dict[str, TokenModel], borders: dict[str, list[int]], stack: ExitStack
    ) -> None:
        self.found = Survey(
            history=history.read(checked.folder, checked.job.model.provider, checked.identity().request)
        )
        self._checked = checked
        self._shard = shard_of(checked.job)
        self._models = models
        self._borders = borders
        self._sizer = Sizer(checked)
        self._index = _index(checked, stack)
        made = self._index is not None
        self._table = stack.enter_context(Pass(checked.folder.ledger if made else None, checked.job.input))
        self._under_way = UnderWay(checked.folder.ledger if made else None)
        self._settled = {} if self._index is None else self._index.settled()
        self._asked: Asked | None = None
        if checked.job.prompt.dedupe:
            self._asked = stack.enter_context(closing(Asked.before(checked.folder.ledger if made else None)))

    def take(self, batch: SourceBatch) -> None:
        """Look at some rows."""
        with self._asked or nullcontext():
            self._take(batch)

    def _take(self, batch: SourceBatch) -> None:
        rows = self._table.take(batch)
        entries = {} if self._index is None else self._index.entries([row.row_id for row in rows])
        former = Former(entries.values(), self._checked.variants.by_name, self._checked.job.labels)
        self.found.read += len(rows)
        for index, row in enumerate(rows):
            if self._shard is not None and not self._shard.has(row.row_id):
                continue
            for variant in self._checked.variants:
                key = (row.row_id, variant.name)
                entry = entries.get(key)
                asked = question(variant, batch, index, row.fault)
                if entry is not None:
                    asked = asked.beside(entry.fingerprint, entry.status)
                settled = self._settled.get(key)
                if settled is not None and asked.stands_for(settled):
                    self.found.unchanged += 1  # answered by a run that has not published it yet
                elif (begun := self._under_way.take(key, asked)) is not None:
                    self._go_on(variant.model, begun, entry, asked)
                elif not (former and self._takes_over(former, row.row_id, entry, asked)):
                    self._count(variant.model, key, entry, asked)

    def _takes_over(self, former: Former, row_id: str, entry: Entry | None, asked: Question) -> bool:
        """Whether a row gets an answer that stands under the name of a former variant; it is counted then."""
        kind = kind_of(entry, asked.fingerprint, self._checked.job.labels)
        taken = kind in ORDINARY and former.entry(row_id, kind, asked) is not None
        self.found.taken_over += taken
        return taken

    def end(self) -> None:
        """The input was read."""
        self.found.gone = self._table.find([variant.name for variant in self._checked.variants])
        self.found.superseded = self._under_way.others()

    def _go_on(self, model: str, begun: BegunRow, entry: Entry | None, asked: Question) -> None:
        """Count a row that was left in the middle: what is left of it is the call at the provider, or not known."""
        had, request = self._had(entry, asked), asked.request
        size = None if request is None or self._shared(had, asked) else self._sizer.row(request)
        if size is not None and begun.bought is not None and self._asks_once(size):
            self._add(self.found.bought.setdefault(begun.bought, {}), model, size, had)
            return
        self.found.begun += 1
        if size is not None:
            self._add(self.found.loads, model, size, had)

    def _asks_once(self, size: RowSize) -> bool:
        """Whether a row with requests of this size usually makes no call but its first one."""
        labels = self._checked.job.labels
        return size.calls == 1 and not len(self._checked.tools) and (labels is None or labels.samples == 1)

    def _count(self, model: str, key: history.Key, entry: Entry | None, asked: Question) -> None:
        found, request = self.found, asked.request
        kind = kind_of(entry, asked.fingerprint, self._checked.job.labels)
        if kind is not None and kind in ORDINARY:
            found.asked[kind] += 1
            if request is None:
                found.unaskable += 1
            elif not self._shared(had := self._had(entry, asked), asked):
                size = self._sizer.row(request)
                known = self._learn(model, key, size) if kind == "short" else None
                self._add(found.loads, model, size, had, known)
            return
        found.standing += kind == "permanent"
        found.unchanged += kind is None
        if kind is None and request is not None and key in found.history.first_tokens:
            self._learn(model, key, self._sizer.row(request))

    def _learn(self, model: str, key: history.Key, size: RowSize) -> int | None:
        """Learn from the answer to a row that asks the same still; the tokens of its first call, if they are known."""
        tokens = self.found.history.first_tokens.pop(key, None)
        if tokens is not None:
            taught = self.found.taught.setdefault(model, Learned())
            if taught.answers < TAUGHT:
                taught.learn(size.first, tokens)
        return tokens

    def _had(self, entry: Entry | None, asked: Question) -> Sampling:
        """The samples of a row that are not asked for again."""
        return samples_had(entry, asked.fingerprint, self._checked.job.labels)

    def _shared(self, had: Sampling, asked: Question) -> bool:
        """Whether a row gets the answer of another one, which asks the same; it is counted then."""
        shared = self._asked is not None and not self._asked.first(key_of(asked.fingerprint, had))
        self.found.shared += shared
        return shared

    def _add(
        self, loads: dict[str, dict[int, Load]], model: str, size: RowSize, had: Sampling, known: int | None = None
    ) -> None:
        labels = self._checked.job.labels
        askings = 1 if labels is None else max(0, labels.samples - had.ended)
        likely = self._models[model].likely(size.first) if known is None else float(known)
        band = bisect_right(self._borders.get(model, []), likely)
        load = loads.setdefault(model, {}).setdefault(band, Load())
        load.add(size, likely, askings=askings, known=known is not None)


def _index(checked: CheckedJob, stack: ExitStack) -> IndexReader | None:
    """What stands in the table; None where there is none."""
    if not checked.folder.ledger.is_file():
        return None
    reader = stack.enter_context(IndexReader(checked.folder.ledger))
    return reader if reader.made else None
