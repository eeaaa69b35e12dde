"""Keys from files and commands in whole runs: sent, renewed when they are refused, and found nowhere."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest

from tests.system.faults.key_campaign import Hunt, said, undisturbed, write
from tests.system.faults.key_ways import Answer, Asked, Way, completion, provider

OLD, NEW = "canary.old.Zq7kPw3mVx9tRb2cZq7k", "canary.new.Hn4uJs8dLy5fQe6gHn4u"
GOOD = completion('{"content": "fine"}')
REFUSED = Answer('{"error": {"code": "invalid_api_key", "message": "Incorrect API key provided"}}', status=401)


@contextmanager
def service(way: Way, folder: Path) -> Iterator[list[Asked]]:
    """A job of this way, its provider, and a key in its folder."""
    folder.mkdir()
    (folder / "some.key").write_text(OLD)
    (folder / "some.key").chmod(0o600)
    with undisturbed({}), provider(way, lambda: None) as (url, asked):
        write(folder, way, url)
        yield asked


def look_through(folder: Path, told: str) -> None:
    """Neither key in any file of the output folder, nor in what was said."""
    for key in (OLD, NEW):
        hunt = Hunt(key)
        hunt.text(told, "said")
        for path in (folder / "out").rglob("*"):
            if path.is_file():
                hunt.text(path.read_bytes().decode("latin-1"), str(path))


@pytest.mark.slow
@pytest.mark.parametrize("lane", ["sync", "stream"])
def test_a_key_that_ends_in_mid_run_is_fetched_again(lane: str, tmp_path: Path) -> None:
    """A token that is good for an hour, in a run of a week: no row fails, and the run does not stop."""
    job = tmp_path / "job"

    def answer(asked: Asked) -> Answer:
        if asked.number == 3:
            (job / "some.key").write_text(NEW)
        good = NEW if (job / "some.key").read_text() == NEW else OLD
        if asked.key != good:
            return REFUSED
        if lane == "sync":
            return GOOD
        chunk = {"choices": [{"index": 0, "delta": {"content": "fine"}, "finish_reason": "stop"}]}
        return Answer(f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n", headers={"Content-Type": "text/event-stream"})

    way = Way(answer, rows=8, lane=lane, model='key_command = ["cat", "some.key"]\n')
    with service(way, job) as asked:
        words = ("--set", "limits.max_attempts=8", "--wire-log", "--progress", "none")
        code, told = said("run", job, *words)
    assert code == 0, told
    keys = [one.key for one in asked]
    assert (keys[0], keys[-1]) == (OLD, NEW)
    with duckdb.connect() as table:
        found = table.execute(f"SELECT answer, status FROM '{job}/out/results/*.parquet'").fetchall()
    assert found == [("fine", "ok")] * 8
    look_through(job, told)


@pytest.mark.slow
def test_a_key_that_is_wrong_stops_the_run_after_one_more_look(tmp_path: Path) -> None:
    """Exit 6, as with a variable; the key file is what to look at."""
    way = Way(lambda _: REFUSED, rows=4, model='key_file = "some.key"\n')
    with service(way, tmp_path / "job") as asked:
        code, told = said("run", tmp_path / "job", "--set", "limits.max_attempts=8", "--progress", "none")
    assert code == 6, told
    assert len(asked) < 8
    assert "Check the key" in told
    look_through(tmp_path / "job", told)


def test_what_a_command_says_when_it_fails_is_found_nowhere(tmp_path: Path) -> None:
    """Exit 2, before anything is sent."""
    way = Way(lambda _: GOOD, model=f'key_command = ["sh", "-c", "echo {OLD} >&2; echo {OLD}; exit 1"]\n')
    with service(way, tmp_path / "job") as asked:
        code, told = said("run", tmp_path / "job", "--progress", "none")
    assert (code, asked) == (2, [])
    assert "model.key_command sh ended with exit code 1" in told
    look_through(tmp_path / "job", told)


def test_what_pays_is_sent_along_to_openai_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`check` names the variables; the headers are those of OpenAI's own clients."""
    way = Way(lambda _: GOOD, rows=1, model='key_file = "some.key"\n')
    with service(way, tmp_path / "job"):
        monkeypatch.setenv("OPENAI_ORG_ID", " org-1 ")
        monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-2")
        code, told = said("check", tmp_path / "job")
        assert code == 0, told
        assert "OPENAI_ORG_ID is sent along" in told
        monkeypatch.setenv("OPENAI_PROJECT_ID", "projé")
        code, told = said("check", tmp_path / "job")
        assert code == 2
        assert "OPENAI_PROJECT_ID holds characters that no header can carry" in told


def test_a_key_in_a_file_of_variables_signs_a_run_and_is_found_nowhere_though_the_provider_echoes_it(
    tmp_path: Path,
) -> None:
    """With the wire log; and afterwards the environment has it no more."""

    def answer(asked: Asked) -> Answer:
        return completion(json.dumps({"content": f"your key is {asked.key}"}))

    way = Way(answer, rows=3)
    file = tmp_path / "some.env"
    file.write_text(f"export OPENAI_API_KEY='{OLD}'\nPROMPTMILL_WIRE_LOG=true\nPROMPTMILL_PROGRESS=none\n")
    file.chmod(0o600)
    with service(way, tmp_path / "job") as asked:
        code, told = said("run", tmp_path / "job", "--env-file", file)
        assert "OPENAI_API_KEY" not in os.environ
    assert code == 0, told
    assert {one.key for one in asked} == {OLD}
    assert list((tmp_path / "job" / "out" / "wire").iterdir())
    with duckdb.connect() as table:
        found = table.execute(f"SELECT DISTINCT answer FROM '{tmp_path}/job/out/results/*.parquet'").fetchall()
    assert found == [("your key is [masked]",)]
    look_through(tmp_path / "job", told)
