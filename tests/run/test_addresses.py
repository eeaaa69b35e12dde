"""`batch.run.addresses`: which of a job's limits are declared for the key that it shares."""

from __future__ import annotations

from pathlib import Path

import pytest

from batch.run.addresses import declared_calls
from tests.support.jobtext import SOUND, load


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
    assert declared_calls(load(tmp_path, SOUND + limits), "glm-4") == declared
