"""One part of a job that several machines work on, each by itself: which rows are its, and how much of each limit.

Owns who a row belongs to, which its id alone decides, and how limits and budgets are divided, so that all parts
together come to what the job says and to no more. It does not know where answers lie, nor who works on the other parts.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from batch.core.errors import JobError, RefusedToStart
from batch.job.budgetspec import Amount

if TYPE_CHECKING:
    from batch.job.job import Job

    AnyJob = TypeVar("AnyJob", bound=Job)

MOST: Final = 1_000
OPTION: Final = "--shard"
_FORM: Final = re.compile(r"\s*([0-9]{1,9})\s*/\s*([0-9]{1,9})\s*")
_KEY: Final = "shard"
_DIVIDED: Final[dict[str, tuple[str, ...]]] = {
    "limits": ("concurrency", "requests_per_minute", "tokens_per_minute"),
    "budget": ("max_cost", "max_tokens", "max_rows", "per_day"),
}
"""By section, the keys that hold for all parts together."""


class Shard(msgspec.Struct, frozen=True):
    """One part of so many.

    Attributes:
        number: which, from 0.
        count: of how many.
    """

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """The part that a text such as `0/3` names.

        Raises:
            RefusedToStart: it names none.
        """
        form = _FORM.fullmatch(text)
        if form is None:
            raise RefusedToStart(
                f"{OPTION} {text}: give which shard this is and of how many, such as 0/4. In a Kubernetes Job with "
                'completionMode: Indexed, that is "$JOB_COMPLETION_INDEX/4"'
            )
        number, count = int(form[1]), int(form[2])
        if not 1 <= count <= MOST:
            raise RefusedToStart(f"{OPTION} {text}: there are 1 to {MOST:,} shards, for example {OPTION} 0/4")
        if number >= count:
            raise RefusedToStart(
                f"{OPTION} {text}: shards are counted from 0, so of {count:,} the last one is {count - 1}/{count}"
            )
        return cls(number, count)

    @property
    def text(self) -> str:
        """As `parse` reads it."""
        return f"{self.number}/{self.count}"

    @property
    def folder(self) -> str:
        """The folder of its answers, in the output folder of the job: a hive partition."""
        return f"shard={self.number}"

    def has(self, row_id: str) -> bool:
        """Whether a row is of this part. Never to be changed: rows of an output folder would move."""
        digest = blake2b(row_id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return int.from_bytes(digest) % self.count == self.number

    def part(self, whole: int) -> int:
        """Its part of a whole number; the parts of all shards come to just that."""
        return whole // self.count + (self.number < whole % self.count)


def shard_of(job: Job) -> Shard | None:
    """The part that a job was made; None of a whole one."""
    found: Shard | None = job.__dict__.get(_KEY)
    return found


def divided(job: AnyJob, text: str) -> AnyJob:
    """One part of a job: its limits and its output folder; its rows are known by `shard_of`.

    Args:
        job: the whole job.
        text: which part, such as `0/3`.

    Raises:
        RefusedToStart: the text names no part.
        JobError: a limit is too small for so many parts.
    """
    shard, faults = Shard.parse(text), list[str]()
    replace = msgspec.structs.replace

    def parts(spec: Any, where: str, keys: tuple[str, ...]) -> Any:
        return replace(spec, **{key: _part(shard, getattr(spec, key), f"{where}.{key}", faults) for key in keys})

    rates = _DIVIDED["limits"]
    models = {name: parts(one, f'limits.model."{name}"', rates) for name, one in job.limits.model.items()}
    endpoints = tuple(
        replace(one, limits=parts(one.limits, f"model.endpoints ({one.called})", rates)) for one in job.model.endpoints
    )
    budget = job.budget
    if budget is not None:
        grants = [replace(one, tokens=_part(shard, one.size, "budget.grants", faults)) for one in budget.grants]
        budget = replace(parts(budget, "budget", _DIVIDED["budget"]), grants=tuple(grants))
    limits = replace(parts(job.limits, "limits", rates), model=models)
    if faults:
        raise JobError(faults, where=job.where)
    part = replace(
        job,
        limits=limits,
        model=replace(job.model, endpoints=endpoints),
        budget=budget,
        output=replace(job.output, path=job.output.path / shard.folder),
    )
    part.__dict__.update(job.__dict__)
    part.__dict__[_KEY] = shard
    return part


def own_state(job: Job, state: Path) -> Path:
    """Where a job shares limits and money with others: a part of a job has parts of them that are its alone.

    Args:
        job: whole, or a part.
        state: the folder of what the jobs of this user share.
    """
    shard = shard_of(job)
    return state if shard is None else state / f"{shard.folder}-of-{shard.count}"


def _part(shard: Shard, value: Any, key: str, faults: list[str]) -> Any:
    """The part of one limit; as it is where nothing is left of it, which is told in `faults`."""
    if value is None:
        return None
    whole = value.units if isinstance(value, Amount) else int(value)
    if whole < shard.count:
        given = value if isinstance(value, Amount) else f"{value:g}"
        faults.append(
            f"{key} = {given}: cannot be divided among {shard.count:,} shards, each of which needs 1 of it at least: "
            "raise it, or have fewer shards"
        )
        return value
    if isinstance(value, Amount):
        return msgspec.structs.replace(value, units=shard.part(whole))
    return type(value)(shard.part(whole))
