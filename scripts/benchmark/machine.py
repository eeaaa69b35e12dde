"""The two cores that things are measured on: programs pinned to one, the stub to the other, and what each run took.

Owns the temporary folder, the stub's process, inputs and job files. Which figures there are is not known here.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
KEY = "bench.0123456789abcdef"
JOB = """
name = "bench"
[input]
path = "rows.jsonl"
{input}
[prompt]
user = {user}
[model]
provider = "{provider}"
name = "{model}"
lane = "{lane}"
base_url = "{url}"
[limits]
concurrency = {concurrency}
{limits}
"""
PATHS = {"glm": ("api/paas/v4", "glm-4"), "openai": ("v1", "gpt-5-mini")}


@dataclass(frozen=True)
class Spent:
    """What one run of a program took."""

    rows: int
    wall_s: float
    cpu_s: float
    peak_mb: float
    began: float
    """In seconds of the wall clock."""

    @property
    def rate(self) -> float:
        """Rows a second, start and end of the program included."""
        return self.rows / self.wall_s

    @property
    def cpu(self) -> float:
        """CPU seconds for a thousand rows."""
        return self.cpu_s / self.rows * 1_000


@dataclass(frozen=True)
class Apart:
    """What one run of the command took, by who spent it.

    Attributes:
        spent: the run as a whole, its workers included.
        core_s: CPU seconds of the process of the command.
        workers_s: of its worker processes.
        server_s: of the stub, meanwhile.
    """

    spent: Spent
    core_s: float
    workers_s: float
    server_s: float

    @property
    def cpu_s(self) -> float:
        """CPU seconds of all of them."""
        return self.spent.cpu_s + self.server_s

    def per_thousand(self, seconds: float) -> float:
        """Of a thousand rows."""
        return seconds / self.spent.rows * 1_000


class Machine:
    """Where things are measured.

    Args:
        folder: for all that is written, emptied by whoever made it.
        rounds: how often what takes less than a minute is measured.
        scale: the share of the rows that is measured, less than 1 to see that all of it works; then no figure counts.
        peers: by name, the interpreter of an environment that has other programs; empty without `--peers`.
    """

    def __init__(self, folder: Path, *, rounds: int, scale: float, peers: Mapping[str, Path]) -> None:
        self.folder = folder
        self.rounds = rounds
        self.scale = scale
        self.peers = peers
        cores = sorted(os.sched_getaffinity(0))
        self._mine, self._stubs = cores[0], cores[-1]
        self.url = ""
        self._stub = 0
        """Number of the process of the stub."""

    def rows(self, count: int) -> int:
        """So many rows, or the share of them that is measured."""
        return max(20, int(count * self.scale))

    # -- the stub ---------------------------------------------------------------------------------------------------

    @contextmanager
    def stub(self, *, tls: bool = False, everywhere: bool = False) -> Iterator[None]:
        """A stub of its own while a figure is measured; `url` is its root.

        Args:
            tls: whether it speaks TLS.
            everywhere: on all cores, as what it is measured with.
        """
        file = self.folder / f"port-{time.monotonic_ns()}"
        certificate = self._certificate() if tls else []
        command = [sys.executable, str(Path(__file__).with_name("stub.py")), str(file), *certificate]
        process = subprocess.Popen([*([] if everywhere else ["taskset", "-c", str(self._stubs)]), *command])
        self._stub = process.pid
        try:
            while not file.exists():
                if process.poll() is not None:
                    raise SystemExit("bench: the stub did not start; its words are above")
                time.sleep(0.02)
            self.url = f"{'https' if tls else 'http'}://localhost:{file.read_text(encoding='ascii')}"
            yield
        finally:
            process.terminate()
            process.wait(10)

    @contextmanager
    def simulator(self) -> Iterator[Callable[[], float]]:
        """The simulated provider in the place of the stub; gives what tells its peak memory so far, in MB."""
        file = self.folder / "scenario.toml"
        file.write_text("[latency]\nbatch_ms = [0, 0]\n", encoding="ascii")
        command = [sys.executable, "-m", "batch.simulator", "--port", "0", "--scenario", str(file)]
        pinned = ["taskset", "-c", str(self._stubs), *command]
        process = subprocess.Popen(pinned, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert process.stdout is not None

        def peak_mb() -> float:
            lines = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii").splitlines()
            return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024

        try:
            self.url = process.stdout.readline().strip()
            yield peak_mb
        finally:
            process.terminate()
            process.wait(60)

    def _certificate(self) -> list[str]:
        """A certificate for this machine, as files."""
        paths = [str(self.folder / "certificate.pem"), str(self.folder / "key.pem")]
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        command += ["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
        subprocess.run([*command, "-out", paths[0], "-keyout", paths[1]], check=True, capture_output=True)
        return paths

    def seen(self) -> dict[str, Any]:
        """When each request came to the stub since it was last reset, and what became of its tasks."""
        return self._told("_seen")

    def count(self) -> tuple[int, float]:
        """How many requests came since then, and when the first did; however many there are, this takes no time."""
        found = self._told("_count")
        return found["posts"], found["first"] or 0.0

    def reset(self) -> None:
        """Let the stub forget what it has seen."""
        self._told("_reset")

    def _told(self, what: str) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}/{what}") as answer:  # noqa: S310 - our own stub
            found: dict[str, Any] = json.load(answer)
        return found

    # -- jobs -------------------------------------------------------------------------------------------------------

    def write_rows(self, rows: int, *, size: int = 400, channel: str = "mail") -> Path:
        """The input: rows that are all different.

        Args:
            rows: how many.
            size: of the text of each, in bytes.
            channel: what stands in a column that no prompt has.
        """
        path = self.folder / "rows.jsonl"
        ballast = ("the customer writes about an order that has not arrived yet. " * (size // 62 + 1))[:size]
        with path.open("w", encoding="utf-8") as file:
            for number in range(rows):
                record = {"id": number, "text": f"Ticket {number}: {ballast}", "channel": channel}
                file.write(json.dumps(record) + "\n")
        return path

    def job(
        self,
        kind: str,
        *,
        provider: str = "glm",
        lane: str = "sync",
        concurrency: int = 64,
        limits: str = "",
        user: str = "{{ text }}",
        keys: str = "",
    ) -> None:
        """Write the job over the input.

        Args:
            kind: the first part of the path, by which the stub knows how to answer; empty for the simulator.
            provider: whose dialect is spoken.
            lane: in which the rows are asked.
            concurrency: how many are in flight.
            limits: more lines of `[limits]`.
            user: the template.
            keys: more lines of `[input]`.
        """
        path, model = PATHS[provider]
        text = JOB.format(
            input=keys, user=json.dumps(user), provider=provider, model=model, lane=lane,
            url="/".join(filter(None, (self.url, kind, path))), concurrency=concurrency, limits=limits,
        )  # fmt: skip
        (self.folder / "job.toml").write_text(text, encoding="utf-8")

    @property
    def out(self) -> Path:
        """The output folder of the job."""
        return self.folder / "out"

    # -- programs ---------------------------------------------------------------------------------------------------

    def ours(self, rows: int, *, fresh: bool = True, code: int = 0) -> Spent:
        """The whole command, as a user gives it, over the job that was written last.

        Args:
            rows: how many it has to do.
            fresh: begin with no output folder.
            code: how it has to end.
        """
        if fresh:
            shutil.rmtree(self.out, ignore_errors=True)
        return self.run([*self.command(), "--progress", "none"], rows, code=code)

    def command(self, out: Path | None = None) -> list[str]:
        """The words of the command, with another output folder where one is given."""
        return [sys.executable, "-m", "batch", "run", str(self.folder), "-o", str(out or self.out)]

    def run(self, command: Sequence[str], rows: int, *, code: int = 0) -> Spent:
        """Run a program on our core to its end.

        Args:
            command: the program and its arguments.
            rows: how many it does.
            code: how it has to end.
        """
        began, at = time.time(), time.perf_counter()
        process = self.start(command)
        spent = self._spent(process, rows, began, at)
        self._check(command, process.returncode, code)
        return spent

    def apart(self, rows: int, workers: int) -> Apart:
        """The whole command on all cores, over the job that was written last.

        Args:
            rows: how many it has to do.
            workers: how many processes make its exchanges.
        """
        shutil.rmtree(self.out, ignore_errors=True)
        before, began, at = _cpu_s(self._stub), time.time(), time.perf_counter()
        words = [*self.command(), "--progress", "none", "--workers", str(workers)]
        process = self.start(words, everywhere=True)
        theirs: dict[int, float] = {}
        while True:
            ended, status, used = os.wait4(process.pid, os.WNOHANG)
            if ended:
                break
            theirs |= {child: _cpu_s(child) for child in _children(process.pid)}
            time.sleep(0.02)
        wall = time.perf_counter() - at
        process.returncode = os.waitstatus_to_exitcode(status)
        self._check(words, process.returncode, 0)
        cpu_s = used.ru_utime + used.ru_stime  # that of the workers is in it, for it has waited for them
        spent = Spent(rows, wall, cpu_s, used.ru_maxrss / 1024, began)
        workers_s = sum(theirs.values())
        return Apart(spent, cpu_s - workers_s, workers_s, _cpu_s(self._stub) - before)

    def _check(self, command: Sequence[str], ended: int, code: int) -> None:
        """Say why a program did not end as it has to."""
        if ended != code:
            log = (self.folder / "said.txt").read_text(encoding="utf-8")[-2_000:]
            raise SystemExit(f"bench: {' '.join(command)} ended with {ended}:\n{log}")

    def start(
        self, command: Sequence[str], *, everywhere: bool = False, state: str = "state"
    ) -> subprocess.Popen[bytes]:
        """Start a program on our core, or on all; what it says is kept in a file, its own state in our folder.

        It has its bytecode, as whatever is installed has: without it every start compiles hundreds of modules anew.
        """
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        more = {"ZHIPUAI_API_KEY": KEY, "OPENAI_API_KEY": KEY, "ZAI_API_KEY": KEY}
        more["PROMPTMILL_STATE"] = str(self.folder / state)
        if self.url.startswith("https"):
            more["SSL_CERT_FILE"] = str(self.folder / "certificate.pem")
        with (self.folder / "said.txt").open("wb") as said:
            pinned = [*command] if everywhere else ["taskset", "-c", str(self._mine), *command]
            return subprocess.Popen(pinned, env=kept | more, stdout=said, stderr=said, cwd=ROOT)

    def kill_after(self, posts: int, *, fresh: bool = True) -> Spent:
        """The whole command, killed once the stub has had so many requests.

        Args:
            posts: how many.
            fresh: begin with no output folder.
        """
        if fresh:
            shutil.rmtree(self.out, ignore_errors=True)
        began, at = time.time(), time.perf_counter()
        process = self.start([*self.command(), "--progress", "none"])
        self._until(process, posts)
        process.send_signal(signal.SIGKILL)
        return self._spent(process, posts, began, at)

    @contextmanager
    def halted(self, words: Sequence[str], after: int, state: str) -> Iterator[subprocess.Popen[bytes]]:
        """A command that was halted once the stub has had so many more requests; it is killed in the end.

        Args:
            words: the command.
            after: how many.
            state: the folder for its own state: what two jobs share, a halted one must not keep from the other.
        """
        process = self.start(words, state=state)
        try:
            self._until(process, self.count()[0] + after)
            process.send_signal(signal.SIGSTOP)
            yield process
        finally:
            process.kill()
            process.wait()

    def go_on(self, process: subprocess.Popen[bytes], posts: int) -> float:
        """Let a halted command go on until the stub has had so many more requests; how many it made in a second."""
        before, at = self.count()[0], time.perf_counter()
        process.send_signal(signal.SIGCONT)
        self._until(process, before + posts)
        process.send_signal(signal.SIGSTOP)
        return (self.count()[0] - before) / (time.perf_counter() - at)

    def _until(self, process: subprocess.Popen[bytes], posts: int) -> None:
        """Wait until the stub has had so many requests."""
        while self.count()[0] < posts:
            if process.poll() is not None:
                raise SystemExit("bench: the run was over before its time; raise the number of rows")
            time.sleep(0.02)

    def _spent(self, process: subprocess.Popen[bytes], rows: int, began: float, at: float) -> Spent:
        """Wait for the end of a process, and tell what it took."""
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - at
        process.returncode = os.waitstatus_to_exitcode(status)
        return Spent(rows, wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, began)


def _children(pid: int) -> list[int]:
    """The numbers of its processes; of one that has ended, none."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]
    except OSError:
        return []


def _cpu_s(pid: int) -> float:
    """The CPU seconds of all threads of a process so far, as exact as the system counts them."""
    found = 0
    for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with suppress(OSError):  # it has ended meanwhile
            found += int(path.read_text(encoding="ascii").split()[0])
    return found / 1e9
