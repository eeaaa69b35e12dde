"""Whole runs over two models, one of which answers nobody for a while: the other goes on, as far as the disk may be used."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support import processes
from tests.system.runs.conftest import Mill

SLOW, FAST = "gpt-5-mini", "gpt-5-nano"
ROWS = 60
FEW = """
import sys
from batch.run import intake
from batch.__main__ import main
intake.LOW_WATER = 20
sys.exit(main())
"""
"""The command, for which few rows that wait are many."""


class Provider(ThreadingHTTPServer):
    """Answers one model at once and the other only when it is released."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.released = threading.Event()
        self.asked: Counter[tuple[str, str]] = Counter()
        """By model and question, how often it was asked."""
        self.order: list[str] = []
        """The models, as they were asked."""

    def questions(self, model: str) -> list[int]:
        """How often each question was asked of a model."""
        return [times for (of, _), times in self.asked.items() if of == model]

    def handle_error(self, *_: Any) -> None:
        """A client that was killed is no error."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Provider

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.order.append(asked["model"])
        self.server.asked[asked["model"], asked["messages"][0]["content"]] += 1
        if asked["model"] == SLOW:
            self.server.released.wait(120)
        choices = [{"index": 0, "message": {"role": "assistant", "content": "Fine."}, "finish_reason": "stop"}]
        usage = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}
        told = {"id": "c", "object": "chat.completion", "model": asked["model"], "choices": choices, "usage": usage}
        text = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


def mill_of(folder: Path, provider: Provider, *, own: int | None = None, **limits: Any) -> Mill:
    mill = Mill(folder, f"http://127.0.0.1:{provider.server_port}", provider="openai")
    mill.questions(ROWS)
    mill.limits = {"concurrency": 8, **limits}
    mill.output = {"rows_per_part": 10, "publish_every_s": 1}
    save = mill.save

    def with_two_models() -> Path:
        file = save() / "job.toml"
        text = file.read_text("utf-8").replace(f'name = "{mill.model}"', f'names = ["{SLOW}", "{FAST}"]')
        more = "" if own is None else f'\n[limits.model."{SLOW}"]\nconcurrency = {own}\n'
        file.write_text(text + more, encoding="utf-8")
        return mill.folder

    mill.save = with_two_models  # type: ignore[method-assign]  # of this one job
    return mill


def written(mill: Mill) -> dict[str, Any]:
    """What the run says of itself now."""
    try:
        told: dict[str, Any] = json.loads((mill.out / "status.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return told


def wait_for(holds: Any) -> None:
    until = time.monotonic() + 90
    while not holds():
        assert time.monotonic() < until, "it never came"
        time.sleep(0.02)


def test_a_stalled_model_does_not_stop_the_other(tmp_path: Path, provider: Provider) -> None:
    """FIELD 21: the fast model gets all its answers, which are not bought again; the slow one's rows come later.

    Of the eight slots that they share the slow one has four, although it asks first and could take all, until the other
    needs no more.
    """
    mill = mill_of(tmp_path, provider)
    program = (sys.executable, "-c", FEW)
    process = mill.start(program=program)
    wait_for(lambda: written(mill).get("rows", {}).get("done", 0) >= ROWS)
    assert provider.questions(FAST) == [1] * ROWS
    fast = [at for at, model in enumerate(provider.order) if model == FAST]
    assert provider.order[: fast[ROWS // 2]].count(SLOW) <= 4
    assert len(provider.questions(SLOW)) <= 8
    process.kill()
    process.communicate(timeout=60)

    provider.released.set()
    code, said = mill.command(program=program)
    assert code == 0, said
    rows = mill.results("row_number, variant, status")
    assert sorted(rows) == sorted((n, model, "ok") for n in range(ROWS) for model in (SLOW, FAST))
    assert provider.questions(FAST) == [1] * ROWS
    assert sum(provider.questions(SLOW)) <= ROWS + 8
    assert mill.pending() == []


def test_once_the_disk_may_take_no_more_the_fast_model_waits_and_status_says_why(
    tmp_path: Path, provider: Provider
) -> None:
    """`limits.max_spill`: text and --json name the key, its size, and the model whose rows lie there."""
    mill = mill_of(tmp_path, provider, own=2, max_spill=2_000)
    process = mill.start(program=(sys.executable, "-c", FEW))
    wait_for(lambda: "max_spill" in (written(mill).get("waits_for") or ""))
    assert 0 < len(provider.questions(FAST)) < ROWS
    text, told = (
        processes.start([sys.executable, "-m", "batch", "status", str(mill.out), *more]).communicate(timeout=60)[0]
        for more in ((), ("--json",))
    )
    why = f"room in pending/: rows of {SLOW} that wait take all of limits.max_spill (2,000 bytes)"
    assert why in " ".join(text.split())
    assert json.loads(told)["live"]["waits_for"] == why

    provider.released.set()
    said = process.communicate(timeout=90)
    assert process.returncode == 0, said
    assert len(mill.results("row_id")) == 2 * ROWS
    assert provider.questions(FAST) == provider.questions(SLOW) == [1] * ROWS
