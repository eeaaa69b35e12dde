"""A sound job file, and what loading it gives, for the tests of `job` and `jobfile`."""

from pathlib import Path
from typing import Any

import pytest

from batch.core.errors import EXIT_REFUSED, JobError
from batch.job.job import Job

SOUND = """\
name = "label-tickets"

[input]
path = "tickets.jsonl"

[prompt]
user = "{{ body }}"

[model]
provider = "glm"
name = "glm-4"
"""


def load(folder: Path, text: str, **flags: Any) -> Job:
    (folder / "job.toml").write_text(text, encoding="utf-8")
    return Job.load(folder, **flags)


def faults(folder: Path, text: str, **flags: Any) -> list[str]:
    with pytest.raises(JobError) as caught:
        load(folder, text, **flags)
    assert caught.value.exit_code == EXIT_REFUSED
    assert caught.value.where == str(folder / "job.toml")
    return caught.value.faults
