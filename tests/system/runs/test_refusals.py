"""What ends a run or a row: bad keys, bad models, bad lines, bad folders; and that the key is seen nowhere."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch.core.errors import InputError, JobError, OutputError, ProviderStop, SystematicFailure
from tests.simulator.conftest import Gate
from tests.system.runs.conftest import GLM_LANES, ID, KEY, OPENAI_KEY, SECRET, Make, Mill
from tests.system.runs.test_stops import end, submits, until


@contextmanager
def provider(status: int, body: str) -> Iterator[tuple[str, list[str]]]:
    """Answers every request the same; `{auth}` in the body is what the client sent as its key, `{turn}` a code in turn."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            asked.append(self.path)
            said = body.replace("{turn}", ("1301", "1261")[len(asked) % 2])
            data = said.replace("{auth}", self.headers["Authorization"]).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("X-Request-Id", self.headers["Authorization"] if "{auth}" in body else "request-1")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("lane", GLM_LANES)
def test_a_refused_key_stops_the_run_and_the_right_one_finishes_it(lane: str, make: Make) -> None:
    """Design 4: exit 6, nothing lost, nothing bought twice."""
    mill = make(lane=lane)
    mill.questions(40)
    assert mill.run(limit=10).exit_code == 0
    mill.environ["ZHIPUAI_API_KEY"] = "malformed-key"
    report = mill.run()
    assert (report.exit_code, report.state) == (6, "provider")
    assert isinstance(report.fault, ProviderStop)
    assert "1002" in str(report.fault)
    assert "key" in str(report.fault)
    assert len(mill.results("n")) == 10
    mill.environ["ZHIPUAI_API_KEY"] = KEY
    assert mill.run().exit_code == 0
    mill.check_table(40)
    assert mill.one("n") == list(range(40))
    assert sum(record["billed"] for record in mill.books()) == 40
    mill.check_books()


def test_tasks_in_work_survive_a_command_with_a_wrong_key(make: Make, gate: Gate) -> None:
    """Promise 2: the poll was refused, not the task."""
    mill = make(gate=gate, lane="task")
    mill.limits["concurrency"] = 8
    mill.questions(8)
    process = mill.start()
    until(lambda: submits(mill) >= 8, "eight tasks")
    process.terminate()
    end(process)
    gate.open()
    mill.environ["ZHIPUAI_API_KEY"] = "malformed-key"
    assert mill.run().exit_code == 6
    mill.environ["ZHIPUAI_API_KEY"] = KEY
    assert mill.run().exit_code == 0
    assert len(mill.books()) == 8, "a task was bought twice"
    mill.check_table(8)
    mill.check_books()


@pytest.mark.parametrize("provider_name", ["glm", "openai"])
def test_an_unknown_model_stops_the_run(provider_name: str, make: Make) -> None:
    """Design 4: exit 6, naming the model's place in the job."""
    mill = make('models = ["some-other"]\n', provider=provider_name)
    mill.questions(30)
    report = mill.run()
    assert report.exit_code == 6
    assert "model.name" in str(report.fault)
    assert len(mill.books()) <= 16
    mill.model = "some-other"
    assert mill.run().exit_code == 0
    mill.check_table(30)


def test_an_empty_account_stops_the_run_and_is_never_retried(mill: Mill) -> None:
    """protocol: 1113 comes as 429 and must never be retried."""
    mill.questions(30)
    mill.limits["concurrency"] = 4
    url = mill.url
    with provider(429, '{"error":{"code":"1113","message":"您的账户已欠费，请充值后重试。"}}') as (mill.url, asked):
        report = mill.run()
    assert report.exit_code == 6
    assert "1113" in str(report.fault)
    assert len(asked) <= 4
    mill.url = url
    assert mill.run().exit_code == 0
    mill.check_table(30)


def test_fifty_rows_failing_with_one_permanent_code_condemn_the_job(mill: Mill) -> None:
    """Promise 7: exit 1, with what to do next."""
    mill.questions(400)
    mill.more = "[model.parameters]\nmax_tokens = 200_000\n"
    report = mill.run()
    assert (report.exit_code, report.state) == (1, "systematic")
    assert isinstance(report.fault, SystematicFailure)
    assert "1210" in str(report.fault)
    assert 50 <= len(mill.books()) <= 66
    mill.check_table(len(mill.books()))
    mill.more = ""
    assert mill.run().exit_code == 0
    mill.check_table(400)


