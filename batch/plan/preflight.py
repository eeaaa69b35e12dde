"""Check everything that can be known before the first request, and tell all faults of a job in one go.

Owns the cross-checks between job, source, prompt, tools and provider. `run` and `check` begin with the same
`prepare`, so what `check` accepts starts. Sends nothing and writes nothing; reads the ledger only for the column
types it keeps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
import pyarrow as pa

from batch.core import canonical, redaction
from batch.core.errors import BatchError, InputError, JobError, RefusedToStart
from batch.http import environment
from batch.input.batches import Position
from batch.input.source import Source
from batch.job.job import Job
from batch.ledger.reader import LedgerReader
from batch.limits import sockets
from batch.money.prices import Prices
from batch.output import integrity, place, tables
from batch.output.folder import OutputFolder, holder
from batch.plan.continuation import Identity
from batch.prompts.variants import Variants
from batch.providers.registry import Endpoint, find, resolve
from batch.providers.service import Service
from batch.tools.registry import ToolSet

TYPES: Final = "types"
"""Key of the ledger's `meta` that holds the column types as JSON."""
INPUTS: Final = "inputs"
"""Key of the ledger's `meta` that holds the chosen input columns as a serialized Arrow schema."""


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
    most_calls: int = 1
    """How many calls may be in flight: as many as the job asks for, or as there are open files for."""
    old_models: dict[str, str] = {}
    """Model by variant of the job as it was, while its tasks are collected."""

    @property
    def unmasked_key(self) -> str | None:
        """What to say of a key that is too short to be masked in texts; None of any other."""
        if self.endpoint.key_masked:
            return None
        return (
            f"the key in {self.endpoint.key_env_used} has fewer than {redaction.SHORTEST} characters and cannot be "
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
        return Identity(
            request=msgspec.json.encode(part, order="sorted").decode(),
            digest=f"{self.job.digest()}-{canonical.record_id(part)}",
            source=self.source.stat,
            by_row=self.variants.by_row,
        )

    def fraction(self, position: Position) -> float | None:
        """The share of the source that lies before `position`, None when it cannot be said."""
        return self.source.fraction(position)


def check_job(job: Job, environ: Mapping[str, str]) -> CheckedJob:
    """Check everything that can be checked before the first request.

    Raises:
        RefusedToStart: something is wrong; faults of the job come together.
    """
    folder = OutputFolder(job.output.path)
    place.require(folder, job=job.folder)
    types, kept = _kept(folder)
    faults: list[str] = []
    endpoint: Endpoint | None = None
    prices = Prices.load()
    tools = _tools(job, faults)
    try:
        endpoint = resolve(
            job.model.provider,
            base_url=job.model.base_url,
            api_key_env=job.model.api_key_env,
            environ=environ,
            key_form=job.model.key_form,
            tables=job.provider,
        )
        environment.check(endpoint.base_url)
        if job.model.lane not in endpoint.dialect.lanes:
            lanes = ", ".join(sorted(endpoint.dialect.lanes))
            faults.append(
                f'model.lane = "{job.model.lane}": provider {job.model.provider} has no such lane; it has {lanes}'
            )
    except BatchError as exc:
        faults.append(str(exc))
    source = Source.open(job.input, fixed_types=types, model=job.model.name, parameters=job.model.parameters)
    variants = Variants(job, tools, _service(job))
    warnings = _parameters(variants, faults)
    faults += variants.check(source.schema.names)
    inputs = schema = None
    try:
        inputs = _inputs(source.schema, job, kept)
        schema = tables.result_schema(inputs, None)
    except InputError as exc:
        faults.append(f"output.columns: {exc}")
    if faults or endpoint is None or schema is None or inputs is None:
        raise JobError(faults, where=str(job.folder / "job.toml"))
    needed = set(inputs.names) | variants.columns
    spilled = tuple(name for name in source.schema.names if name in needed or name == "input_rest")
    rows = source.rows
    kept_types = {**(types or {}), **source.types}
    return CheckedJob(
        job, folder, source, variants, tools, endpoint, prices, inputs, schema, rows, spilled, kept_types, warnings,
        sockets.calls(job.limits.concurrency),
    )  # fmt: skip


def kept_meta(checked: CheckedJob) -> dict[str, bytes | str]:
    """What the ledger keeps of the columns for later runs."""
    return {
        TYPES: msgspec.json.encode(checked.types).decode(),
        INPUTS: checked.inputs.serialize().to_pybytes(),
    }


def _tools(job: Job, faults: list[str]) -> ToolSet:
    if job.tools is None:
        return ToolSet.empty()
    try:
        return ToolSet.load(job.tools.module)
    except JobError as exc:
        faults += [f"tools.module ({exc.where}): {fault}" for fault in exc.faults]
        return ToolSet.empty()


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


def _kept(folder: OutputFolder) -> tuple[dict[str, str] | None, pa.Schema | None]:
    """The column types and the chosen columns an earlier run fixed."""
    if holder(folder) is None:
        integrity.require_trusted(folder)
    if not folder.ledger.exists():
        return None, None
    with LedgerReader(folder.ledger) as reader:
        if not reader.made:
            return None, None
        types, inputs = reader.meta(TYPES), reader.meta(INPUTS)
    return (
        msgspec.json.decode(types, type=dict[str, str]) if types else None,
        pa.ipc.read_schema(pa.py_buffer(inputs)) if inputs else None,
    )


def _inputs(source: pa.Schema, job: Job, kept: pa.Schema | None) -> pa.Schema:
    """The chosen columns; those of earlier runs come first and never go away, new ones are added behind them."""
    columns = job.output.columns
    tables.result_schema(source, columns)
    chosen = list(columns) if columns is not None else list(source.names)
    if columns is not None and "input_rest" in source.names and "input_rest" not in chosen:
        chosen.append("input_rest")
    fields = list(kept) if kept is not None else []
    names = {field.name for field in fields}
    fields += [source.field(name) for name in chosen if name not in names and name not in tables.unwritable(source)]
    return pa.schema(fields)
