"""Lane `stream` in whole runs: the same table as lane `sync`, whatever happens to the line."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.support.mixes import Mix
from tests.support.virtual import PatientClock, World, virtual
from tests.system.runs.conftest import ENVIRON, ID, KEY, SECRET, Make
from tests.system.runs.faulty import calls, faulty, finished, told
from tests.system.runs.test_refusals import everything_under
from tests.system.runs.test_stops import arrived, end, stop, until

OK = ("answered", None, None)
BOTH = pytest.mark.parametrize("provider", ["glm", "openai"])


@BOTH
def test_a_stream_gives_the_table_that_sync_gives(provider: str, make: Make) -> None:
    """Answers, reasoning, finish reasons, tokens and costs, row by row; the times of a stream stand in the book."""
    columns = "n, status, answer, reasoning, finish_reason, prompt_tokens, completion_tokens, cost, currency"
    mills = [make("", provider=provider, lane=lane, name=lane) for lane in ("sync", "stream")]
    for mill in mills:
        mill.questions(30)
        assert mill.run().exit_code == 0
        mill.check_table(30)
        mill.check_books()
    assert mills[0].results(columns) == mills[1].results(columns)
    assert mills[1].calls("min(first_chunk_ms) >= 0, min(longest_gap_ms) >= 0, min(lane), max(lane)") == [
        (True, True, "stream", "stream")
    ]


FAULTS = {
    36: [("unknown", "transport", "truncated_stream"), OK],
    38: [("unknown", "transport", "truncated_stream"), OK],
    39: [("unknown", "bad_payload", "broken_stream"), OK],
}


@BOTH
@pytest.mark.parametrize("number", FAULTS)
def test_fault_36_38_39_a_broken_stream_is_no_answer_and_is_asked_again(number: int, provider: str, make: Make) -> None:
    """It may have been billed, so its call is unknown."""
    mill = faulty(make, number, first=1, provider=provider, lane="stream")
    finished(mill, bounded=False)
    assert calls(mill) == FAULTS[number]


@BOTH
def test_fault_37_a_missing_last_word_costs_nothing(provider: str, make: Make) -> None:
    """The finish reason was there."""
    mill = faulty(make, 37, provider=provider, lane="stream")
    finished(mill)
    assert calls(mill) == [OK]


@BOTH
@pytest.mark.parametrize("form", ["comments", "crlf", "no_space", "keep_alives", "bom", "line_separator", "split"])
def test_fault_40_odd_framing_changes_no_letter(form: str, provider: str, make: Make) -> None:
    """Comments, CRLF, blank lines, marks, and characters cut between two writes."""
    mill = faulty(make, 40, provider=provider, lane="stream", form=form)
    finished(mill)
    odd = mill.results("answer")
    calm = make("", provider=provider, name="calm")
    calm.questions(4)
    assert calm.run().exit_code == 0
    assert odd == calm.results("answer")


@BOTH
@pytest.mark.parametrize(
    ("form", "kind"),
    [("error_frame", "content_filter"), ("sensitive", "content_filter"), ("network_error", None)],
)
def test_fault_41_text_that_is_withdrawn_is_not_kept(form: str, kind: str | None, provider: str, make: Make) -> None:
    """Filtered for good; an aborted inference is asked again."""
    mill = faulty(make, 41, first=1, provider=provider, lane="stream", form=form)
    finished(mill, failed=(1,) if kind else (), bounded=False)
    if kind:
        assert told(mill)[0] == kind
        assert [row for row in mill.results("n, answer") if row[0] == 1] == [(1, None)]


@BOTH
def test_fault_42_one_json_answer_to_a_stream_request_is_read(provider: str, make: Make) -> None:
    """A service that does not stream answers all the same."""
    mill = faulty(make, 42, provider=provider, lane="stream")
    finished(mill)
    assert calls(mill) == [OK]


def test_fault_43_44_first_chunk_and_silence_have_limits_of_their_own(make: Make) -> None:
    """Long before the whole call is over."""
    mill = faulty(make, 43, first=1, seconds=20, lane="stream")
    mill.limits.update(first_chunk_timeout_s=2.0, call_timeout_s=60)
    finished(mill, bounded=False)
    assert [state for state, *_ in calls(mill)] == ["unknown", "answered"]
    mill = faulty(make, 44, first=1, gap_s=20, lane="stream", name="gap")
    mill.limits.update(idle_timeout_s=2.0, call_timeout_s=60)
    finished(mill, bounded=False)
    assert [(state, kind) for state, kind, _ in calls(mill)] == [("unknown", "timeout"), ("answered", None)]


PACED = {"stream": {"chunks": 4}, "latency": {"first_chunk_ms": [100, 300], "chunk_ms": [20, 100]}}


@pytest.mark.parametrize(
    "mix",
    [
        Mix(2, "glm", "stream", in_flight=8, latency_ms=(200, 700)),
        Mix(3, "openai", "stream", rpm=300, latency_ms=(200, 700)),
        Mix(4, "openai", "stream", tpm=100_000, tokens=(200, 400), latency_ms=(200, 700)),
    ],
)
def test_a_limit_is_a_line_for_streams_too(mix: Mix, tmp_path: Path) -> None:
    """Slots are held to the end of a stream, and its tokens are counted when its usage comes."""
    clock = PatientClock()
    world = World(clock, {**mix.scenario(), **PACED})
    mix.write(tmp_path, mix.rows(50.0))
    report = virtual(tmp_path, world, mix.job, ENVIRON)
    assert (report.exit_code, report.totals.rows_failed, report.totals.refused) == (0, 0, 0)
    judge = world.app.provider.judge
    use = judge.use(5.0, min(report.elapsed_s - 5, 65.0), clock.monotonic())[0]
    print(mix.shares(use), report.elapsed_s)
    assert mix.faults(judge.verdict(60.0), use) == []


def test_a_provider_with_fewer_places_than_slots_is_found_out(tmp_path: Path) -> None:
    """1302 in place of a stream: no row fails, few are refused, and the places are used."""
    clock = PatientClock()
    mix = Mix(5, "glm", "stream", latency_ms=(200, 700))
    world = World(clock, {**PACED, "limits": {"in_flight": 8}})
    mix.write(tmp_path, 600)
    report = virtual(tmp_path, world, mix.job, ENVIRON)
    assert (report.exit_code, report.totals.rows_ok) == (0, 600)
    verdict = world.app.provider.judge.verdict(60.0)
    print(verdict["refused"], report.elapsed_s)
    assert 0 < sum(verdict["refused"].values()) <= 200
    assert report.elapsed_s <= 1.25 * 600 * 0.44 / 8 + 5


def test_the_second_signal_cuts_streams_in_the_middle_and_they_are_unknown(make: Make) -> None:
    """With the time of their first chunk; the next run asks them again."""
    mill = make("[stream]\nchunks = 50\n[latency]\nfirst_chunk_ms = [5, 10]\nchunk_ms = [400, 400]\n", lane="stream")
    mill.limits.update(concurrency=6, max_attempts=1)
    mill.questions(12)
    process = mill.start("--log-format", "json", "--wire-log")
    until(lambda: arrived(mill) >= 6, "six requests")
    until((mill.out / "status.json").exists, "a status")
    stop(process, signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    said = end(process)
    assert process.returncode == 4, said
    assert (
        mill.calls("state, error_code, prompt_tokens, cost, lane")
        == [("unknown", "run_stopped", None, None, "stream")] * 6
    )
    calm = make(name="other")
    mill.url, mill.sim = calm.url, calm.sim
    assert mill.run().exit_code == 0
    assert mill.one("unknown_calls") == [1] * 6 + [0] * 6
    mill.check_table(12)


@contextmanager
def streaming(*frames: bytes, then: tuple[threading.Event, threading.Event] | None = None) -> Iterator[str]:
    """Answers every request with these frames, each in a write of its own; `{a}` and `{b}` are parts of its key.

    The connection ends with them; or, after the first of `then` was set to say so, with the second of it.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            key = self.headers["Authorization"]
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            for one in frames:
                self.wfile.write(one.replace(b"{a}", key[:-9].encode()).replace(b"{b}", key[-9:].encode()))
                self.wfile.flush()
            if then is not None:
                written, over = then
                written.set()
                over.wait(60)

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _frame(finish: str | None = None, **delta: object) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2} if finish else None
    return b"data: " + json.dumps({"id": "1", "choices": [choice], "usage": usage}).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
