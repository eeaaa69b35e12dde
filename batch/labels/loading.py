"""The labels that a job asks for, from its names, its schema file, or a type in a Python file.

Owns which forms `labels.schema` may have, and the faults that say what is wrong with one and where.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from batch.core.canonical import loads
from batch.core.errors import JobError
from batch.job.labelspec import LabelSpec
from batch.labels.nodes import SchemaFaults
from batch.labels.schema import LabelSchema
from batch.tools.registry import run_file


def load(spec: LabelSpec, folder: Path) -> LabelSchema:
    """The labels of a job.

    Args:
        spec: its `[labels]`.
        folder: the job's, from which files are found.

    Raises:
        JobError: the file cannot be read, or what it says is no schema that a label can have; names every fault.
    """
    if spec.names:
        return LabelSchema.of_names(spec.names)
    given = spec.schema or ""
    name, colon, member = given.rpartition(":")
    try:
        if colon and name.endswith(".py"):
            return LabelSchema.of_schema(_of_type(folder / Path(name).expanduser(), member))
        return LabelSchema.of_schema(_of_file(folder / Path(given).expanduser()))
    except SchemaFaults as exc:
        raise JobError([f"labels.schema = {given!r}: {fault}" for fault in exc.faults], where=given) from exc


def _of_file(path: Path) -> Any:
    if path.suffix == ".py":
        raise SchemaFaults([f'is a Python file: say which type of it, as in "{path.name}:Label"'])
    try:
        return loads(path.read_bytes())
    except OSError as exc:
        raise SchemaFaults([f"{path}: cannot be read: {exc.strerror}; give a JSON schema, or tools.py:Label"]) from exc
    except ValueError as exc:
        raise SchemaFaults([f"{path}: is not JSON: {exc}"]) from exc


def _of_type(path: Path, member: str) -> Any:
    """The JSON schema of a type that a Python file defines."""
    try:
        module = run_file(path)
    except JobError as exc:
        raise SchemaFaults(exc.faults) from exc
    kind = getattr(module, member, None)
    if kind is None:
        types = [
            name
            for name, value in vars(module).items()
            if isinstance(value, type) and value.__module__ == module.__name__ and not name.startswith("_")
        ]
        raise SchemaFaults([f"{path.name} has no {member!r}; it has the types {', '.join(types) or '(none)'}"])
    if hasattr(kind, "model_json_schema"):  # pydantic, which need not be installed
        return kind.model_json_schema()
    try:
        (schema,), components = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    except (TypeError, ValueError, NameError, RecursionError) as exc:
        text = f"{member} has no JSON schema ({exc}): use a msgspec.Struct, a dataclass or a TypedDict"
        raise SchemaFaults([text]) from exc
    return {**schema, "$defs": components}
