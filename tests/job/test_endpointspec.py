"""`batch.job.endpointspec`: several addresses of a job, and what is said of wrong ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from batch.core.errors import JobError
from batch.job.job import Job

TEXT = """
name = "pool"
[input]
path = "rows.jsonl"
[prompt]
user = "{{{{ text }}}}"
[model]
provider = "vllm"
name = "m"
{model}
"""


def load(folder: Path, model: str) -> Job:
    (folder / "job.toml").write_text(TEXT.format(model=model), encoding="utf-8")
    return Job.load(folder)


def test_an_address_has_a_name_of_its_own_or_that_of_its_host(tmp_path: Path) -> None:
    job = load(
        tmp_path,
        'endpoints = [{ base_url = "http://a:8000/v1" }, { base_url = "http://b/v1", name = "second", weight = 2, '
        "limits = { requests_per_minute = 60, concurrency = 4 } }]",
    )
    assert [one.called for one in job.model.endpoints] == ["a:8000", "second"]
    assert (job.model.endpoints[1].weight, job.model.endpoints[1].limits.concurrency) == (2, 4)
    assert job.digest() == load(tmp_path, 'endpoints = [{ base_url = "http://c/v1" }]').digest(), (
        "no row is asked again"
    )


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ('endpoints = [{ url = "http://a" }]', "unknown field `url`"),
        ('endpoints = [{ base_url = "http://a" }, { base_url = "ftp://a" }]', "base_url of number 2: must be http://"),
        ('endpoints = [{ name = "a" }]', "missing required field `base_url`"),
        ('endpoints = [{ base_url = "http://a", weight = 0 }]', "weight of number 1: expected"),
        (
            'endpoints = [{ base_url = "http://a", limits = { rpm = 5 } }]',
            "limits of number 1: object contains unknown",
        ),
        ('endpoints = "http://a"', "expected `array`"),
        ('base_url = "http://a"\nendpoints = [{ base_url = "http://b" }]', "stands beside endpoints"),
        ('endpoints = [{ base_url = "http://a/v1" }, { base_url = "http://a/v2" }]', "has 'a' twice: give each a name"),
        (
            'endpoints = [{ base_url = "http://a", api_key_env = "A", key_file = "b" }]',
            "stands beside api_key_env",
        ),
    ],
)
def test_what_is_wrong_is_told_with_the_address_and_the_key(tmp_path: Path, model: str, said: str) -> None:
    with pytest.raises(JobError) as caught:
        load(tmp_path, model)
    assert said.lower() in str(caught.value).lower()
