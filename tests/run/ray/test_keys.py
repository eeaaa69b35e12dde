"""Keys on the machine of a worker: found there as the job says, found anew when the core had to, and told when they lack."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from batch.core.errors import RefusedToStart
from batch.job.job import Job
from batch.providers import registry
from batch.providers.pool import resolve_all
from batch.run.fleet.messages import Hello, KeyPlace, encode_keyless
from batch.run.ray.keys import NodeKey, hello_of, lacking, node_keys, places_of

KEY = "abcdefabcdefabcd.SecretSecret1234"
JOB = """
name = "j"
[input]
path = "rows.jsonl"
[prompt]
user = "{{ text }}"
[model]
name = "glm-4"
base_url = "http://127.0.0.1:1/v4"
"""


def hello(keys: dict[str, KeyPlace], provider: str = "glm") -> Hello:
    return Hello(0, provider, {}, "http://127.0.0.1:1/v4", 1.0, 1.0, 1.0, keep_raw=False, keys=keys)


def node_key(place: KeyPlace, provider: str = "glm") -> NodeKey:
    """The only key of a job."""
    return node_keys(hello({"": place}, provider))[""]


def job(folder: Path, text: str) -> Job:
    (folder / "job.toml").write_text(JOB + text, encoding="utf-8")
    return Job.load(folder)


def authorization(key: NodeKey) -> str:
    ((name, value),) = key.headers()
    assert name == "Authorization"
    return str.__str__(value)


def test_a_variable_is_looked_at_where_the_worker_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", KEY)
    assert authorization(node_key(KeyPlace("SOME_KEY"))) == f"Bearer {KEY}"


def test_the_usual_variables_are_looked_at_where_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ZAI_API_KEY", "ZHIPUAI_API_KEY", "ZHIPU_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ZHIPU_API_KEY", KEY)
    assert authorization(node_key(KeyPlace())) == f"Bearer {KEY}"


def test_a_key_that_is_signed_goes_out_as_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", KEY)
    token = authorization(node_key(KeyPlace("SOME_KEY", "jwt")))
    assert token.startswith("Bearer eyJ")
    assert KEY not in token


def test_a_service_that_wants_no_key_gets_none() -> None:
    key = node_key(KeyPlace(), "vllm")
    assert key.headers() == ()
    key.renew(3)


def several(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Hello:
    """What workers are told of two keys of one service, and of an address with the key of all."""
    for number, name in enumerate(("FIRST", "SECOND", "OF_ALL")):
        monkeypatch.setenv(name, f"{KEY}{number}")
    ends = [("first", 'api_key_env = "FIRST"'), ("second", 'api_key_env = "SECOND"'), ("third", "")]
    told = ", ".join(
        f'{{ name = "{name}", base_url = "http://127.0.0.1:1/v4"{more and f", {more}"} }}' for name, more in ends
    )
    text = f'provider = "glm"\napi_key_env = "OF_ALL"\nendpoints = [{told}]'
    (folder / "job.toml").write_text(JOB.replace('base_url = "http://127.0.0.1:1/v4"', "") + text, encoding="utf-8")
    of_several, faults = Job.load(folder), list[str]()
    found = resolve_all(of_several.model, {}, folder=folder, environ=os.environ, faults=faults)
    assert faults == []
    return hello_of(of_several, found["first"], found)


def test_each_of_several_addresses_has_its_own_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = several(tmp_path, monkeypatch)
    assert {name: place.variable for name, place in asked.keys.items()} == {
        "first": "FIRST",
        "second": "SECOND",
        "third": "OF_ALL",
    }
    found = {name: authorization(key) for name, key in node_keys(asked).items()}
    assert found == {"first": f"Bearer {KEY}0", "second": f"Bearer {KEY}1", "third": f"Bearer {KEY}2"}
    assert KEY.encode() not in encode_keyless(asked)


def test_whose_key_is_missing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = encode_keyless(several(tmp_path, monkeypatch))
    assert lacking(asked) is None
    monkeypatch.delenv("SECOND")
    told = lacking(asked)
    assert told is not None
    assert told.startswith("model.endpoints (second): ")
    assert "SECOND is not set" in told


def test_a_missing_key_is_told_as_on_any_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SOME_KEY", raising=False)
    with pytest.raises(RefusedToStart, match="SOME_KEY is not set"):
        node_key(KeyPlace("SOME_KEY"))
    with pytest.raises(RefusedToStart, match="model.key_file .*there is no such file"):
        node_key(KeyPlace(where="model.key_file", file=str(tmp_path / "key")))


def test_a_file_is_read_again_when_the_core_has_another_key(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(KEY)
    key = node_key(KeyPlace(where="model.key_file", file=str(file)))
    file.write_text(f"{KEY}5")
    key.renew(0)
    key.wait()
    assert authorization(key) == f"Bearer {KEY}"
    key.renew(1)
    key.wait()
    assert authorization(key) == f"Bearer {KEY}5"
    file.write_text(f"{KEY}6")
    key.renew(1)  # that is done
    key.wait()
    assert authorization(key) == f"Bearer {KEY}5"


def test_the_old_key_stays_when_no_other_is_found(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(KEY)
    key = node_key(KeyPlace(where="model.key_file", file=str(file)))
    file.unlink()
    key.renew(1)
    key.wait()
    assert authorization(key) == f"Bearer {KEY}"


@pytest.mark.slow
def test_a_command_is_run_where_the_worker_is(tmp_path: Path) -> None:
    program = tmp_path / "keys.py"
    program.write_text(f"print('{KEY}')")
    place = KeyPlace(where="model.key_command", command=(sys.executable, str(program)), folder=str(tmp_path))
    key = node_key(place)
    assert authorization(key) == f"Bearer {KEY}"
    program.write_text(f"print('{KEY}5')")
    key.renew(1)
    key.wait()
    assert authorization(key) == f"Bearer {KEY}5"


def test_where_a_key_is_comes_from_the_job_and_holds_wherever_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY)
    of_file = job(tmp_path, 'provider = "glm"\nkey_file = "key"')
    source = registry.key_source(of_file.model, of_file.provider, tmp_path)
    endpoint = registry.resolve("glm", base_url="http://127.0.0.1:1/v4", api_key_env=None, environ={}, source=source)
    place = places_of(of_file, endpoint, {})[""]
    assert (place.where, place.file, place.variable) == ("model.key_file", str(tmp_path / "key"), None)
    table = '[provider.mine]\nbase_url = "http://127.0.0.1:1/v1"\napi_key_env = "MINE"'
    of_table = job(tmp_path, f'provider = "mine"\n{table}')
    tables = of_table.provider
    endpoint = registry.resolve("mine", base_url=None, api_key_env=None, environ={"MINE": KEY}, tables=tables)
    assert places_of(of_table, endpoint, {}) == {"": KeyPlace("MINE")}
    asked = hello_of(of_table, endpoint, {})
    assert asked.tables["mine"].api_key_env is None
    assert KEY not in repr(asked)
