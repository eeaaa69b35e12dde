"""`--wire-log`: every exchange on disk with the keys masked, and never at the cost of the run."""

from __future__ import annotations

import base64
import json
import os
import stat
import threading
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from batch.core import redaction
from batch.core.clock import Clock
from batch.core.records import Failure, Incoming, Lane, Outgoing
from batch.http import wirelog
from batch.http.wirelog import WireLog
from tests.system.runs.conftest import ID, KEY, SECRET, Make, Mill
from tests.system.runs.test_refusals import provider

RUN = "20261121T020000123Z-a1b2"
URL = "https://api.example/v4"


class Call:
    """What an exchange is told to belong to."""

    def __init__(self, number: int = 0) -> None:
        self.call_id = f"pm-{number}"
        self.row_id = f"row-{number}"
        self.turn = 1
        self.attempt = 2
        self.lane: Lane = "task"
        self.base_url: str | None = None
        self.exchange_began = Clock().monotonic()


def lines(folder: Path) -> list[dict[str, Any]]:
    """Everything written, file after file."""
    return [json.loads(line) for path in sorted(folder.iterdir()) for line in path.read_text("utf-8").splitlines()]


def outgoing(body: Any) -> Outgoing:
    return Outgoing("/chat", (("Authorization", f"Bearer {KEY}"),), body if isinstance(body, bytes) else _json(body))


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    """One key is hidden, as making its credentials does."""
    monkeypatch.setattr(redaction, "process", redaction.Masker())
    redaction.hide(KEY)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "out" / "wire"


@pytest.fixture
def log(folder: Path) -> Iterator[WireLog]:
    """A log that is open; tests close it themselves to see what is in it."""
    log = WireLog(folder, RUN, base_url=URL, clock=Clock())
    yield log
    log.close()


@pytest.mark.parametrize("lane", ["sync", "task"])
def test_every_attempt_and_every_poll_of_a_run_is_written_down(lane: str, make: Make) -> None:
    """With row, turn, attempt and the call's id, so that it is found from the book of account and from `show`."""
    mill = make(lane=lane)
    mill.questions(3)
    assert mill.run(wire_log=True).exit_code == 0
    found = lines(mill.out / "wire")
    sent = [line for line in found if line["method"] == "POST"]
    assert {line["client_call_id"] for line in sent} == {record["client_call_id"] for record in mill.books()}
    assert {line["row_id"] for line in sent} == set(mill.one("row_id"))
    assert {line["request"]["messages"][0]["content"] for line in sent} == set(mill.one("question"))
    polls = [line for line in found if line["method"] == "GET"]
    assert len(polls) == (sum(row[0] for row in mill.calls("polls")) if lane == "task" else 0)
    assert all(line["status"] == 200 and line["reply"]["id"] and line["latency_ms"] >= 0 for line in found)
    assert all(line["url"].startswith(f"{mill.url}/api/paas/v4/") for line in found)
    (path,) = (mill.out / "wire").iterdir()
    assert path.name == f"{mill.runs()[0]['run']}-00000.jsonl"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_nothing_is_written_without_the_flag(mill: Mill) -> None:
    """Prompts and answers stand in it."""
    mill.questions(1)
    mill.run()
    assert not (mill.out / "wire").exists()


def test_a_key_that_the_provider_echoes_is_in_no_file(mill: Mill) -> None:
    """In the body and in a header."""
    mill.questions(2)
    with provider(400, '{"error":{"code":"1214","message":"you sent {auth}"}}') as (mill.url, _):
        mill.run(wire_log=True)
    text = "".join(path.read_text("utf-8") for path in (mill.out / "wire").iterdir())
    assert text.count("you sent") == 2
    assert SECRET not in text
    assert ID not in text


