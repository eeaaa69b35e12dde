"""`[provider.NAME]` in a job: read with the rest of it, and every mistake in it told with its line and the way out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from batch.core.errors import JobError
from batch.job.job import InputSpec, Job, ModelSpec, PromptSpec
from batch.job.providers import ProviderSpec
from tests.support.jobtext import SOUND, faults, load

OWN = SOUND.replace('provider = "glm"', 'provider = "mycorp"')
TABLE = '[provider.mycorp]\nbase_url = "http://h/v1"\n'


def test_a_table_is_read_beside_the_sections(tmp_path: Path) -> None:
    """What is left out is as usual in the dialect."""
    job = load(
        tmp_path,
        OWN
        + TABLE
        + 'speaks = "glm"\napi_key_env = "K"\ncall_id_header = "X-Id"\ncounts = "used"\nnever_send = ["a"]\n',
    )
    assert job.provider == {
        "mycorp": ProviderSpec(
            base_url="http://h/v1",
            speaks="glm",
            api_key_env="K",
            call_id_header="X-Id",
            counts="used",
            never_send=("a",),
        )
    }
    assert load(tmp_path, OWN + TABLE).provider["mycorp"].speaks == "openai"
    assert load(tmp_path, SOUND).provider == {}


def test_where_a_service_stands_is_not_what_is_asked(tmp_path: Path) -> None:
    """Another address of the same service makes no answer stale."""
    one = load(tmp_path, OWN + TABLE)
    two = load(tmp_path, OWN + TABLE.replace("//h/", "//other/"))
    assert one.request_part() == two.request_part()
    assert one.digest() != two.digest()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (OWN, 'model.provider = "mycorp" (line 10): is no known provider. There are: glm, zai, openai, dashscope,'),
        (
            OWN.replace("mycorp", "mycrop") + TABLE,
            'model.provider = "mycrop" (line 10): is no known provider. Did you mean mycorp?',
        ),
        (
            SOUND.replace('"glm"', '"deepsek"'),
            'model.provider = "deepsek" (line 10): is no known provider. Did you mean',
        ),
        (OWN + TABLE + "speak = 'glm'", 'provider.mycorp.speak = "glm" (line 14): unknown key. Did you mean speaks?'),
        (OWN + TABLE + "speaks = 'anthropic'", 'provider.mycorp.speaks = "anthropic" (line 14): expected "openai" or'),
        (OWN + TABLE + "counts = 'all'", 'provider.mycorp.counts = "all" (line 14): expected "asked" or "used"'),
        (OWN + TABLE + "never_send = 'a'", 'provider.mycorp.never_send = "a" (line 14): expected a list of parameters'),
        (OWN + TABLE + "never_send = ['model']", 'provider.mycorp.never_send = ["model"] (line 14): model cannot be'),
        (
            OWN + TABLE + "call_id_header = 'authorization'",
            'provider.mycorp.call_id_header = "authorization" (line 14): is a header that a request needs',
        ),
        (OWN + TABLE + "call_id_header = 'X Y'", 'provider.mycorp.call_id_header = "X Y" (line 14): expected the name'),
        (OWN + TABLE + "api_key = 'sk-1'", "provider.mycorp.api_key = **** (line 14): keys never stand in a job"),
        (OWN + TABLE + "api_key_env = 'a b'", 'provider.mycorp.api_key_env = "a b" (line 14): expected the NAME of an'),
        (
            OWN + TABLE + "api_key_env = 'K'\nkey_file = 'k'",
            'provider.mycorp.key_file = "k" (line 15): stands beside api_key_env, and a key comes from one place',
        ),
        (
            OWN + TABLE + "key_command = '\"'",
            'provider.mycorp.key_command = "\\"" (line 14): has a quote that is not closed',
        ),
        (
            OWN + "[provider.mycorp]",
            "provider.mycorp.base_url (line 12): is missing: add base_url to [provider.mycorp]",
        ),
        (
            OWN + "[provider.mycorp]\nbase_url = 'http://u:p@h'",
            "provider.mycorp.base_url = **** (line 13): expected an http:// or https:// address without a password",
        ),
        (OWN + TABLE + "[provider.openai]\nbase_url = 'http://h'", "provider.openai (line 14): is built in: give the"),
        (OWN + TABLE + "[provider.My]\nbase_url = 'http://h'", "provider.My (line 14): is no name for a provider"),
        (SOUND + "[provider]\nbase_url = 'http://h'", "provider (line 12): has no name: write [provider.NAME]"),
        (
            SOUND + "[provider]\nx = 5\n[provider.y]\nbase_url = 'http://h'",
            "provider.x = 5 (line 13): expected a section",
        ),
    ],
)
def test_one_mistake_is_one_line_with_its_place(tmp_path: Path, text: str, expected: str) -> None:
    """Unknown keys are errors here as everywhere."""
    found = faults(tmp_path, text)
    assert len(found) == 1
    assert found[0].startswith(expected)


def test_a_table_that_is_no_table_is_refused_from_a_flag_too(tmp_path: Path) -> None:
    """`--set` names the flag as the place."""
    found = faults(tmp_path, SOUND, overrides=["provider=5"])
    assert found == ["provider = 5 (--set provider=5): expected a table with a name of its own: [provider.NAME]"]
    job = load(tmp_path, OWN + TABLE, overrides=["provider.mycorp.counts=used"])
    assert job.provider["mycorp"].counts == "used"


@pytest.mark.parametrize(
    ("tables", "path"),
    [
        ({"glm": ProviderSpec(base_url="http://h")}, "provider.glm"),
        ({"x": ProviderSpec(base_url="http://u@h")}, "provider.x.base_url"),
        ({"x": ProviderSpec(base_url="http://h", counts="m")}, "provider.x.counts"),  # type: ignore[arg-type]  # the fault
        ({}, "model.provider"),
    ],
)
def test_a_job_built_in_code_meets_the_same_checks(tmp_path: Path, tables: dict[str, Any], path: str) -> None:
    """The same rules without a file."""
    with pytest.raises(JobError) as caught:
        Job(
            name="n",
            folder=tmp_path,
            input=InputSpec(path=Path("a.jsonl")),
            prompt=PromptSpec(user="x"),
            model=ModelSpec(provider="x", name="m"),
            provider=tables,
        )
    assert any(fault.startswith(path) for fault in caught.value.faults)
