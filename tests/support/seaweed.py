"""An object store that is not ours: SeaweedFS with its S3 door, on free ports of this machine.

Owns the process, a bucket in it, and a look at what is there by another client than the one that writes.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pyarrow import fs

BUCKET: Final = "jobs"
KEY, SECRET = "writer-key-of-tests", "writer-secret-of-tests-0123456789"
READER, READER_SECRET = "reader-key-of-tests", "reader-secret-of-tests-0123456789"
_IDENTITIES: Final = {
    "identities": [
        {
            "name": "writer",
            "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        },
        {
            "name": "reader",
            "credentials": [{"accessKey": READER, "secretKey": READER_SECRET}],
            "actions": [f"Read:{BUCKET}", f"List:{BUCKET}"],
        },
    ]
}
_TRIES: Final = 5
_PATIENCE_S: Final = 120


@dataclass(frozen=True)
class Remote:
    """A server at work."""

    url: str
    scheme: str = field(default="", init=False)

    @property
    def environ(self) -> dict[str, str]:
        """The variables with which it is reached."""
        raise NotImplementedError

    def system(self) -> Any:
        """A client that is not the one we write with; closed when nobody holds it."""
        raise NotImplementedError

    def at(self, url: str) -> dict[str, str]:
        """The variables with which it is reached by way of another address."""
        return type(self)(url).environ

    def names(self, prefix: str) -> list[str]:
        """The objects below a prefix of the bucket, by their names from there."""
        root = f"{BUCKET}/{prefix}"
        found = self.system().get_file_info(fs.FileSelector(root, recursive=True, allow_not_found=True))
        return sorted(info.path.removeprefix(f"{root}/") for info in found if info.is_file)

    def read(self, name: str) -> bytes:
        """One object."""
        with self.system().open_input_file(f"{BUCKET}/{name}") as file:
            data: bytes = file.read()
        return data

    def write(self, name: str, data: bytes) -> None:
        """Write one object."""
        with self.system().open_output_stream(f"{BUCKET}/{name}", compression=None) as file:
            file.write(data)

    def remove(self, name: str) -> None:
        """Remove one object."""
        self.system().delete_file(f"{BUCKET}/{name}")

    def copy(self, prefix: str, target: Path) -> None:
        """All objects below a prefix, as files."""
        shutil.rmtree(target, ignore_errors=True)
        for name in self.names(prefix):
            path = target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.read(f"{prefix}/{name}"))


@dataclass(frozen=True)
class Seaweed(Remote):
    """A server that is asked as S3 is: SeaweedFS, or another one with these keys."""

    scheme: str = field(default="s3", init=False)

    @property
    def environ(self) -> dict[str, str]:
        """The variables with which it is reached."""
        return {"AWS_ENDPOINT_URL": self.url, "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}

    def system(self) -> Any:
        """A client that is not the one we write with; closed when nobody holds it."""
        return fs.S3FileSystem(
            access_key=KEY,
            secret_key=SECRET,
            endpoint_override=self.url,
            region="us-east-1",
            allow_bucket_creation=True,
            connect_timeout=5,
            request_timeout=60,
        )


def program() -> Path | None:
    """Where the server is; None where it is not installed."""
    found = Path(sys.executable).with_name("weed")
    return found if found.exists() else None


@contextlib.contextmanager
def served(folder: Path) -> Iterator[Seaweed]:
    """A server with an empty bucket, as long as the block lasts.

    Args:
        folder: for its data; empty.
    """
    (folder / "s3.json").write_text(json.dumps(_IDENTITIES), encoding="utf-8")
    for number in range(_TRIES):
        data = folder / f"data-{number}"
        data.mkdir()
        ports = _free(8)
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(_command(folder, data, ports), stdout=log, stderr=log, cwd=folder)
        server = Seaweed(f"http://127.0.0.1:{ports[0]}")
        try:
            if _up(server, process):
                yield server
                return
        finally:
            process.kill()  # it takes half a minute to end by itself, and its data goes with it
            process.wait(60)
            for port in ports:
                for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                    left.unlink(missing_ok=True)
    raise AssertionError((folder / "log").read_text(encoding="utf-8", errors="replace")[-4_000:])


def _command(folder: Path, data: Path, ports: list[int]) -> list[str]:
    s3, s3_grpc, filer, filer_grpc, master, master_grpc, volume, volume_grpc = map(str, ports)
    options = {
        "dir": str(data),
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "s3.port": s3,
        "s3.port.grpc": s3_grpc,
        "s3.config": str(folder / "s3.json"),
        "s3.autoCreateBucket": "false",
        "s3.port.iceberg": "0",
        "s3.port.lance": "0",
        "filer.port": filer,
        "filer.port.grpc": filer_grpc,
        "master.port": master,
        "master.port.grpc": master_grpc,
        "master.telemetry": "false",
        "master.volumeSizeLimitMB": "64",
        "volume.port": volume,
        "volume.port.grpc": volume_grpc,
        "volume.max": "20",
    }
    given = [f"-{name}={value}" for name, value in options.items()]
    return [str(program()), "-logtostderr=true", "server", "-filer", "-s3", *given]


def _free(count: int) -> list[int]:
    """Ports that nobody has now; whoever takes one before the server does makes it end, and it is started again."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _up(server: Seaweed, process: subprocess.Popen[bytes]) -> bool:
    """Wait for the server to take an object; False when its process ended."""
    deadline = time.monotonic() + _PATIENCE_S
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            server.system().create_dir(BUCKET)
            server.write("up", b"1")  # the first write makes the files in which all others come to lie
            return True
        time.sleep(0.1)
    return False


def environ(server: Seaweed, state: Path) -> dict[str, str]:
    """A whole environment for a command that uses the server."""
    return {**os.environ, **server.environ, "PROMPTMILL_STATE": str(state)}
