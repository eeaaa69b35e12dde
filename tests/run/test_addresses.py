"""`batch.run.addresses`: which of a job's limits are declared for the key that it shares."""

from __future__ import annotations

from pathlib import Path

import pytest

from batch.job.job import Job
from batch.run.addresses import declared_calls

JOB = """
name = "addresses"
[input]
path = "rows.jsonl"
[prompt]
user = "{{ q }}"
[model]
provider = "glm"
name = "glm-4"
"""


@pytest.mark.parametrize(
    ("limits", "declared"),
    [
        ("", None),
        ("[limits]\nconcurrency = 7\n", 7),
        ('[limits.model."glm-4"]\nconcurrency = 3\n', 3),
        ('[limits]\nconcurrency = 7\n[limits.model."glm-4"]\nconcurrency = 3\n', 3),
        ('[limits]\nconcurrency = 2\n[limits.model."glm-4"]\nconcurrency = 3\n', 2),
    ],
)
def test_the_calls_that_a_job_declares_are_the_fewest_it_says(
    limits: str, declared: int | None, tmp_path: Path
) -> None:
    (tmp_path / "rows.jsonl").write_text('{"q": "x"}\n')
    (tmp_path / "job.toml").write_text(JOB + limits)
    assert declared_calls(Job.load(tmp_path), "glm-4") == declared
