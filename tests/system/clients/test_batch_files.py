"""openai, zai-sdk and zhipuai, unmodified: from a file of lines to a file of answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.simulator.conftest import HandClock, Start
from tests.simulator.filed import SLOW
from tests.system.clients.asked import HELLO
from tests.system.clients.conftest import Client, Glm

COUNT = 30


def written(folder: Path, url: str, model: str) -> Path:
    """A file of lines."""
    path = folder / "input.jsonl"
    body = {"model": model, "messages": HELLO}
    lines = [{"custom_id": f"call-{n}", "method": "POST", "url": url, "body": body} for n in range(COUNT)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def read(content: bytes) -> dict[str, dict[str, Any]]:
    """The lines of a file by their custom id."""
    return {line["custom_id"]: line for line in map(json.loads, content.splitlines())}


def test_openai_goes_all_the_way(start: Start, connect: Client, tmp_path: Path) -> None:
    """Upload, create, retrieve, list page by page, download, delete; what was booked is what it is told."""
    clock = HandClock()
    sim = start(SLOW, clock)
    client = connect(sim)
    with written(tmp_path, "/v1/chat/completions", "gpt-4o-mini").open("rb") as file:
        uploaded = client.files.create(file=file, purpose="batch")
    assert (uploaded.filename, uploaded.purpose, uploaded.status) == ("input.jsonl", "batch", "processed")
    made = client.batches.create(
        input_file_id=uploaded.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        metadata={"run": "r1", "wave": "3"},
    )
    assert (made.status, made.metadata) == ("validating", {"run": "r1", "wave": "3"})
    clock.move(50)
    assert client.batches.retrieve(made.id).status == "in_progress"
    clock.move(50)
    done = client.batches.retrieve(made.id)
    assert (done.status, done.error_file_id) == ("completed", None)
    assert done.request_counts is not None
    assert (done.request_counts.total, done.request_counts.completed) == (COUNT, COUNT)
    assert done.output_file_id is not None
    answers = read(client.files.content(done.output_file_id).content)
    assert set(answers) == {f"call-{n}" for n in range(COUNT)}
    booked = [record for record in sim.books() if record["route"] == "line"]
    assert done.usage is not None
    assert done.usage.total_tokens == sum(record["total_tokens"] for record in booked)
    assert {record["service_tier"] for record in booked} == {"batch"}
    others = [
        client.batches.create(input_file_id=uploaded.id, endpoint="/v1/chat/completions", completion_window="24h").id
        for _ in range(4)
    ]
    assert client.batches.cancel(others[0]).status == "cancelling"
    assert [batch.id for batch in client.batches.list(limit=2)] == [*reversed(others), made.id]
    assert len(list(client.files.list(limit=1, purpose="batch"))) == 1
    assert client.files.retrieve(uploaded.id).bytes == uploaded.bytes
    assert client.files.delete(uploaded.id).deleted


def test_openai_is_told_what_is_wrong_with_a_file(start: Start, connect: Client) -> None:
    """The batch fails, with the number of the line; a file that is not there is a 404."""
    clock = HandClock()
    client = connect(start(SLOW, clock))
    uploaded = client.files.create(file=("bad.jsonl", b"{not json\n"), purpose="batch")
    made = client.batches.create(input_file_id=uploaded.id, endpoint="/v1/chat/completions", completion_window="24h")
    clock.move(100)
    failed = client.batches.retrieve(made.id)
    assert failed.status == "failed"
    assert failed.errors is not None
    assert failed.errors.data is not None
    assert [(error.code, error.line) for error in failed.errors.data] == [("invalid_json_line", 1)]
    with pytest.raises(openai.NotFoundError):
        client.files.content("file-nobody")


def test_the_glm_clients_go_all_the_way(start: Start, glm: Glm, tmp_path: Path) -> None:
    """Upload, create, retrieve, list, download; times in milliseconds, and an empty text for a file that is not there."""
    clock = HandClock()
    sim = start(SLOW, clock)
    client = glm.of(sim)
    with written(tmp_path, "/v4/chat/completions", "glm-4-plus").open("rb") as file:
        uploaded = client.files.create(file=file, purpose="batch")
    assert uploaded.id
    made = client.batches.create(
        input_file_id=uploaded.id,
        endpoint="/v4/chat/completions",
        completion_window="24h",
        metadata={"run": "r1"},
    )
    assert (made.status, made.metadata, made.output_file_id) == ("validating", {"run": "r1"}, None)
    clock.move(50)
    working = client.batches.retrieve(made.id)
    assert (working.status, working.output_file_id) == ("in_progress", "")
    assert working.created_at > 10**12
    clock.move(50)
    done = client.batches.retrieve(made.id)
    assert (done.status, done.error_file_id) == ("completed", "")
    assert (done.request_counts.total, done.request_counts.completed) == (COUNT, COUNT)
    answers = read(client.files.content(done.output_file_id).content)
    assert set(answers) == {f"call-{n}" for n in range(COUNT)}
    assert {line["id"] for line in answers.values()} == {made.id}
    assert [batch.id for batch in client.batches.list(limit=10)] == [made.id]
    booked = [record for record in sim.books() if record["route"] == "line"]
    assert len(booked) == COUNT
    assert all(record["billed"] and record["delivered"] for record in booked)


def test_the_glm_clients_cancel_a_batch(start: Start, glm: Glm, tmp_path: Path) -> None:
    """What was done until then is there."""
    clock = HandClock()
    client = glm.of(start(SLOW, clock))
    with written(tmp_path, "/v4/chat/completions", "glm-4-plus").open("rb") as file:
        uploaded = client.files.create(file=file, purpose="batch")
    made = client.batches.create(input_file_id=uploaded.id, endpoint="/v4/chat/completions")
    clock.move(50)
    assert client.batches.cancel(made.id).status == "cancelling"
    clock.move(50)
    done = client.batches.retrieve(made.id)
    assert done.status == "cancelled"
    assert 0 < len(read(client.files.content(done.output_file_id).content)) < COUNT
