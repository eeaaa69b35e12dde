"""The hash of a whole job, by which a run knows that nothing in it changed.

Owns which keys are left out where a job does not use them: those that there were not always, so that a run of a job
without them goes on under a newer promptmill.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

import msgspec

from batch.job.fieldtypes import fields_of
from batch.job.toolspec import ToolSpec, usual_keys

if TYPE_CHECKING:
    from batch.job.job import InputSpec, Job

_LATER: Final = ("delimiter", "hive_partitioning", "file_column")


def of(job: Job) -> str:
    """The hash of a job, as 32 hex digits."""
    whole = msgspec.to_builtins(job, enc_hook=str)
    del whole["prices"]  # what an answer costs makes none of another job
    if not job.limits.model:
        del whole["limits"]["model"]
    if "publish_every_s" not in _given(job.output):
        del whole["output"]["publish_every_s"]
    if job.tools is not None:
        usual = job.folder / ToolSpec().folder
        for name in usual_keys(job.tools, folder=usual):
            del whole["tools"][name]
    if job.labels is None:
        del whole["labels"]
    # What may be spent, when, on how much disk and for how long makes no row need work: none of it was ever compared.
    del whole["budget"], whole["limits"]["hours"], whole["limits"]["max_spill"], whole["limits"]["deadline_s"]
    del whole["bulk"], whole["limits"]["share"]
    del whole["model"]["endpoints"]  # nor does at which of several addresses it is asked
    for table in (whole["model"], *whole["provider"].values()):
        del table["key_file"], table["key_command"]  # where a key comes from makes none of another job
    for table in whole["provider"].values():
        del table["price"]
        if table["json"] == "none":
            del table["json"]
    for name in {"empty", "dedupe"} - _given(job.prompt):
        del whole["prompt"][name]
    for name in set(_LATER).difference(later(job.input)):
        del whole["input"][name]
    data = msgspec.json.encode(whole, order="sorted")
    return blake2b(data, digest_size=16).hexdigest()


def later(spec: InputSpec) -> dict[str, Any]:
    """Keys of the input that there were not always and that are set: a job without them is what it was."""
    return {name: value for name in _LATER if (value := getattr(spec, name))}


def _given(spec: msgspec.Struct) -> set[str]:
    """The fields that are not as they are by default."""
    return {field.name for field in fields_of(type(spec)) if getattr(spec, field.name) != field.default}
