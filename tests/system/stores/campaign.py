"""A longer campaign over object stores than the suite has time for; `scripts/stores` runs it and it prints its figures."""

from __future__ import annotations

import argparse
import contextlib
import socket
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pyarrow import fs

from tests.support.halfway import halfway
from tests.support.seaweed import BUCKET, Seaweed, served
from tests.system.kills.stage import CHUNKS, CONCURRENCY, Stage, expected_answers, moments, simulator
from tests.system.stores.stage import StoreStage

ROWS = 600
FEW = 60


def main() -> None:
    """Kill runs over SeaweedFS at random moments, on a network that fails; then one job at each of the other servers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20, help="per lane")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--lanes", default="sync,task")
    parser.add_argument("--servers", type=Path, help="an environment with moto and fake-gcs-server")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="promptmill-stores-") as name:
        root = Path(name)
        with served(_made(root / "seaweed")) as store, simulator(_made(root / "sim"), CHUNKS) as url:
            for lane in asked.lanes.split(",") if asked.kills else ():
                print(kills(root / lane, store, url, lane, asked.kills, asked.seed))
        if asked.servers is not None:
            with simulator(_made(root / "sim2"), CHUNKS) as url:
                print(moto(root / "moto", asked.servers, url))
                print(google(root / "google", asked.servers, url))


def kills(root: Path, store: Seaweed, url: str, lane: str, count: int, seed: int) -> str:
    """Kill a job so often, over as many outputs as that takes; half of the machines are lost in the end.

    Args:
        root: a folder for it.
        store: where input and output lie.
        url: of the simulator.
        lane: of the calls.
        count: how many kills.
        seed: decides the moments.
    """
    answers = expected_answers(root / "calm", url, lane, ROWS)
    when, figures, outputs, faults = iter(moments(seed, 100 * count, 300)), Counter[str](), 0, Counter[str]()
    with halfway(store.url) as way:
        while figures["kills"] < count:
            stage = StoreStage(root / f"job-{outputs}", url, lane, rows=ROWS, rows_per_part=100, store=store)
            stage.url_of_store = way.url
            while figures["kills"] + stage.kills < count:
                way.lose, way.refuse = 2, 2
                killed = stage.run_and_kill(next(when)) is None
                faults.update(lost=2 - way.lose, refused=2 - way.refuse)
                way.lose = way.refuse = 0
                if not killed:
                    break
            stage.finish()
            stage.fetch()
            figures.update(stage.verify(answers))
            outputs += 1
    return (
        f"{lane}: {figures['kills']} kills over {outputs} outputs of {ROWS} rows in SeaweedFS, {faults['lost']} answers "
        f"to writes lost and {faults['refused']} requests refused on the way; 0 rows lost, 0 doubled, no object that "
        f"nobody names; {figures['calls']} calls in the book, {figures['billed']} billed; {figures['unknown']} unknown, "
        f"at most {CONCURRENCY} a kill allowed"
    )


def moto(root: Path, servers: Path, url: str) -> str:
    """One job with input and output in moto, killed when the store has taken the first part."""
    answers = expected_answers(root / "calm", url, "sync", FEW)
    port = _port()
    with _server([str(servers / "bin" / "moto_server"), "-H", "127.0.0.1", "-p", str(port)], port):
        store = Seaweed(f"http://127.0.0.1:{port}")
        store.system().create_dir(BUCKET)
        stage = StoreStage(root / "job", url, "sync", rows=FEW, rows_per_part=20, store=store)
        assert stage.run("publish.results_put:1") == -9, stage.said
        stage.finish()
        stage.fetch()
        stage.verify(answers)
    return f"moto: {FEW} rows from s3:// into s3://, killed after the store took a part; 0 lost, 0 doubled"


def google(root: Path, servers: Path, url: str) -> str:
    """One job with its input in fake-gcs-server, which does not take the writes of our client."""
    answers = expected_answers(root / "calm", url, "sync", FEW)
    (program,) = servers.rglob("fake-gcs-server-linux-*")
    port = _port()
    address = f"127.0.0.1:{port}"
    words = [str(program), "-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-backend", "memory"]
    with _server([*words, "-public-host", address], port):
        stage = _Google(root / "job", url, "sync", rows=FEW, rows_per_part=20, store=address)
        stage.finish()
        stage.verify(answers)
    return f"fake-gcs-server: {FEW} rows from gs:// into a folder; 0 lost, 0 doubled"


class _Google(Stage):
    """A stage whose input lies in a bucket of Google's."""

    def __init__(self, folder: Path, url: str, lane: str, *, rows: int, rows_per_part: int, store: str) -> None:
        self.store = store
        super().__init__(folder, url, lane, rows=rows, rows_per_part=rows_per_part)
        job = self.folder / "job.toml"
        text = job.read_text(encoding="utf-8")
        job.write_text(text.replace('path = "rows.jsonl"', f'path = "gs://{BUCKET}/in/*.jsonl"'), encoding="utf-8")

    def write_input(self, rows: int) -> None:
        super().write_input(rows)
        system: Any = fs.GcsFileSystem(anonymous=True, endpoint_override=self.store, scheme="http", project_id="tests")
        system.create_dir(BUCKET)
        with system.open_output_stream(f"{BUCKET}/in/rows.jsonl", compression=None) as file:
            file.write((self.folder / "rows.jsonl").read_bytes())

    def environ(self) -> dict[str, str]:
        return {"STORAGE_EMULATOR_HOST": f"http://{self.store}"}


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def _port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        found: int = free.getsockname()[1]
        return found


@contextlib.contextmanager
def _server(command: list[str], port: int) -> Iterator[None]:
    """A server of somebody else's, as long as the block lasts."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _until(lambda: _listens(port), process)
        yield
    finally:
        process.kill()
        process.wait(60)


def _until(there: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while not there():
        assert process.poll() is None, f"{process.args!r} ended"
        assert time.monotonic() < deadline, f"{process.args!r} does not answer"
        time.sleep(0.1)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


if __name__ == "__main__":
    main()