ECHOES = {
    "across two chunks": (_frame(content="x {a}"), _frame(content="{b} y"), _frame("stop"), DONE),
    "in one chunk": (_frame(content="{a}{b}"), _frame("stop"), DONE),
    "in the reasoning": (
        _frame(reasoning_content="{a}"),
        _frame(reasoning_content="{b}"),
        _frame("stop", content="z"),
        DONE,
    ),
    "in an error": (b'data: {"error":{"code":"1210","message":"who is {a}{b}","request_id":"{a}{b}"}}\n\n',),
    "in a broken frame": (b'data: {"oops {a}{b}\n\n',),
    "in a stream that breaks off": (_frame(content="{a}"), _frame(content="{b}")),
    "in a finish reason": (_frame("{a}{b}", content="z"), DONE),
    "in a page": (b"<html>{a}{b}</html>",),
}


@pytest.mark.parametrize("place", ECHOES)
def test_a_key_that_is_echoed_in_pieces_is_nowhere(place: str, make: Make) -> None:
    """Promise 8: not in the results, the ledger, the wire log, nor in what is said; and nobody can put it together."""
    mill = make(lane="stream")
    mill.questions(1)
    mill.limits["max_attempts"] = 1
    with streaming(*ECHOES[place]) as mill.url:
        said = mill.command("--log-format", "json", "--wire-log")[1]
    found = everything_under(mill.out)
    for secret in (KEY, SECRET, ID):
        assert secret not in said
        assert secret.encode() not in found
    if place in ("across two chunks", "in the reasoning", "in a stream that breaks off"):
        assert SECRET[-9:].encode() not in found
        assert SECRET[:-9].encode() not in found
        assert b"cut over several chunks" in found


