"""The simulator as a process of its own."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


@contextmanager
def process(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running simulator and its root URL."""
    command = [sys.executable, "-m", "batch.simulator", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        try:
            yield running, running.stdout.readline().rstrip("\n")
        finally:
            running.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_prints_its_root_url_serves_and_stops_at_a_signal(tmp_path: Path, number: int) -> None:
    """One line on stdout, nothing on stderr, status 0, also while a request is being worked on."""
    scenario = tmp_path / "slow.toml"
    scenario.write_text("[latency]\nchat_ms = [60000, 60000]\n")
    with process("--scenario", str(scenario)) as (running, url):
        assert url.startswith("http://127.0.0.1:")
        assert httpx.get(f"{url}/_sim/books").json() == []
        port = int(url.rsplit(":", 1)[1])
        with socket.create_connection(("127.0.0.1", port), timeout=30) as waiting:
            body = b'{"model":"glm-4","messages":[{"role":"user","content":"hello"}]}'
            head = b"POST /api/paas/v4/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a.b\r\n"
            waiting.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            while not httpx.get(f"{url}/_sim/judge").json()["requests"]:
                pass
            running.send_signal(number)
            out, err = running.communicate(timeout=120)
    assert (running.returncode, out, err) == (0, "", "")


def test_resets_make_no_noise(tmp_path: Path) -> None:
    """What the scenario asks for is not an error of the server: stderr stays empty."""
    scenario = tmp_path / "resets.toml"
    faults = [f"[[fault]]\nbehaviour = {number}\nrows = ['row {number}']\n" for number in (33, 34, 35, 56)]
    scenario.write_text("".join(faults) + "[[fault]]\nbehaviour = 67\nat = 5\n")
    with process("--scenario", str(scenario)) as (running, url):
        for number in (33, 34, 35, 56, 67):
            path = "async/chat/completions" if number == 56 else "chat/completions"
            body = {"model": "glm-4", "messages": [{"role": "user", "content": f"row {number}"}]}
            with pytest.raises(httpx.TransportError):
                httpx.post(f"{url}/api/paas/v4/{path}", json=body, headers={"Authorization": "Bearer a.b"})
        assert len(httpx.get(f"{url}/_sim/faults").json()) == 5
        running.send_signal(signal.SIGTERM)
        assert running.communicate(timeout=120) == ("", "")


def test_the_default_latency_is_that_of_a_quick_provider() -> None:
    """Without a scenario a chat takes between 20 and 60 ms on the server."""
    with process() as (_, url):
        body = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "hello"}]}
        headers = {"Authorization": "Bearer sk-1"}
        answers = [httpx.post(f"{url}/v1/chat/completions", json=body, headers=headers) for _ in range(5)]
        assert 20 <= min(int(answer.headers["openai-processing-ms"]) for answer in answers) < 1_000, "a quick one"


def test_a_wrong_scenario_ends_it_with_status_2(tmp_path: Path) -> None:
    """The message goes to stderr, and stdout stays empty."""
    scenario = tmp_path / "wrong.toml"
    scenario.write_text("sede = 7")
    with process("--scenario", str(scenario)) as (running, url):
        assert url == ""
        _, err = running.communicate(timeout=120)
    assert running.returncode == 2
    assert "Did you mean seed?" in err
    assert "Traceback" not in err


def test_a_port_that_is_taken_ends_it_with_status_2() -> None:
    """No traceback for what a user can mend."""
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        process("--port", str(taken.getsockname()[1])) as (running, url),
    ):
        assert url == ""
        _, err = running.communicate(timeout=120)
    assert running.returncode == 2
    assert "in use" in err
    assert "Traceback" not in err


def test_it_imports_nothing_from_the_rest_of_the_project() -> None:
    """A constant shared with the client would hide a mistake shared with the client."""
    code = (
        "import sys, batch; brought = set(sys.modules); import batch.simulator.server; "
        "new = set(sys.modules) - brought; "
        "print([m for m in new if m.startswith('batch.') and not m.startswith('batch.simulator')])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
