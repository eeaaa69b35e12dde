"""`promptmill check`: everything `run` would refuse, and what it would ask, without sending or writing anything."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter

from batch.cli import jobs
from batch.cli.text import clean, count, pairs, say, table
from batch.core.errors import EXIT_OK, EXIT_ROWS_FAILED

if TYPE_CHECKING:
    from batch.plan.preflight import CheckedJob
    from batch.report.scan import Scan

SAMPLES: Final = 3
FILES: Final = 8
SHOWN: Final = 500
"""Characters of one message."""
NO_NAME: Final = "(none)"
"""How the variant of a job without variants is called."""


def check(
    job: jobs.JobPath,
    /,
    *,
    full: Annotated[bool, Parameter(negative=())] = False,
    output: jobs.OutPath = None,
    set_: jobs.Settings = (),
    lane: jobs.LaneName = None,
) -> int:
    """Validate a job and show its first prompts; nothing is sent, nothing is written.

    Args:
        job: job folder, or its job.toml.
        full: read all input, and name lines that cannot be read, duplicate keys and rows the prompt fails on.
        output: output folder instead of the job's own; relative to where you are.
        set_: change one key of the job, for example --set limits.concurrency=64; may be repeated.
        lane: how requests travel, instead of model.lane.
    """
    from batch.plan import preflight
    from batch.report import scan

    ready = preflight.check_job(jobs.load(job, settings=set_, output=output, lane=lane), os.environ)
    preflight.hide_keys(ready, os.environ)
    say(_lines(ready))
    if not full:
        return EXIT_OK
    found = scan.scan(ready)
    say(_full(found, ready))
    return EXIT_ROWS_FAILED if found.bad else EXIT_OK


def _lines(ready: CheckedJob) -> Iterator[str]:
    job = ready.job
    yield f"{clean(job.name)}: {job.folder}"
    yield from pairs(
        [
            ("input", _input(ready)),
            ("key", job.input.key or "none: a row is known by its content"),
            (
                "models" if len(_models(ready)) > 1 else "model",
                f"{job.model.provider}/{clean(', '.join(_models(ready)))}, lane {job.model.lane}",
            ),
            ("prompts", clean(", ".join(job.prompt.variants))),
            ("variants", _variants(ready)),
            (
                "parameters",
                ", ".join(f"{clean(name)} = {_short(value)}" for name, value in job.model.parameters.items()),
            ),
            ("address", _address(ready)),
            ("API key", _key(ready)),
            ("price", _price(ready)),
            ("limits", _limits(ready)),
            ("tools", ", ".join(ready.tools.names)),
            ("output", _output(ready)),
        ]
    )
    if ready.warnings:
        yield "warnings"
        yield from (f"  {clean(text, most=SHOWN)}" for text in ready.warnings)
    if files := _files(ready):
        yield "files, in the order they are read"
        yield from (f"  {line}" for line in files)
    yield "columns"
    yield from _columns(ready)
    yield from _samples(ready)


def _models(ready: CheckedJob) -> tuple[str, ...]:
    return ready.job.model.names or (ready.job.model.name,)


def _variants(ready: CheckedJob) -> str:
    """How many results a row gets, and what becomes of those of the last run when it had other variants."""
    from batch.report import scan

    many = len(ready.variants)
    lines = [f"{many}: each row is asked {many} times, and has {many} results"] if many > 1 else []
    now, before = ready.variants.names, scan.last_asked(ready.folder)
    if gone := [name for name in before if name not in now]:
        lines.append(f"no longer asked, what they answered stays: {_names(gone)}")
    if before and (new := [name for name in now if name not in before]):
        lines.append(f"not asked by the last run, so asked for every row: {_names(new)}")
    return "\n".join(lines)


def _input(ready: CheckedJob) -> str:
    stat = ready.source.stat
    rows = f", {count(ready.rows, 'row')}" if ready.rows is not None else ""
    files = f", {count(stat.files, 'file')}" if not ready.source.found.single else ""
    form = f", {ready.job.input.format}" if ready.job.input.format != "rows" else ""
    return f"{clean(stat.path)}{files}{rows} ({stat.size:,} bytes){form}"


def _files(ready: CheckedJob) -> list[str]:
    """The first and the last files of a folder or pattern, in the order they are read."""
    found = ready.source.found
    if found.single:
        return []
    lines = [f"{clean(file.name)} ({file.size:,} bytes)" for file in found.files]
    if len(lines) > FILES:
        lines[FILES - 1 : -1] = [f"… {len(lines) - FILES:,} more …"]
    if found.others:
        few = ", ".join(clean(name) for name in found.others[:3])
        lines.append(f"not read, for other endings: {few}{' …' if len(found.others) > 3 else ''}")
    return lines


def _key(ready: CheckedJob) -> str:
    if ready.endpoint.key_env_used is not None:
        return f"from {ready.endpoint.key_env_used}"
    return "built in" if ready.job.model.provider == "simulator" else "none is sent"


def _address(ready: CheckedJob) -> str:
    service = ready.endpoint.service
    own = ready.job.provider.get(service.name)
    if own is None:
        return ready.endpoint.base_url
    parts = [f"speaks {own.speaks}"]
    if own.call_id_header:
        parts.append(f"call id in {own.call_id_header}")
    if own.counts:
        parts.append(f"a token limit counts what was {own.counts}")
    if own.never_send:
        parts.append(f"never sent: {', '.join(clean(name, most=60) for name in own.never_send)}")
    return f"{ready.endpoint.base_url} ({', '.join(parts)})"


def _price(ready: CheckedJob) -> str:
    """A line a model."""
    models = _models(ready)
    return "\n".join(f"{f'{clean(model)}: ' if len(models) > 1 else ''}{_price_of(ready, model)}" for model in models)


def _price_of(ready: CheckedJob, model: str) -> str:
    provider = ready.job.model.provider
    found = ready.prices.find(provider, model, datetime.now(UTC).date())
    if found is None:
        return f"no price for {provider}/{clean(model)}: cost will be null; tokens are counted all the same"
    per_million = [f"{_per_million(found.input)} in", f"{_per_million(found.output)} out"]
    if found.cached_input != found.input:
        per_million.insert(1, f"{_per_million(found.cached_input)} cached")
    return f"{', '.join(per_million)} {found.currency} per million tokens ({found.id})"


def _per_million(units: int) -> str:
    from batch.cli.text import decimal
    from batch.core.records import cost_decimal

    return decimal(cost_decimal(units * 1_000_000))


def _limits(ready: CheckedJob) -> str:
    limits = ready.job.limits
    rate = f", {limits.requests_per_minute:,g} requests per minute" if limits.requests_per_minute else ""
    return f"{limits.concurrency:,} in flight{rate}, {count(limits.max_attempts, 'attempt')} a turn"


def _output(ready: CheckedJob) -> str:
    root = ready.folder.root
    if ready.folder.ledger.exists():
        return f"{root} (has answers already: only what is new, changed or worth another try is asked)"
    return f"{root} ({'exists, without answers' if root.exists() else 'new'})"


def _columns(ready: CheckedJob) -> list[str]:
    from batch.output import tables

    source = ready.source.schema
    renames = tables.renamed(ready.inputs)
    lost = tables.unwritable(source)
    lines = []
    for field in source:
        notes = []
        if field.name == "input_rest":
            notes.append("JSON text of what fits no other column")
        if field.name in ready.variants.columns:
            notes.append("in the prompt")
        if field.name in lost:
            notes.append("not in the output: Parquet cannot hold this type")
        elif field.name not in ready.inputs.names:
            notes.append("not in the output")
        elif field.name in renames:
            notes.append(f"called {renames[field.name]} in the output, the name is taken")
        lines.append((clean(field.name, most=60), clean(str(field.type), most=60), ", ".join(notes)))
    kept = [name for name in ready.inputs.names if name not in source.names]
    lines += [(clean(name, most=60), "", "of an earlier run, empty from now on") for name in kept]
    return table(lines)


def _samples(ready: CheckedJob) -> Iterator[str]:
    """The first row in all its variants; of the next ones the first, and what is wrong with any."""
    from batch.prompts import images
    from batch.report import scan

    found = scan.samples(ready, SAMPLES)
    if not found:
        yield "the input has no rows"
    first = before = None
    hidden = False
    for sample in found:
        place, new = sample.place, sample.place != before
        first, before = first or place, place
        if not (new or place == first or sample.fault is not None or sample.warnings):
            hidden = True
            continue
        several = len(ready.variants) > len(sample.variants) > 0
        yield f"{clean(place)}{f', variant {_names(sample.variants)}' if several else ''}"
        if sample.fault is not None:
            yield f"  cannot be asked: {clean(sample.fault)}"
        yield from (f"  warning: {clean(text, most=SHOWN)}" for text in sample.warnings)
        said = [(str(message["role"]), _content(message)) for message in images.shown(sample.messages)]
        said += [("then user", _content(message)) for message in sample.later]
        if sample.messages:
            said.append(("size", _size(ready, sample.messages)))
        yield from pairs(said)
    if hidden:
        yield "The first row is shown in all variants, the next ones in the first."


def _size(ready: CheckedJob, messages: list[dict[str, Any]]) -> str:
    """How many tokens the first request is, as far as can be said without the model's tokenizer."""
    import msgspec

    from batch.limits import tokens

    schemas = ready.tools.schemas()
    carried = msgspec.json.encode(schemas).decode() if schemas else ""
    likely, least, most = tokens.about(messages, carried=carried)
    pictures = sum(
        part.get("type") == "image_url"
        for message in messages
        if isinstance(message.get("content"), list)
        for part in message["content"]
    )
    seen = f", and {count(pictures, 'picture')}" if pictures else ""
    return f"about {likely:,} prompt tokens ({least:,} to {most:,}, by the model's tokenizer){seen}"