HOSTILE: list[tuple[str, str | bytes, str]] = [
    ("broken JSON", '{"id": "b1", "question": "What', "unreadable"),
    ("no object", "[1, 2]", "unreadable"),
    ("too long", json.dumps({"id": "b2", "question": "x" * 5_000}), "too_long"),
    ("no key", json.dumps({"question": "Which?"}), "no_key"),
    ("null key", json.dumps({"id": None, "question": "Which one?"}), "no_key"),
    ("same key", json.dumps({"id": "r1", "question": "Again?"}), "duplicate_key"),
    ("no column", json.dumps({"id": "b3", "question": None}), "empty"),
    ("not UTF-8", b'{"id": "b4", "question": "\xff"}', "unreadable"),
]


@pytest.mark.parametrize("lane", GLM_LANES)
def test_hostile_rows_are_one_failed_row_each_and_all_others_are_ok(lane: str, make: Make) -> None:
    """Promise 7."""
    mill = make(lane=lane)
    mill.key = "id"
    mill.user = "{{ question }}{% if question is none %}{{ question.no.such }}{% endif %}"
    mill.more = ""
    good = [json.dumps({"id": f"r{n}", "question": f"What of {n}?"}) for n in range(40)]
    lines: list[bytes] = [line.encode() for line in good]
    for place, (_, line, _) in enumerate(HOSTILE):
        lines.insert(3 + 4 * place, line if isinstance(line, bytes) else line.encode())
    (mill.folder / mill.input).write_bytes(b"\n".join(lines) + b"\n")
    job = mill.save() / "job.toml"
    job.write_text(job.read_text().replace('path = "rows.jsonl"', 'path = "rows.jsonl"\nmax_row_bytes = 2000', 1))
    mill.save = lambda: mill.folder  # type: ignore[method-assign]  # the job is written by hand
    report = mill.run()
    assert report.exit_code == 1
    mill.check_table(48)
    found = mill.results("row_id, status, error_code, error_message, retryable, calls")
    failed = [row for row in found if row[1] == "failed"]
    assert [row[2] for row in failed] == [code for _, _, code in HOSTILE]
    assert all(row[4] is False and row[5] == 0 for row in failed)
    assert [found.index(row) for row in failed] == [3 + 4 * place for place in range(len(HOSTILE))]
    for place, row in enumerate(failed):
        assert f"rows.jsonl line {4 + 4 * place}" in row[3]
        assert row[0].startswith("bad-") == (row[2] in ("unreadable", "too_long")), row
    assert len(mill.books()) == 40
    assert mill.run().state == "nothing_to_do"


def test_a_line_that_was_mended_runs_and_the_others_are_left_alone(mill: Mill) -> None:
    """Design 4: new rows run. Nothing was paid for the row of the broken line, and it is gone with that line."""
    rows = [json.dumps(row) for row in mill.questions(10)]
    (mill.folder / mill.input).write_text("\n".join([*rows[:4], rows[4][:-3], *rows[5:]]) + "\n")
    assert mill.run().exit_code == 1
    (mill.folder / mill.input).write_text("\n".join(rows) + "\n")
    assert mill.run().exit_code == 0
    assert len(mill.books()) == 10
    assert mill.one("row_number") == [0, 1, 2, 3, 5, 6, 7, 8, 9, 10]


def untouched(mill: Mill) -> bool:
    return not mill.out.exists() or not any(path.is_file() for path in mill.out.rglob("*"))


def test_a_template_column_that_does_not_exist_is_refused_before_anything_is_written(mill: Mill) -> None:
    """Design 4: exit 2."""
    mill.questions(3)
    mill.user = "{{ qestion }}"
    with pytest.raises(JobError, match=r"qestion.*question") as caught:
        mill.run()
    assert caught.value.exit_code == 2
    assert untouched(mill)


