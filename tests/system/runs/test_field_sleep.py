"""A run whose process is stopped in the middle of its calls, and goes on after their time is up."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from pathlib import Path

import pytest

from tests.support.scripted import reply as answered
from tests.support.sockets import Counts, asked, serving
from tests.support.stub import reply
from tests.system.runs.conftest import Mill

ROWS = 8
TIMES_S = 5.0, 4.0
"""Of a whole answer, and of its pieces: longer than it takes to ask for all rows and to stop the process."""


def streamed() -> bytes:
    document = json.loads(answered()[2])
    choice = document["choices"][0]
    frames = [
        {**document, "usage": None, "choices": [{"index": 0, "delta": choice["message"], "finish_reason": None}]},
        {**document, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    ]
    return b"".join(b"data: %b\n\n" % json.dumps(frame).encode() for frame in frames) + b"data: [DONE]\n\n"


@pytest.mark.parametrize("lane", ["sync", "stream"])
def test_answers_that_came_while_the_process_was_stopped_are_read_and_not_bought_again(
    tmp_path: Path, lane: str
) -> None:
    """FIELD 11: SIGSTOP, or a laptop's sleep: they were timeouts, possibly billed, and asked for again."""
    asleep = threading.Event()
    whole = reply(answered()[2]) if lane == "sync" else reply(streamed(), "Content-Type: text/event-stream")

    def serve(line: socket.socket, counts: Counts) -> None:
        while asked(line, counts):
            asleep.wait(20)
            line.sendall(whole)

    with serving(serve) as (url, counts):
        mill = Mill(tmp_path, url, provider="openai", lane=lane)
        mill.limits = {"concurrency": ROWS, "call_timeout_s": TIMES_S[0]}
        mill.limits |= {"first_chunk_timeout_s": TIMES_S[1], "idle_timeout_s": TIMES_S[1]}
        mill.questions(ROWS)
        process = mill.start()
        try:
            until = time.monotonic() + 30
            while counts.requests < ROWS:
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < until
                time.sleep(0.005)
            os.kill(process.pid, signal.SIGSTOP)
            asleep.set()
            time.sleep(TIMES_S[0] + 0.3)
        finally:
            os.kill(process.pid, signal.SIGCONT)
            said = process.communicate(timeout=120)
        assert process.returncode == 0, said
    assert counts.requests == ROWS
    assert mill.results() == [(n, "fine") for n in range(ROWS)]
    assert mill.calls("state, count(*)", "true GROUP BY ALL") == [("answered", ROWS)]
