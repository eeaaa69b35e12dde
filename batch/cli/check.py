"""`promptmill check`: everything `run` would refuse, and what it would ask, without sending or writing anything."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter

from batch.cli import jobs, labelling, spending, variables
from batch.cli.text import count, pairs, say, table
from batch.core.errors import EXIT_OK, EXIT_ROWS_FAILED
from batch.core.plain import clean

if TYPE_CHECKING:
    from batch.job.endpointspec import ModelLimitSpec
    from batch.job.job import LimitSpec
    from batch.plan.preflight import CheckedJob
    from batch.report.scan import Scan

SAMPLES: Final = 3
FILES: Final = 8
SHOWN: Final = 500
"""Characters of one message."""
NO_NAME: Final = "(none)"
"""The name shown for the variant of a job without variants."""


def check(
    job: jobs.JobPath,
    /,
    *,
    full: Annotated[bool, Parameter(negative=())] = False,
    origins: Annotated[bool, Parameter(negative=())] = False,
    output: jobs.OutPath = None,
    set_: jobs.Settings = (),
    lane: jobs.LaneName = None,
    shard: jobs.ShardText = None,
    prices: jobs.PricesPath = None,
    max_cost: jobs.MaxCost = None,
) -> int:
    """Validate a job and show its first prompts; nothing is sent, nothing is written.

    Args:
        job: job folder, or its job.toml.
        full: read all input, and name lines that cannot be read, duplicate keys and rows the prompt fails on.
        origins: list every key of the job with its value, and whether a flag, a variable, a file or nothing says so.
        output: output folder instead of the job's own; relative to where you are.
        set_: change one key of the job, for example --set limits.concurrency=64; may be repeated.
        lane: how requests travel, instead of model.lane.
        shard: the part of the job that runs with this flag, such as 0/4, with its limits and its output.
        prices: a price file that wins over those of the job and over the price book; relative to where you are.
        max_cost: the most a run may cost, such as 50CNY, instead of budget.max_cost.
    """
    from batch.cli import origins as values
    from batch.plan import preflight
    from batch.report import scan

    loaded = jobs.load(job, settings=set_, output=output, lane=lane, max_cost=max_cost, shard=shard)
    jobs.make_room(loaded)
    checked = preflight.check_job(loaded, os.environ, prices)
    say(_lines(checked))
    if lines := list(values.lines(loaded, {"--full": full, "--prices": prices}, whole=origins)):
        say(lines)
    if not full:
        return EXIT_OK
    result = scan.scan(checked)
    say(_full(result, checked))
    return EXIT_ROWS_FAILED if result.bad else EXIT_OK


def _lines(checked: CheckedJob) -> Iterator[str]:
    from batch.cli import pricing

    job = checked.job
    yield f"{clean(job.name)}: {job.folder}"
    yield from pairs(
        [
            ("input", _input(checked)),
            ("shard", jobs.part(job)),
            ("key", job.input.key or "none: a row is known by its content"),
            (
                "models" if len(_models(checked)) > 1 else "model",
                f"{job.model.provider}/{clean(', '.join(_models(checked)))}, {jobs.way(job)}",
            ),
            ("prompts", clean(", ".join(job.prompt.variants))),
            ("variants", _variants(checked)),
            (
                "parameters",
                ", ".join(f"{clean(name)} = {_short(value)}" for name, value in job.model.parameters.items()),
            ),
            ("addresses", _endpoints(checked)),
            ("address", "" if checked.endpoints else _address(checked)),
            ("API key", "" if checked.endpoints else _key(checked)),
            ("price", pricing.of_job(checked)),
            ("limits", _limits(checked)),
            ("budget", spending.budget_text(checked)),
            ("tools", _tools(checked)),
            ("labels", labelling.labels_text(checked)),
            ("output", _output(checked)),
        ]
    )
    told = (checked.unmasked_key, checked.fewer_calls, *checked.warnings, *checked.doubts, *checked.changed_tools)
    if warnings := [text for text in told if text is not None]:
        yield "warnings"
        yield from (f"  {clean(text, most=SHOWN)}" for text in warnings)
    if files := _files(checked):
        yield "files, in the order they are read"
        yield from (f"  {line}" for line in files)
    yield "columns"
    yield from _columns(checked)
    yield from _samples(checked)


def _models(checked: CheckedJob) -> tuple[str, ...]:
    return checked.job.model.names or (checked.job.model.name,)


def _variants(checked: CheckedJob) -> str:
    """How many results a row gets, and what happens to the results of the last run when it had other variants."""
    from batch.report import scan

    many = len(checked.variants)
    lines = [f"{many}: each row is asked {many} times, and has {many} results"] if many > 1 else []
    now, before = checked.variants.names, scan.last_asked(checked.folder)
    if gone := [name for name in before if name not in now]:
        lines.append(f"no longer asked, what they answered stays: {_names(gone)}")
    if before and (new := [name for name in now if name not in before]):
        lines.append(f"not asked by the last run, so asked for every row: {_names(new)}")
    return "\n".join(lines)


def _input(checked: CheckedJob) -> str:
    stat = checked.source.stat
    rows = f", {count(checked.rows, 'row')}" if checked.rows is not None else ""
    files = f", {count(stat.files, 'file')}" if not checked.source.found.single else ""
    form = f", {checked.job.input.format}" if checked.job.input.format != "rows" else ""
    return f"{clean(stat.path)}{files}{rows} ({stat.size:,} bytes){form}"


def _files(checked: CheckedJob) -> list[str]:
    """The first and the last files of a folder or pattern, in the order they are read."""
    listing = checked.source.found
    if listing.single:
        return []
    lines = [f"{clean(file.name)} ({file.size:,} bytes)" for file in listing.files]
    if len(lines) > FILES:
        lines[FILES - 1 : -1] = [f"… {len(lines) - FILES:,} more …"]
    if listing.others:
        few = ", ".join(clean(name) for name in listing.others[:3])
        lines.append(f"not read, for other endings: {few}{' …' if len(listing.others) > 3 else ''}")
    return lines


def _key(checked: CheckedJob) -> str:
    sent = "".join(f"\n{variables.named(name)} is sent along" for name in checked.endpoint.header_names)
    if (origin := checked.endpoint.key_origin) is not None:
        return f"from {variables.named(origin)}{sent}"
    return "built in" if checked.job.model.provider == "simulator" else "none is sent"


def _endpoints(checked: CheckedJob) -> str:
    """A line for each address: its name, where it is, whence its key, and what limits it."""
    lines = []
    for spec, (name, one) in zip(checked.job.model.endpoints, checked.endpoints.items(), strict=True):
        origin = "no key" if one.key_origin is None else f"key from {variables.named(one.key_origin)}"
        origin = "key built in" if one.key_origin is None and one.service.built_in_key else origin
        weight = f", weight {spec.weight:g}" if spec.weight != 1 else ""
        limits = "".join(f", {rate}" for rate in _rates(spec.limits))
        lines.append(f"{clean(name)}: {one.base_url}, {origin}{limits}{weight}")
    return "\n".join(lines)


def _address(checked: CheckedJob) -> str:
    service = checked.endpoint.service
    own = checked.job.provider.get(service.name)
    if own is None:
        variable = checked.endpoint.base_env_used
        return f"{checked.endpoint.base_url}{f', from {variables.named(variable)}' if variable else ''}"
    parts = [f"speaks {own.speaks}"]
    if own.call_id_header:
        parts.append(f"call id in {own.call_id_header}")
    if own.counts:
        parts.append(f"a token limit counts what was {own.counts}")
    if own.never_send:
        parts.append(f"never sent: {', '.join(clean(name, most=60) for name in own.never_send)}")
    return f"{checked.endpoint.base_url} ({', '.join(parts)})"


def _tools(checked: CheckedJob) -> str:
    """The tools on offer; of those with effects, what becomes of one that is cut off."""
    spec = checked.job.tools
    found = [(name, checked.tools.get(name)) for name in checked.tools.names]
    return ", ".join(
        f"{name} (effects: {spec.policy} when cut off)" if tool is not None and tool.effects and spec else name
        for name, tool in found
    )


def _limits(checked: CheckedJob) -> str:
    """The limits of the whole job, then a line for each model that has limits of its own."""
    limits = checked.job.limits
    lines = [f"{', '.join(_rates(limits))}, {count(limits.max_attempts, 'attempt')} a turn"]
    lines += [f"{clean(name)}: {', '.join(_rates(own)) or 'none of its own'}" for name, own in limits.model.items()]
    lines += (
        []
        if limits.share == "none"
        else [f"shared with {jobs.sharers(checked.job)} of the same key and model (limits.share)"]
    )
    lines += [f"sends only in {'; '.join(map(str, limits.hours))}"] if limits.hours else []
    return "\n".join(lines)


def _rates(limits: LimitSpec | ModelLimitSpec) -> list[str]:
    found = [f"{limits.concurrency:,} in flight"] if limits.concurrency else []
    found += [f"{limits.requests_per_minute:,g} requests per minute"] if limits.requests_per_minute else []
    return found + ([f"{limits.tokens_per_minute:,.0f} tokens per minute"] if limits.tokens_per_minute else [])


def _output(checked: CheckedJob) -> str:
    from batch.cli import sums
    from batch.report import scan

    root, output, text = checked.folder.root, checked.job.output, checked.folder.text
    lines = [f"{text} ({'exists, without answers' if root.exists() else 'new'})"]
    if checked.folder.ledger.exists():
        lines = [f"{text} (has answers already: only what is new, changed or worth another try is asked)"]
        gone = sums.gone_text(scan.gone_before(checked.folder), checked.folder.place, str(checked.job.folder))
        lines += [f"when the input was last read whole: {gone}"] if gone else []
    parts = count(output.rows_per_part, "row")
    return "\n".join([*lines, f"parts of {parts}, each readable first after {output.publish_every_s:g} s"])


def _columns(checked: CheckedJob) -> list[str]:
    from batch.core.arrowtypes import is_text_bytes, type_text
    from batch.output import tables

    source = checked.source.schema
    renames = tables.renamed(checked.inputs, labels=checked.label_columns.names)
    lost = tables.unwritable(source)
    lines = []
    for field in source:
        notes = []
        if field.name == "input_rest" and not checked.source.rest_is_input:
            notes.append("JSON text of what fits no other column")
        if field.name in checked.source.unnamed:
            notes.append("its cell in the header is empty")
        if field.name in checked.variants.columns:
            notes.append("in the prompt")
        if is_text_bytes(field):
            notes.append("read as UTF-8 text")
        if field.name in lost:
            notes.append("not in the output: Parquet cannot hold this type")
        elif field.name not in checked.inputs.names:
            notes.append("not in the output")
        elif field.name in renames:
            notes.append(f"called {renames[field.name]} in the output, the name is taken")
        if field.name in checked.source.clashes:
            notes.append(f"{clean(checked.source.clashes[field.name], most=120)}: what does not fit is in input_rest")
        lines.append((clean(field.name, most=60), clean(type_text(field), most=60), ", ".join(notes)))
    late = [name for name in checked.source.keys if name in checked.variants.columns]
    lines += [(clean(name, most=60), "", "a key of some rows, kept in input_rest, in the prompt") for name in late]
    kept = [name for name in checked.inputs.names if name not in source.names]
    lines += [(clean(name, most=60), "", "of an earlier run, empty from now on") for name in kept]
    return table(lines)


def _samples(checked: CheckedJob) -> Iterator[str]:
    """The first row in all its variants; of the next ones the first, and what is wrong with any."""
    from batch.cli.sizes import Sizes
    from batch.prompts import images
    from batch.report import scan

    samples = scan.samples(checked, SAMPLES)
    if not samples:
        yield "the input has no rows"
    first = before = None
    hidden, sizes = False, Sizes(checked)
    for sample in samples:
        place, new = sample.place, sample.place != before
        first, before = first or place, place
        if not (new or place == first or sample.fault is not None or sample.warnings):
            hidden = True
            continue
        several = len(checked.variants) > len(sample.variants) > 0
        yield f"{clean(place)}{f', variant {_names(sample.variants)}' if several else ''}"
        if sample.fault is not None:
            yield f"  cannot be asked: {clean(sample.fault)}"
        yield from (f"  warning: {clean(text, most=SHOWN)}" for text in sample.warnings)
        yield from (f"  note: {clean(text, most=SHOWN)}" for text in sample.notes if place == first)
        lines = [(str(message["role"]), _content(message)) for message in images.shown(sample.messages)]
        lines += [("then user", _content(message)) for message in sample.later]
        lines.append(("size", sizes.text(sample)))
        yield from pairs(lines)
    if hidden:
        yield "The first row is shown in all variants, the next ones in the first."


def _names(variants: Sequence[str | None]) -> str:
    return ", ".join(clean(name or NO_NAME, most=120) for name in variants)


def _content(message: dict[str, Any]) -> str:
    import msgspec

    content = message.get("content")
    text = content if isinstance(content, str) else msgspec.json.encode(content).decode()
    return clean(text, lines=True, most=SHOWN) or "(empty)"


def _short(value: Any) -> str:
    from batch.core import exactjson

    return clean(exactjson.encoded(value).decode(), most=60)


def _full(result: Scan, checked: CheckedJob) -> Iterator[str]:
    from batch.cli import sums

    yield f"all of it read: {count(result.rows, 'row')}, {result.bad:,} of them cannot be asked"
    lists = [
        (result.unreadable, result.unreadable_first, "cannot be taken as they are"),
        (result.no_key, result.no_key_first, f"without {checked.job.input.key}"),
        (result.duplicates, result.duplicates_first, "with a key that stands earlier"),
        (result.unrendered, result.unrendered_first, "the prompt fails on"),
        (result.empty, result.empty_first, "with nothing to ask"),
    ]
    for number, first, what in lists:
        if number:
            yield f"  {count(number, 'row')} {what}{f', the first {len(first)}' if number > len(first) else ''}:"
            yield from (f"    {clean(text, most=300)}" for text in first)
    if gone := sums.gone_text(result.gone, checked.folder.place, str(checked.job.folder)):
        yield from (f"  {line}" for line in gone.split("\n"))
    if result.short:
        yield f"  {count(result.short, 'row')} short of samples: asked for the missing ones"
    if result.repeats:
        each = "" if checked.job.prompt.dedupe else "; each is asked"
        yield f"  {count(result.repeats, 'row')} equal to an earlier one{each}"
    if result.shared:
        yield f"  {count(result.shared, 'answer')} shared by rows that ask what an earlier one asks (prompt.dedupe)"
    if result.bad:
        yield "Each of these becomes one failed row; the others are not held up."
