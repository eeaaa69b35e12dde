"""The columns of a source as a whole: those kept, declared and found, and the key among them.

Owns their order, and which of several types a column gets. It opens no file.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import pyarrow as pa

from batch.core.arrowcommon import check_schema
from batch.core.arrowtypes import json_field
from batch.core.errors import InputError
from batch.core.nearest import suggestion
from batch.input import origin
from batch.input.files import Found, shown
from batch.input.json_columns import REST
from batch.job.job import InputSpec


def line_schema(
    spec: InputSpec, found: Found, kept: pa.Schema, *, types: Mapping[str, str], own: Sequence[pa.Field]
) -> pa.Schema:
    """The columns of a source of lines: as they were kept, then those of the lines, declared ones, those of origin.

    Args:
        spec: the input section of the job.
        found: the files.
        kept: the columns of an earlier run, which stay as they are.
        types: declared types by name.
        own: the columns that the lines are known to have.

    Raises:
        InputError: a declared type cannot be cast to the kept one.
    """
    declared = {name: json_field(name, text) for name, text in types.items() if name != REST}
    require_castable(shown(spec.path), kept, pa.schema(declared.values()))
    fields = {field.name: field for field in kept}
    for field in own:
        fields.setdefault(field.name, field)
    fields |= {name: field for name, field in declared.items() if name not in kept.names}
    for field in origin.columns(spec, found.files, [field.name for field in own]):
        fields.setdefault(field.name, field)
    if spec.file_column is not None and not origin.holds_text(fields[spec.file_column]):
        raise InputError(
            f"{shown(spec.path)}: column {spec.file_column!r} holds no text. Give input.file_column another name."
        )
    fields.pop(REST, None)
    return pa.schema([*fields.values(), pa.field(REST, pa.large_string())])


def origin_fields(spec: InputSpec, found: Found, kept: pa.Schema, *, own: Collection[str]) -> list[pa.Field]:
    """The columns of origin that the job wants of a source with a schema, with the types that they were kept with.

    Args:
        spec: the input section of the job.
        found: the files.
        kept: the columns of an earlier run.
        own: names of columns that the files have themselves.

    Raises:
        InputError: the files have the column that is to hold their names, or an earlier run kept a type without text.
    """
    fields = origin.columns(spec, found.files, own)
    require_castable(shown(spec.path), kept, pa.schema(fields))
    return [kept.field(field.name) if field.name in kept.names else field for field in fields]


def require_castable(path: str, kept: pa.Schema, now: pa.Schema) -> None:
    """Refuse columns that cannot be cast without loss to what an earlier run kept.

    Args:
        path: the input, for the message.
        kept: the columns of an earlier run.
        now: those of this one.

    Raises:
        InputError: with one line for each.
    """
    if faults := check_schema(kept, now):
        raise InputError(f"{path}: " + "\n  ".join(faults))


def require_key(spec: InputSpec, names: list[str], blank: str | None = None, *, doubt: str | None = None) -> None:
    """Refuse a source without the key that the job names.

    Args:
        spec: the input section of the job.
        names: what the source has.
        blank: why it has nothing at all, if so.
        doubt: why the names may be none, if so.

    Raises:
        InputError: there is no such column or key.
    """
    key = spec.key
    if key is None or key in names:
        return
    if blank is not None:
        raise InputError(blank)
    shown_names = f"{', '.join(names[:20])}{', …' if len(names) > 20 else ''}"
    hint = suggestion(key, names, f"It has: {shown_names}." if names else "It has no columns.", most=3, cutoff=0.5)
    more = f" {doubt}" if doubt else ""
    raise InputError(f"{shown(spec.path)}: no column is called {key!r} (input.key). {hint}{more}")