FORMS = {
    "as it is": KEY,
    "its secret part": SECRET,
    "its first part": ID,
    "in capitals": KEY.upper(),
    "in hex": KEY.encode().hex(),
    "percent-encoded": urllib.parse.quote(f"Bearer {KEY}", safe=""),
    "base64": base64.b64encode(KEY.encode()).decode(),
    "base64 behind a user": base64.b64encode(f"u:{KEY}".encode()).decode(),
    "base64 behind a longer user": base64.b64encode(f"me:{KEY}:x".encode()).decode(),
    "base64 of four more": base64.urlsafe_b64encode(f"user{KEY}!!".encode()).decode(),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("where", ["value", "name", "escaped", "text", "header"])
def test_a_key_is_masked_in_every_form_and_place(form: str, where: str, folder: Path, log: WireLog) -> None:
    """A reply is what a stranger wrote."""
    told = FORMS[form]
    escaped = "".join(f"\\u{ord(char):04x}" for char in told)
    body = {
        "value": _json({"deep": [{"x": f"key={told} refused"}]}),
        "name": _json({told: 1}),
        "escaped": f'{{"x": "{escaped}"}}'.encode(),
        "text": f"<html>{told}</html>".encode(),
        "header": b"{}",
    }[where]
    log(Call(), outgoing({"q": 1}), Incoming(400, {"x-echo": told} if where == "header" else {}, body))
    log.close()
    text = "".join(path.read_text("utf-8") for path in folder.iterdir())
    assert "[masked]" in text
    core = {"base64": 30, "base64 behind a user": 30}.get(form, len(told))
    assert told not in text
    assert told[4 : 4 + core][8:32] not in text
    for part in (KEY, SECRET, ID):
        assert part.lower() not in text.lower()


def test_requests_replies_and_faults_are_kept_as_they_are_otherwise(folder: Path, log: WireLog) -> None:
    """JSON as a value, all else as text; numbers keep their digits; half a surrogate breaks nothing."""
    log(Call(1), outgoing({"n": 9007199254740993, "t": "表"}), Incoming(200, {"a": "b"}, b'{"x": 1e400, "y": NaN}'))
    log(Call(2), outgoing({"t": "\ud800"}), Incoming(502, {}, b"\xff<html>"))
    cut = Failure(kind="timeout", verdict="retry", message="no answer", sent=True, answered=False)
    log(Call(3), Outgoing("async-result/7", ()), cut)
    log(Call(4), outgoing(b"[" * 100_000), Incoming(204, {}, b""))
    log.close()
    first, second, third, fourth = lines(folder)
    assert first["request"] == {"n": 9007199254740993, "t": "表"}
    assert first["request_headers"] == {"Authorization": "[masked]"}
    assert (first["reply"]["y"], first["reply_headers"], first["error"]) == ("NaN", {"a": "b"}, None)
    assert (first["client_call_id"], first["row_id"], first["turn"], first["attempt"]) == ("pm-1", "row-1", 1, 2)
    assert (second["status"], second["reply"]) == (502, "�<html>")
    assert (third["method"], third["url"]) == ("GET", f"{URL}/async-result/7")
    assert third["error"] == {"kind": "timeout", "code": None, "message": "no answer", "sent": True}
    assert (third["status"], third["request"], third["reply"]) == (None, None, None)
    assert fourth["request"] == "[" * 100_000
    assert fourth["reply"] is None


def test_images_are_cut_to_hash_and_length(folder: Path, log: WireLog) -> None:
    """A megabyte of base64 a line would hide what one looks for; ids and texts stay whole."""
    image = base64.b64encode(os.urandom(30_000)).decode()
    text = "word " * 2_000
    body = {"a": f"data:image/png;base64,{image}", "b": image, "c": text, "d": image[:300]}
    log(Call(), outgoing(body), Incoming(200, {}, b"{}"))
    log.close()
    (line,) = lines(folder)
    found = line["request"]
    assert found["a"].startswith("data:image/png;base64,[sha256 ")
    assert found["a"].endswith(", 40000 characters]")
    assert found["b"] == found["a"].removeprefix("data:image/png;base64,")
    assert (found["c"], found["d"]) == (text, image[:300])


def test_files_follow_each_other_and_the_oldest_go(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """64 MB each, 1 GB in all, those of earlier runs first; here in small."""
    monkeypatch.setattr(wirelog, "FILE_BYTES", 4_000)
    monkeypatch.setattr(wirelog, "FOLDER_BYTES", 20_000)
    folder.mkdir(parents=True)
    (folder / "20250101T000000000Z-old0-00000.jsonl").write_text("{}\n" * 1_000)
    log = WireLog(folder, RUN, base_url=URL, clock=Clock())
    for number in range(100):
        log(Call(number), outgoing({"q": "x" * 200}), Incoming(200, {}, b"{}"))
    log.close()
    found = sorted(folder.iterdir())
    assert sum(path.stat().st_size for path in found) <= 20_000
    assert all(path.stat().st_size <= 4_000 and path.name.startswith(RUN) for path in found)
    assert lines(folder)[-1]["client_call_id"] == "pm-99"
    numbers = [line["client_call_id"] for line in lines(folder)]
    assert numbers == [f"pm-{number}" for number in range(100 - len(numbers), 100)]


def test_a_continued_run_writes_behind_the_files_of_the_killed_one(folder: Path) -> None:
    """Whose last line may be torn."""
    for _ in range(2):
        log = WireLog(folder, RUN, base_url=URL, clock=Clock())
        log(Call(), outgoing({}), Incoming(200, {}, b"{}"))
        log.close()
    assert sorted(path.name for path in folder.iterdir()) == [f"{RUN}-00000.jsonl", f"{RUN}-00001.jsonl"]


def test_a_clean_stop_writes_all_and_what_comes_later_is_let_go(folder: Path, log: WireLog) -> None:
    """Ten thousand lines handed over in a row; closing waits for the last."""
    for number in range(3_000):
        log(Call(number), outgoing({}), Incoming(200, {}, b"{}"))
    log.close()
    assert len(lines(folder)) == 3_000
    log(Call(), outgoing({}), Incoming(200, {}, b"{}"))
    log.close()
    assert len(lines(folder)) == 3_000


def test_lines_are_left_out_and_counted_when_the_disk_is_too_slow(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event loop waits once and shortly, never for each line."""
    monkeypatch.setattr(wirelog, "QUEUE_LINES", 10)
    gate, inside = threading.Event(), threading.Event()
    write = wirelog._Files.add

    def slow(files: Any, line: bytes) -> None:
        inside.set()
        assert gate.wait(60)
        write(files, line)

    monkeypatch.setattr(wirelog._Files, "add", slow)
    log = WireLog(folder, RUN, base_url=URL, clock=Clock())
    log(Call(0), outgoing({}), Incoming(200, {}, b"{}"))
    assert inside.wait(60)
    began = Clock().monotonic()
    for number in range(1, 1_000):
        log(Call(number), outgoing({}), Incoming(200, {}, b"{}"))
    assert Clock().monotonic() - began < 5
    gate.set()
    log.close()
    found = lines(folder)
    assert [line["client_call_id"] for line in found if "lost" not in line] == [f"pm-{n}" for n in range(11)]
    assert sum(line.get("lost", 0) for line in found) == 1_000 - 11


def test_a_disk_that_refuses_ends_the_log_with_one_warning_and_not_the_run(
    mill: Mill, caplog: pytest.LogCaptureFixture, unasked_logs: None
) -> None:
    """What is asked is paid for; a file in the place of the folder stands for any refusal."""
    mill.questions(30)
    mill.out.mkdir()
    (mill.out / ".lock").touch()  # a run was here
    (mill.out / "wire").write_text("in the way")
    assert mill.run(wire_log=True).exit_code == 0
    mill.check_table(30)
    said = "\n".join(caplog.messages)
    assert said.count("wire_log_stopped") == 1
    assert "File exists" in said
