"""Where the values of a job come from: a flag, a variable, a file of variables, the job file, or nowhere.

Owns the lines that `check` prints about it. Which variable gave an option its value is known to `variables`, which line
of the job file a key stands in to the job itself.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from batch.cli import variables
from batch.cli.text import table
from batch.core.plain import clean

if TYPE_CHECKING:
    from batch.job.job import Job

_OPTIONS: Final = {"--lane": "--lane", "--max-cost": "--max-cost", "-o": "--output", "--set": "--set"}
"""By the word that the origin of a key begins with, the option."""
_NOTHING: Final = ("needed", "none", "[]", "{}")
_SHOWN: Final = 60


def lines(job: Job, options: Mapping[str, object], *, whole: bool) -> Iterator[str]:
    """What `check` says about the origin of values; nothing where all of them are the job's own.

    Args:
        job: as it was loaded.
        options: those of the command that are no keys of the job, with their values.
        whole: tell every key, not only those that a flag or a variable gave.
    """
    told = _every(job) if whole else [row for _, origin, row in _given(job) if _option(origin) is not None]
    told += [(name, "", variables.current().origin(name) or "flag") for name, value in options.items() if value]
    if told:
        yield "where values come from" if whole else "not from the job file"
        yield from table(told)
    if more := _for_run({*_OPTIONS.values(), *options, "--origins"}):
        yield "what run takes from variables as well"
        yield from table(more)


def _every(job: Job) -> list[tuple[str, str, str]]:
    """Every key that has a value, with the value and where it comes from, section by section."""
    from batch.job.keys import all_keys

    rows, given = [row for _, _, row in _given(job)], list(job.settings)
    for key in all_keys():
        path = tuple(key.name.split("."))
        there = any(other[: len(path)] == path or path[: len(other)] == other for other in given)
        section = len(path) == 1 or any(other[0] == path[0] for other in given) or path[0] in ("limits", "output")
        if section and not there and "NAME" not in path and key.default not in _NOTHING:
            rows.append((key.name, clean(key.default, most=_SHOWN), "default"))
    return sorted(rows, key=lambda row: ("." in row[0], row[0].partition(".")[0]))


def _for_run(taken: Container[str]) -> list[tuple[str, str]]:
    """The options that `run` would take from variables, and that `check` does not have."""
    from batch.cli.app import make_app

    known, rows = variables.current(), []
    for argument in make_app()["run"].assemble_argument_collection():
        option = argument.name
        if option.startswith("--") and option not in taken and (name := known.variable("run", option)) is not None:
            rows.append((option, f"{name} ({known.place(name)})"))
    return rows


def _given(job: Job) -> Iterator[tuple[tuple[str, ...], str, tuple[str, str, str]]]:
    """Each key that was given: path, origin as the job has it, and the line of the table."""
    from batch.job.faults import dotted, shown_value

    for path, (value, origin) in job.settings.items():
        option = _option(origin)
        told = f"job file, {origin}" if option is None else variables.current().origin(option) or f"flag {option}"
        yield path, origin, (clean(dotted(path), most=_SHOWN), clean(shown_value(path, value), most=_SHOWN), told)


def _option(origin: str) -> str | None:
    """The option that a value came from; None for one of the job file."""
    return _OPTIONS.get(origin.split(" ", 1)[0])
