"""A stage for fleets on Ray: a cluster of several nodes on this machine, and a job whose workers are on it.

The nodes are processes of their own (raylets), so that one can be killed with all that runs on it. No variable has the
key: it stands in a file, which only the core and the workers read. So no other process may ever have it in its memory.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.system.kills.stage import CONCURRENCY, Stage

STORE_BYTES = 80 << 20
WORKER = "ray::PromptmillWorker"
SECRET = "Qx7RayMustNeverSeeThis42"


def until(holds: Callable[[], Any], seconds: float = 300) -> Any:
    """Wait for a state, and return it."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.02)
    return found


class Nodes:
    """A Ray cluster on this machine: one head and others that come and go.

    Args:
        folder: for its files, with a short path.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "ray").mkdir(parents=True, exist_ok=True)
        os.environ.update(RAY_TMPDIR=str(folder), RAY_USAGE_STATS_ENABLED="0", RAY_AUTH_MODE="disabled")
        os.environ.update({"RAY_raylet_start_wait_time_s": "120"})
        from ray.cluster_utils import Cluster

        self._cluster: Any = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 1, "object_store_memory": STORE_BYTES, "include_dashboard": False},
        )
        self._others: list[Any] = []
        self.add()
        self.add()

    @property
    def address(self) -> str:
        return str(self._cluster.address)

    def add(self) -> None:
        """One node more."""
        self._others.append(self._cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES))

    def kill(self, *, idle: bool = False) -> int:
        """Kill a node that has workers, with all that runs on it; how many it had, 0 where only the head has any.

        Args:
            idle: one that has no workers will do as well.
        """
        for node in self._others:
            mine = _children(node.all_processes["raylet"][0].process.pid)
            workers = sum(WORKER in _line(process) for process in mine)
            if workers or idle:
                self._others.remove(node)
                for process in mine:
                    _kill(process)
                self._cluster.remove_node(node, allow_graceful=False)
                return workers
        return 0

    def workers(self) -> list[psutil.Process]:
        """The workers that are there, on whatever node."""
        return [process for process in _children(os.getpid()) if WORKER in _line(process)]

    def servers(self) -> list[psutil.Process]:
        """The processes of Ray itself, those left out that have run or may run something of ours."""
        found = []
        for process in _children(os.getpid()):
            words = " ".join(_words(process))
            if (str(self.folder) in words or words.startswith("ray::")) and not any(
                one in words for one in (WORKER, "ray::IDLE", "default_worker.py", "ray::answer")
            ):
                found.append(process)
        return found

    def close(self) -> None:
        self._cluster.shutdown()


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _line(process: psutil.Process) -> str:
    return next(iter(_words(process)), "")


def _kill(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        process.kill()


@contextmanager
def cluster(folder: Path) -> Iterator[Nodes]:
    """A cluster of three nodes."""
    nodes = Nodes(folder)
    try:
        yield nodes
    finally:
        nodes.close()


class Log:
    """What a command logs, with the time at which it was read."""

    def __init__(self, core: subprocess.Popen[str]) -> None:
        self.core = core
        self.events: list[tuple[float, dict[str, Any]]] = []
        self.rest: list[str] = []
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        assert self.core.stderr is not None
        for line in self.core.stderr:
            if line.startswith("{"):
                self.events.append((time.monotonic(), json.loads(line)))
            else:
                self.rest.append(line)

    def after(self, moment: float, *names: str) -> tuple[float, dict[str, Any]] | None:
        """The first of these events since a moment."""
        return next(iter(self.since(moment, *names)), None)

    def since(self, moment: float, *names: str) -> list[tuple[float, dict[str, Any]]]:
        """All of these events since a moment, each with the time at which it was read."""
        return [(at, event) for at, event in list(self.events) if at >= moment and event["event"] in names]

    def ended(self) -> int:
        """The exit code, once all is read."""
        self.core.wait(300)
        self._thread.join(120)
        if self.core.stdout is not None:
            self.core.stdout.read()
        return self.core.returncode


@dataclass
class RayStage(Stage):
    """A job whose workers are on Ray."""

    on: str = "ray"
    """Where that is."""
    limit: int = 600
    """Requests a minute."""
    concurrency: int = CONCURRENCY
    keys: int = 1
    """With several, it has as many addresses, all of one service."""

    def __post_init__(self) -> None:
        super().__post_init__()
        job = self.folder / "job.toml"
        text = job.read_text(encoding="utf-8")
        place = f'base_url = "{self.url}/api/paas/v4"'
        if self.keys == 1:
            text = text.replace(place, f"{place}\n            {self._key('')}")
        else:
            ends = (f'{{ name = "{name}", {place}, {self._key(name)} }}' for name in self.names)
            text = text.replace(place, f"endpoints = [{', '.join(ends)}]")
        text = text.replace(f"concurrency = {CONCURRENCY}", f"concurrency = {self.concurrency}")
        text = text.replace("[limits]", f"[limits]\n            requests_per_minute = {self.limit}")
        job.write_text(text, encoding="utf-8")

    @property
    def names(self) -> list[str]:
        """Of the addresses, and the ends of their keys' ids."""
        return [f"k{number}" for number in range(self.keys)]

    def _key(self, name: str) -> str:
        (self.folder / f"key{name}").write_text(f"{self.key_id}{name}.{SECRET}\n", encoding="utf-8")
        return f'key_file = "key{name}"'

    def begin(self) -> Log:
        """The command, with what it logs."""
        return Log(self.start(None, "--log-format", "json", "--on", self.on))

    def finish(self, code: int = 0) -> None:
        log = self.begin()
        assert log.ended() == code, (log.rest, log.events[-3:])

    @property
    def calls_table(self) -> str:
        """The book, for DuckDB."""
        return f"read_parquet('{self.out}/calls/*/*.parquet', hive_partitioning=false)"

    def rows_of_late_answers(self) -> list[tuple[Any, ...]]:
        """Rows that count other tokens than those of the answers that came in time."""
        return self.query(
            f"""
            SELECT r.row_id, r.total_tokens, c.total_tokens
            FROM read_parquet('{self.out}/results/*.parquet') r
            JOIN (
                SELECT row_id, sum(total_tokens) AS total_tokens
                FROM {self.calls_table}
                WHERE state = 'answered' AND client_call_id NOT LIKE '%-late'
                GROUP BY row_id
            ) c USING (row_id)
            WHERE r.total_tokens IS DISTINCT FROM c.total_tokens
            """
        )


def holders(processes: list[psutil.Process], secret: str) -> list[str]:
    """Those of the processes that have a text anywhere in their memory."""
    wanted, found = secret.encode(), []
    for process in processes:
        try:
            name, maps = process.name(), process.memory_maps(grouped=False)
            with Path(f"/proc/{process.pid}/mem").open("rb", buffering=0) as memory:
                if any(wanted in _region(memory, one.addr) for one in maps if "r" in one.perms):
                    found.append(name)
        except (psutil.NoSuchProcess, ProcessLookupError):
            continue
    return found


def _region(memory: Any, addresses: str) -> bytes:
    first, last = (int(address, 16) for address in addresses.split("-"))
    try:
        memory.seek(first)
        return bytes(memory.read(last - first))
    except (OSError, ValueError, OverflowError):
        return b""


def files_with(folder: Path, secret: str) -> list[str]:
    """Files in a folder that have a text in them."""
    wanted = secret.encode()
    return [str(path) for path in folder.rglob("*") if path.is_file() and wanted in path.read_bytes()]
