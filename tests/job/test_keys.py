"""`batch.job.keys`: every key of the job's structs is explained, and its example is one."""

from __future__ import annotations

import datetime as dt
import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from batch.core.errors import JobError
from batch.job import job, keys
from batch.job.job import Job
from tests.support.jobtext import load


def structs_in(kind: Any) -> Iterator[type[msgspec.Struct]]:
    """The structs anywhere in a type: a way of finding them that is not that of the code."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        yield kind
    for inner in get_args(kind):
        yield from structs_in(inner)


def names_of(kind: type[msgspec.Struct], path: str) -> Iterator[str]:
    for field in msgspec.structs.fields(kind):
        yield f"{path}.{field.name}"
        if is_value(field.type):
            continue
        for inner in structs_in(field.type):
            yield from names_of(inner, f"{path}.{field.name}.NAME")


def is_value(kind: Any) -> bool:
    """Whether the structs of a type are no tables: they are read from a text, or are told with the list they stand in."""
    metas = getattr(kind, "__metadata__", ())
    return any((meta.extra or {}).get("read") for meta in metas) or any(
        getattr(inner, "__origin__", None) is tuple for inner in get_args(kind)
    )


def every_name() -> set[str]:
    found = set(job.TOP)
    for field in msgspec.structs.fields(Job):
        for kind in structs_in(field.type):
            found |= set(names_of(kind, f"{field.name}.NAME" if field.name in job.TABLES else field.name))
    return found


def test_what_a_key_takes_is_said_in_words() -> None:
    """And not as the type stands in the code: a key that may be left out is told like any other."""
    told = {key.name: key.takes for key in keys.all_keys()}
    assert [name for name, takes in told.items() if "Annotated" in takes or "typing." in takes] == []
    assert told["limits.deadline_s"] == told["limits.call_timeout_s"]


def test_every_key_that_a_job_may_have_is_explained_and_no_other() -> None:
    """FIELD 50. Who adds a key adds a line to `batch.job.keys.KEYS`: ("what it means", 'key = an example')."""
    assert set(keys.KEYS) == every_name()
    assert [key.name for key in keys.all_keys()] == list(keys.KEYS), "in the order of the structs"
    assert all(key.text.endswith(".") and key.takes and key.default for key in keys.all_keys())


@pytest.mark.parametrize("name", list(keys.KEYS))
def test_the_example_of_a_key_is_taken_and_changes_something(name: str, tmp_path: Path) -> None:
    """FIELD 50. Copied into a job as it stands: it is read, and is not what there would be without it."""
    key = next(key for key in keys.all_keys() if key.name == name)
    values: dict[str, Any] = {
        "input": {"path": "in.jsonl"},
        "prompt": {"user": "{{ body }}"},
        "model": {"provider": "vllm", "name": "m" if name == "model.name" else "glm-4", "base_url": "http://h"},
        "provider": {"mycorp": {"base_url": "http://h", "speaks": "glm"}},
    }
    if name == "model.endpoints":
        del values["model"]["base_url"]
    if name.startswith("tools.") and name not in {"tools.module", "tools.shipped"}:
        values["tools"] = {"module": "other.py"}
    if name in ("labels.reasks", "labels.escalate", "labels.samples", "labels.confidence", "labels.gold"):
        values["labels"] = {"names": ["yes", "no"]}
    for instead in {"prompt.messages": ["user"], "prompt.turns": ["user"], "model.names": ["name"]}.get(key.name, ()):
        del values[key.name.split(".")[0]][instead]
    plain = read(tmp_path, values)
    example = tomllib.loads(key.example)
    merge(values, example)
    found: Any = msgspec.to_builtins(read(tmp_path, values, strict=True), enc_hook=str)
    before: Any = None if plain is None else msgspec.to_builtins(plain, enc_hook=str)
    assert found != before or name == "output.path", "which shows its default"
    *tables, last = key.name.replace(".NAME", "").split(".")
    assert last in key.example
    assert key.example.startswith(f"[{tables[0]}" if tables else last)


def merge(values: dict[str, Any], more: dict[str, Any]) -> None:
    for name, value in more.items():
        if isinstance(value, dict) and isinstance(values.get(name), dict):
            merge(values[name], value)
        else:
            values[name] = value


def read(folder: Path, values: dict[str, Any], *, strict: bool = False) -> Job | None:
    """The job of these values; None when it is wrong, as it is without what the example brings."""
    try:
        return load(folder, "\n".join(lines(values)))
    except JobError:
        if strict:
            raise
        return None


def lines(values: dict[str, Any], *path: str) -> Iterator[str]:
    """Values as TOML, each with its whole key: JSON's texts, numbers and lists are TOML's, too."""
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from lines(value, *path, name)
        else:
            yield f"{'.'.join(json.dumps(part) for part in (*path, name))} = {inline(value)}"


def inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)} = {inline(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, dt.date):
        return value.isoformat()
    return f"[{', '.join(map(inline, value))}]" if isinstance(value, list) else json.dumps(value)


def test_a_default_is_the_structs_own() -> None:
    """FIELD 50. As a job file would have it."""
    told = {key.name: key.default for key in keys.all_keys()}
    assert told["limits.concurrency"] == str(job.LimitSpec().concurrency)
    assert told["input.path"] == "needed"
    assert told["input.key"] == "none"
    assert told["output.path"] == '"out/{name}"'
    assert told["limits.adapt"] == "true"
    assert told["limits.task_timeout_s"] == "86_400"
    assert told["prompt.images"] == "[]"