def _names(variants: Sequence[str | None]) -> str:
    return ", ".join(clean(name or NO_NAME, most=120) for name in variants)


def _content(message: dict[str, Any]) -> str:
    import msgspec

    content = message.get("content")
    text = content if isinstance(content, str) else msgspec.json.encode(content).decode()
    return clean(text, lines=True, most=SHOWN) or "(empty)"


def _short(value: Any) -> str:
    import msgspec

    return clean(msgspec.json.encode(value).decode(), most=60)


def _full(found: Scan, ready: CheckedJob) -> Iterator[str]:
    yield f"all of it read: {count(found.rows, 'row')}, {found.bad:,} of them cannot be asked"
    lists = [
        (found.unreadable, found.unreadable_first, "cannot be taken as they are"),
        (found.no_key, found.no_key_first, f"without {ready.job.input.key}"),
        (found.duplicates, found.duplicates_first, "with a key that stands earlier"),
        (found.unrendered, found.unrendered_first, "the prompt fails on"),
    ]
    for number, first, what in lists:
        if number:
            yield f"  {count(number, 'row')} {what}{f', the first {len(first)}' if number > len(first) else ''}:"
            yield from (f"    {clean(text, most=300)}" for text in first)
    if found.repeats:
        yield f"  {count(found.repeats, 'row')} equal to an earlier one; each is asked"
    if found.bad:
        yield "Each of these becomes one failed row; the others are not held up."