def test_the_wire_log_has_the_frames_as_they_came_once(make: Make) -> None:
    """Of a stream that broke off too, beside what became of it."""
    mill = faulty(make, 36, first=1, lane="stream")
    mill.run(wire_log=True)
    [path] = (mill.out / "wire").iterdir()
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert len(lines) == 5
    assert all(line["request"]["stream"] is True for line in lines)
    whole = [line for line in lines if "[DONE]" in line["reply"]]
    assert len(whole) == 4
    assert {line["reply"].count('finish_reason":"stop') for line in whole} == {1}
    [cut] = [line for line in lines if line not in whole]
    assert cut["reply"].startswith("data: {")
    mill = faulty(make, 44, first=1, gap_s=20, lane="stream", name="gap")
    mill.limits.update(idle_timeout_s=2.0)
    mill.run(wire_log=True)
    [path] = (mill.out / "wire").iterdir()
    [cut] = [line for line in map(json.loads, path.read_text("utf-8").splitlines()) if line["error"]]
    assert cut["error"]["kind"] == "timeout"
    assert cut["reply"].startswith("data: {")


def test_a_stream_through_a_proxy_is_folded_like_any_other(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """There httpx's own transport brings the body."""
    mill = make(lane="stream")
    mill.questions(5)
    with streaming(_frame(content="a"), _frame(content="b"), _frame("stop"), DONE) as proxy:
        mill.url = "http://far.example"
        monkeypatch.setenv("http_proxy", proxy)
        monkeypatch.delenv("no_proxy", raising=False)
        assert mill.run().exit_code == 0
    assert mill.results("answer, total_tokens, lane") == [("ab", 2, "stream")] * 5
    assert mill.calls("min(first_chunk_ms) >= 0") == [(True,)]


def test_a_second_signal_after_the_finish_reason_loses_no_answer(make: Make) -> None:
    """It is whole but for the end of its connection: booked as answered, published, and not bought again."""
    mill = make(lane="stream")
    mill.questions(1)
    written, over = threading.Event(), threading.Event()
    with streaming(_frame(content="a"), _frame("stop"), then=(written, over)) as mill.url:
        process = mill.start("--log-format", "json", "--wire-log")
        assert written.wait(60)
        stop(process, signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        said = end(process)
        over.set()
    assert process.returncode in (0, 4), said
    assert mill.calls("state, total_tokens") == [("answered", 2)]
    assert mill.results("answer, status") == [("a", "ok")]