@pytest.mark.parametrize("what", ["missing", "folder", "truncated", "no parquet", "empty name"])
def test_an_input_that_cannot_be_read_is_refused_naming_it(what: str, mill: Mill) -> None:
    """Design 4: exit 2, place and way out, nothing written."""
    mill.input = "rows.parquet"
    path = mill.folder / "rows.parquet"
    if what == "folder":
        path.mkdir()
    if what in ("truncated", "no parquet"):
        pq.write_table(pa.table({"question": ["a" * 100] * 100}), path)
        path.write_bytes(path.read_bytes()[:-20] if what == "truncated" else b"nothing of the kind" * 10)
    if what == "empty name":
        path.touch()
    with pytest.raises(InputError, match=r"rows\.parquet") as caught:
        mill.run()
    assert caught.value.exit_code == 2
    assert untouched(mill)


def test_results_without_a_ledger_are_refused(mill: Mill) -> None:
    """Design 5: exit 2; nobody can tell which rows they answer."""
    mill.questions(3)
    assert mill.run().exit_code == 0
    (mill.out / "ledger.db").unlink()
    with pytest.raises(OutputError, match=r"ledger\.db"):
        mill.run()
    mill.check_table(3)


def test_a_missing_part_is_told_by_name_when_it_must_be_rewritten(mill: Mill) -> None:
    """Promise 1: a table that somebody took rows from is not silently rebuilt smaller."""
    mill.key = "n"
    rows = mill.questions(10)
    assert mill.run().exit_code == 0
    (mill.out / "results" / "part-00000.parquet").rename(mill.folder / "kept.parquet")
    rows[3]["question"] = "Changed?"
    mill.write(rows)
    with pytest.raises(OutputError, match=r"part-00000\.parquet: is missing"):
        mill.run()
    (mill.folder / "kept.parquet").rename(mill.out / "results" / "part-00000.parquet")
    assert mill.run().exit_code == 0
    mill.check_table(10)
    assert len(mill.books()) == 11


def everything_under(folder: Path) -> bytes:
    """Every byte of every file, Parquet columns unpacked."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            found.append(path.read_bytes())
            if path.suffix == ".parquet":
                found.append(repr(pq.read_table(path).to_pylist()).encode())
            if path.suffix == ".arrow":
                found.append(repr(pa.ipc.open_file(path).read_all().to_pylist()).encode())
    return b"\n".join(found)


@pytest.mark.parametrize("log", ["console", "json"])
@pytest.mark.parametrize(("status", "code"), [(400, "1210"), (401, "1002"), (500, "1200"), (200, "1301")])
def test_the_key_is_nowhere_even_when_the_provider_echoes_it(status: int, code: str, log: str, mill: Mill) -> None:
    """Promise 8."""
    mill.questions(4)
    mill.limits["max_attempts"] = 1
    body = json.dumps({"error": {"code": code, "message": "who is {auth}? {auth}"}})
    with provider(status, body) as (mill.url, _):
        exit_code, said = mill.command("--log-format", log, "--debug")
    assert exit_code in (1, 6), said
    for secret in (SECRET, KEY, ID):
        assert secret not in said
        assert secret.encode() not in everything_under(mill.out), secret


ECHOES = {
    "code": (400, '{"error":{"code":"{auth}","message":"no"}}'),
    "page": (502, "<html><body>{auth} was refused</body></html>"),
    "flat": (400, '{"code":"{auth}","msg":"{auth}","success":false}'),
    "id": (400, '{"error":{"code":"1210","message":"no"},"request_id":"{auth}"}'),
    "model": (200, '{"id":"{auth}","model":"{auth}","choices":[{"finish_reason":"{auth}","message":{"content":"x"}}]}'),
}


@pytest.mark.parametrize("place", ECHOES)
def test_the_key_is_nowhere_wherever_in_its_answer_the_provider_echoes_it(place: str, mill: Mill) -> None:
    """Promise 8: not the message alone is theirs to fill."""
    mill.questions(2)
    mill.limits["max_attempts"] = 1
    with provider(*ECHOES[place]) as (mill.url, _):
        said = mill.command("--log-format", "json")[1]
    assert SECRET not in said
    assert SECRET.encode() not in everything_under(mill.out)


def test_the_key_of_a_run_in_good_health_is_nowhere_either(make: Make) -> None:
    """Promise 8: ledger, results, calls, run files, status, logs."""
    for name, key in (("glm", SECRET), ("openai", OPENAI_KEY)):
        mill = make(provider=name, name=name)
        mill.questions(20)
        exit_code, said = mill.command("--log-format", "json")
        assert exit_code == 0
        assert key not in said
        assert key.encode() not in everything_under(mill.out)
