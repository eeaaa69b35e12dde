"""A job that was built in code, where nothing has checked the types of its values.

Owns their conversion: what a value may be in a job file it may be in code, a text for a path above all. It knows
neither the keys nor what they mean; where a value does not fit, the fault is that of the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec

from batch.job import checks, providers
from batch.job.document import field_value
from batch.job.faults import Fault, KeyPath
from batch.job.fieldtypes import fields_of, table_kind

_FOLDER: Final = Annotated[Path, msgspec.Meta(description="a folder")]


def values(
    job: Any, sections: Mapping[str, type[msgspec.Struct]], top: Mapping[str, Any]
) -> tuple[dict[str, Any], list[Fault]]:
    """The values of a job in their own types, and all its faults: of types first, then across fields.

    Args:
        job: as it was built.
        sections: by name of a section, its struct.
        top: by name of a key outside all sections, its type.
    """
    found: dict[str, Any] = {}
    found["folder"], faults = field_value(("folder",), job.folder, _FOLDER)
    for section, kind in sections.items():
        part = getattr(job, section)
        if part is None and section in ("tools", "labels", "budget"):
            continue
        if not isinstance(part, kind):
            faults.append(Fault((section,), f"expected {kind.__name__}(…), not {type(part).__name__}"))
            continue
        found[section], errors = _struct((section,), part)
        faults += errors
    found["provider"], errors = _structs(("provider",), job.provider)
    faults += errors
    asked = getattr(job.model, "provider", None)
    faults += [Fault(*fault) for fault in providers.faults(job.provider, asked)]
    folder = found["folder"]
    given = {"name": job.name or (folder.expanduser().absolute().name if folder else "") or "job", "tags": job.tags}
    given["prices"] = job.prices
    for key, value in given.items():
        found[key], errors = field_value((key,), value, top[key])
        faults += errors
    if not faults:
        fields = {
            section: {name: value for name in kind.__struct_fields__ if (value := getattr(part, name)) is not None}
            for section, kind in sections.items()
            if (part := found.get(section)) is not None
        }
        faults += checks.faults_across_fields(fields)
    return found, faults


def _struct(path: KeyPath, part: msgspec.Struct) -> tuple[Any, list[Fault]]:
    found: dict[str, Any] = {}
    faults: list[Fault] = []
    for field in fields_of(type(part)):
        value, key = getattr(part, field.name), (*path, field.name)
        if table_kind(field.type) is not None:
            found[field.name], errors = _structs(key, value)
        else:
            found[field.name], errors = field_value(key, value, field.type)
        faults += errors
    return part if faults else msgspec.structs.replace(part, **found), faults


def _structs(path: KeyPath, tables: Any) -> tuple[dict[str, Any], list[Fault]]:
    """Structs by name: `[path.NAME]`."""
    if not isinstance(tables, Mapping):
        return {}, [Fault(path, f"expected structs by name, not {type(tables).__name__}")]
    found: dict[str, Any] = {}
    faults: list[Fault] = []
    for name, table in tables.items():
        if isinstance(table, msgspec.Struct):
            found[name], errors = _struct((*path, str(name)), table)
            faults += errors
        else:
            faults.append(Fault((*path, str(name)), f"expected a struct, not {type(table).__name__}"))
    return found, faults
