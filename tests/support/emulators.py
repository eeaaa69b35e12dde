"""Object stores that are not ours and are installed beside the project: moto, fake-gcs-server, Azurite.

Owns how each is started, empty but for the bucket, and what it is to `tests.system.stores`. What a server cannot do is
said where it is started.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pyarrow import fs

from tests.support.halfway import halfway
from tests.support.seaweed import BUCKET, Remote, Seaweed

ACCOUNT: Final = "devstoreaccount1"
ACCOUNT_KEY: Final = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Of Azurite: the same everywhere, and no secret."""


@dataclass(frozen=True)
class Google(Remote):
    """A server that is asked as Google Cloud Storage is."""

    scheme: str = field(default="gs", init=False)
    bare: str = ""
    """Its address without the door that it is asked through, where there is one."""

    @property
    def environ(self) -> dict[str, str]:
        """The variables with which it is reached."""
        return {"STORAGE_EMULATOR_HOST": self.url}

    def system(self) -> Any:
        """A client that is not the one we write with."""
        host = (self.bare or self.url).removeprefix("http://")
        return fs.GcsFileSystem(anonymous=True, endpoint_override=host, scheme="http", project_id="tests")


@dataclass(frozen=True)
class Azure(Remote):
    """A server that is asked as Azure Blob Storage is."""

    scheme: str = field(default="az", init=False)

    @property
    def environ(self) -> dict[str, str]:
        """The variables with which it is reached."""
        own = {"AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT, "AZURE_STORAGE_ACCOUNT_KEY": ACCOUNT_KEY}
        return {"AZURE_STORAGE_ENDPOINT": f"{self.url}/{ACCOUNT}", **own}

    def system(self) -> Any:
        """A client that is not the one we write with."""
        host = self.url.removeprefix("http://")
        doors = {f"{door}_storage_authority": host for door in ("blob", "dfs")}
        schemes = {f"{door}_storage_scheme": "http" for door in ("blob", "dfs")}
        return fs.AzureFileSystem(ACCOUNT, account_key=ACCOUNT_KEY, **doors, **schemes)


@contextlib.contextmanager
def moto(servers: Path) -> Iterator[Remote]:
    """The S3 server of moto.

    Args:
        servers: the environment that it is installed in.
    """
    port = _port()
    with _served([str(servers / "bin" / "moto_server"), "-H", "127.0.0.1", "-p", str(port)], port):
        yield _with_bucket(Seaweed(f"http://127.0.0.1:{port}"))


@contextlib.contextmanager
def google(servers: Path) -> Iterator[Remote]:
    """fake-gcs-server, behind a door: it takes conditions by the JSON API alone, and our client writes by the XML API.

    Args:
        servers: the environment that it is installed in.
    """
    (program,) = servers.rglob("fake-gcs-server-linux-*")
    port = _port()
    words = [str(program), "-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-backend", "memory"]
    with _served([*words, "-public-host", f"127.0.0.1:{port}"], port), halfway(f"http://127.0.0.1:{port}") as door:
        door.writes_json = True
        yield _with_bucket(Google(door.url, f"http://127.0.0.1:{port}"))


@contextlib.contextmanager
def azure(servers: Path) -> Iterator[Remote]:
    """Azurite.

    Args:
        servers: the environment beside which it is installed.
    """
    port = _port()
    program = servers / "npm" / "node_modules" / ".bin" / "azurite-blob"
    words = ["--blobHost", "127.0.0.1", "--blobPort", str(port), "--inMemoryPersistence", "--silent"]
    with _served([str(program), *words, "--skipApiVersionCheck", "--disableTelemetry"], port):
        yield _with_bucket(Azure(f"http://127.0.0.1:{port}"))


SERVERS: Final[dict[str, Callable[[Path], contextlib.AbstractContextManager[Remote]]]] = {
    "moto": moto,
    "gcs": google,
    "azure": azure,
}


def _with_bucket(store: Remote) -> Remote:
    store.system().create_dir(BUCKET)
    return store


def _port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        found: int = free.getsockname()[1]
        return found


@contextlib.contextmanager
def _served(command: list[str], port: int) -> Iterator[None]:
    """A server of somebody else's, as long as the block lasts."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environ)
    try:
        deadline = time.monotonic() + 120
        while not _listens(port):
            assert process.poll() is None, f"{process.args!r} ended"
            assert time.monotonic() < deadline, f"{process.args!r} does not answer"
            time.sleep(0.1)
        yield
    finally:
        process.kill()
        process.wait(60)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
