"""Check everything that can be known before the first request, and tell all faults of a job in one go.

Owns the cross-checks between job, source, prompt, tools and provider. `run` and `check` begin with the same
`prepare`, so what `check` accepts starts. Sends nothing and writes nothing; reads the ledger only for the column
types it keeps.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pyarrow as pa

from batch.core import canonical, redaction, statefolder
from batch.core.clock import Clock
from batch.core.errors import InputError, JobError, RefusedToStart
from batch.core.records import Lane
from batch.input.batches import Position
from batch.input.source import Source
from batch.job.job import Job
from batch.job.shard import own_state, shard_of
from batch.labels.asking import Asking
from batch.labels.schema import LabelSchema
from batch.limits import sockets
from batch.money.prices import Prices
from batch.output import place, tables
from batch.output.folder import OutputFolder
from batch.plan import addressing, budgeting, kept, labelling, owner, timely, tooling
from batch.plan.budgeting import CheckedBudget
from batch.plan.continuation import Identity
from batch.prompts.inserts import ROW
from batch.prompts.variants import Variants
from batch.providers.registry import Endpoint, find
from batch.providers.service import Service
from batch.tools.confinement import Confinement
from batch.tools.registry import ToolSet


class CheckedJob(msgspec.Struct, frozen=True):
    """A job that can start."""

    job: Job
    folder: OutputFolder
    source: Source
    variants: Variants
    tools: ToolSet
    endpoint: Endpoint
    prices: Prices
    inputs: pa.Schema
    """The chosen input columns, those of earlier runs included."""
    schema: pa.Schema
    """Of the result table."""
    rows: int | None
    """Rows of the source, where its format says it."""
    spilled: tuple[str, ...]
    """Columns of the source that a run reads after planning: output and prompt."""
    types: dict[str, str]
    """Column types for later runs: those of the source, and of columns it lacks but an earlier one had."""
    warnings: tuple[str, ...] = ()
    """What the job asks that its service may refuse, ignore or answer otherwise than meant."""
    doubts: tuple[str, ...] = ()
    """What the prompt says that is probably not meant."""
    most_calls: int = 1
    """How many calls may be in flight: as many as the job asks for, or as there are open files for."""
    changed_tools: tuple[str, ...] = ()
    """Tools whose source is another than in the last run, under the same version: what to say of each."""
    confinement: Confinement | None = None
    """How far its tools may go; None when it has none."""
    old_models: dict[str, str] = {}
    """Model by variant of the job as it was, while its tasks are collected."""
    budget: CheckedBudget | None = None
    """What its runs may spend; None for no limit."""
    asking: Asking | None = None
    """How rows are asked for their labels; None where none is wanted."""
    label_columns: pa.Schema = pa.schema([])
    """The columns of labels, those of earlier runs included."""
    endpoints: dict[str, Endpoint] = {}
    """The addresses by name, where there are several; the first is `endpoint`."""
    prices_at: dict[str, Prices] = {}
    """What counts at each of them: a provider may bill otherwise at another host."""
    state: Path | None = None
    """The folder of what the jobs of this user share; None where the environment names no place for it."""

    @property
    def shared(self) -> Path | None:
        """Where in that folder limits are shared."""
        return None if self.state is None else own_state(self.job, self.state)

    @property
    def lanes(self) -> tuple[Lane, ...]:
        """The lanes of the job that its provider has: lane `auto` goes without batches where there are none."""
        lanes = self.job.model.lanes
        if not self.job.model.decides:
            return lanes
        return tuple(lane for lane in lanes if lane in self.endpoint.dialect.lanes)

    @property
    def carried(self) -> str:
        """What every request has beside its messages, for an estimate of its tokens."""
        schemas = self.tools.schemas()
        tools = msgspec.json.encode(schemas).decode() if schemas else ""
        return tools if self.asking is None else tools + self.asking.carried(self.job.model.name)

    @property
    def samples(self) -> int | None:
        """How often a row is asked for its label; None where no row of the folder was ever asked more than once."""
        several = self.job.labels is not None and "votes" in self.label_columns.names
        return self.job.labels.samples if several and self.job.labels is not None else None

    @property
    def unmasked_key(self) -> str | None:
        """What to say of a key that is too short to be masked in texts; None of any other."""
        if self.endpoint.key_masked:
            return None
        return (
            f"the key in {self.endpoint.key_origin} has fewer than {redaction.SHORTEST} characters and cannot be "
            "told from words, so it is not masked where a provider or a tool says it: a real key should be longer"
        )

    @property
    def fewer_calls(self) -> str | None:
        """What to say when fewer calls are in flight than the job asks for; None when there is room for all."""
        asked = self.job.limits.concurrency
        return None if self.most_calls >= asked else sockets.fewer(asked, self.most_calls)

    def identity(self) -> Identity:
        """Job and source as a later run compares them."""
        part = {**self.job.request_part(), "tools": self.tools.digest_part()}
        if self.variants.files:
            part["files"] = self.variants.files
        if self.asking is not None:
            part["labels"] = self.asking.labels.request_part()
        return Identity(
            request=msgspec.json.encode(part, order="sorted").decode(),
            digest=f"{self.job.digest()}-{canonical.record_id(part)}",
            source=self.source.stat,
            empty=self.job.prompt.empty,
            shared=self.job.prompt.dedupe,
            by_row=self.variants.by_row,
        )

    def fraction(self, position: Position) -> float | None:
        """The share of the source that lies before `position`, None when it cannot be said."""
        return self.source.fraction(position)


def check_job(job: Job, environ: Mapping[str, str], prices_file: Path | None = None) -> CheckedJob:
    """Check everything that can be checked before the first request.

    Args:
        job: the job.
        environ: where keys and base URLs come from.
        prices_file: a price file that wins over those of the job.

    Raises:
        RefusedToStart: something is wrong; faults of the job come together.
    """
    folder = OutputFolder(job.output.path)
    _require_place(folder, job)
    types, old_inputs, old_labels = kept.kept_columns(folder, job)
    faults: list[str] = []
    endpoint, endpoints = addressing.endpoints_of(job, environ, faults)
    prices = _prices(job, endpoint, prices_file, faults)
    tools, confinement = tooling.prepare(job, environ, faults)
    labels = labelling.schema_of(job, faults)
    faults += tooling.unshared(job, tools)
    source, variants = _asked(job, tools, types, labels)
    source.look_for(variants.columns.union(job.output.columns or ()))
    if source.blank is not None and variants.columns:
        raise InputError(source.blank)
    warnings = (*tools.warnings, *_parameters(variants, faults))
    faults += variants.check(source.names)
    faults += _labels(job, endpoint, variants, tools)
    faults += _unread(source, variants.columns, job.output.columns or ()) + labelling.gold_faults(job, source)
    budget = budgeting.budget_of(
        job, environ, faults, endpoint=endpoint, prices=prices, variants=variants, now_us=Clock().now_us()
    )
    label_columns = labelling.columns_of(labels, old_labels, faults, more=labelling.columns_beside(job))
    inputs = schema = None
    try:
        inputs = kept.input_columns(source.schema, job, old_inputs, keys=source.keys)
        schema = tables.result_schema(inputs, None, label_columns)
    except InputError as exc:
        faults.append(str(exc))
    if faults or endpoint is None or prices is None or schema is None or inputs is None:
        raise JobError(faults, where=job.where)
    needed = set(inputs.names) | variants.columns
    spilled = tuple(name for name in source.schema.names if name in needed or name == "input_rest")
    kept_types = {**(types or {}), **source.types}
    found = (job, folder, source, variants, tools, endpoint, prices, inputs, schema, source.rows, spilled, kept_types)
    asking = labelling.asking_of(job, labels, endpoint.service, variants) if labels is not None else None
    doubts = labelling.doubts(job, asking, variants) if asking is not None else ()
    return CheckedJob(
        *found,
        budget=budget,
        asking=asking,
        label_columns=label_columns,
        warnings=(*warnings, *tooling.unset(job, environ), *_key_warnings(endpoint)),
        doubts=(*variants.doubts(source.names), *doubts, *budgeting.doubts(budget), *_auto(job, endpoint)),
        most_calls=sockets.calls(job.limits.concurrency),
        changed_tools=tuple(tooling.changed(tools, folder)),
        confinement=confinement,
        endpoints=endpoints,
        prices_at={name: _prices(job, one, prices_file, []) or prices for name, one in endpoints.items()},
        state=statefolder.named(environ),
    )


def _require_place(folder: OutputFolder, job: Job) -> None:
    """Refuse a place where no output may lie, or that of other rows."""
    place.require(folder, job=job.folder, shard=shard_of(job))
    owner.require_same_rows(folder, job)


def open_source(job: Job) -> Source:
    """The source of a job, with the columns an earlier run fixed; for what asks nothing and needs no key.

    Raises:
        RefusedToStart: the input or the output folder is wrong.
    """
    types, _, _ = kept.kept_columns(OutputFolder(job.output.path), job)
    return _asked(job, ToolSet.empty(), types)[0]


def kept_meta(checked: CheckedJob) -> dict[str, bytes | str]:
    """What the ledger keeps of the columns for later runs."""
    return {
        kept.TYPES: msgspec.json.encode(checked.types).decode(),
        kept.INPUTS: checked.inputs.serialize().to_pybytes(),
        tooling.TOOLS: msgspec.json.encode(checked.tools.sources()).decode(),
        tables.LABELS: checked.label_columns.serialize().to_pybytes(),
    }


def _auto(job: Job, endpoint: Endpoint) -> list[str]:
    """What to say of lane `auto` where it can decide nothing."""
    late = timely.passed(job, Clock().now_us())
    if not job.model.decides or "bulk" in endpoint.dialect.lanes:
        return [] if late is None else [late]
    return [f"lane auto: provider {job.model.provider} has no batch files, so all goes by lane sync, at full price"]


def _key_warnings(endpoint: Endpoint) -> list[str]:
    warning = endpoint.key_source.warning() if endpoint.key_source is not None else None
    return [] if warning is None else [warning]


def _labels(job: Job, endpoint: Endpoint | None, variants: Variants, tools: ToolSet) -> list[str]:
    """What a job asks of its labels that its service or its tools do not allow."""
    if job.labels is None or endpoint is None:
        return []
    models = [*(variant.model for variant in variants), *([job.labels.escalate] if job.labels.escalate else [])]
    effects = [name for name in tools.names if (tool := tools.get(name)) is not None and tool.effects]
    return labelling.cannot(job, endpoint.service, models, effects)


def _prices(job: Job, endpoint: Endpoint | None, file: Path | None, faults: list[str]) -> Prices | None:
    try:
        return Prices.of_job(job, file, host=None if endpoint is None else urlsplit(endpoint.base_url).hostname)
    except JobError as exc:
        faults += exc.faults if exc.where == job.where else [f"{exc.where}: {fault}" for fault in exc.faults]
    except RefusedToStart as exc:
        faults.append(str(exc))
    return None


def _unread(source: Source, read: Collection[str], kept: Collection[str]) -> list[str]:
    """What the job may mean where the source lacks columns.

    Args:
        source: with what is known of it.
        read: the columns that are asked about.
        kept: the columns that the job wants in the table.
    """
    faults = []
    if source.unsearched:
        faults.append(
            "input.types: only the newest gigabyte of lines was searched for keys; one that older lines have is "
            "declared, as in { subject = 'string' }"
        )
    missing = set(read).difference(source.names)
    if folders := sorted(missing.intersection(source.folder_names())):
        faults.append(f"input.hive_partitioning: set it to true, and the folders make a column of {', '.join(folders)}")
    if source.header_doubt is not None and not missing.union(kept) <= set(source.names):
        faults.append(f"input.path: {source.header_doubt}")
    return faults


def _asked(
    job: Job, tools: ToolSet, types: Mapping[str, str] | None, labels: LabelSchema | None = None
) -> tuple[Source, Variants]:
    """The source, and what is asked of its rows: each decides how the other is read."""

    def opened(columns: Collection[str], texts: Collection[str]) -> Source:
        asked = (job.model.name, job.model.parameters)
        return Source.open(
            job.input, fixed_types=types, model=asked[0], parameters=asked[1], reads=columns, texts=texts
        )

    named = frozenset(job.output.columns or ())
    # `row["name"]` is a column, unless the input has a column that is called `row`; then it is a part of that.
    variants, others = (Variants(job, tools, _service(job), columns, labels=labels) for columns in ((), (ROW,)))
    if (variants.columns, variants.texts) == (others.columns, others.texts):
        source = opened(variants.columns | named, variants.texts)
        return source, others if ROW in source.schema.names else variants
    chosen = others if ROW in opened((), ()).schema.names else variants
    return opened(chosen.columns | named, chosen.texts), chosen


def _service(job: Job) -> Service | None:
    try:
        return find(job.model.provider, job.provider)
    except RefusedToStart:
        return None  # told with the endpoint


def _parameters(variants: Variants, faults: list[str]) -> tuple[str, ...]:
    """Hold the parameters against what the service takes: errors are faults, warnings are given back."""
    found = list(dict.fromkeys((one.level, one.line()) for variant in variants for one in variant.findings()))
    faults += [line for level, line in found if level == "error"]
    return tuple(line for level, line in found if level == "warning")
