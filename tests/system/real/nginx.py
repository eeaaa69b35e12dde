"""nginx in front of a server on this machine, with TLS and whatever a test wants of a gateway."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

CONFIG = """\
daemon off;
worker_processes 1;
{user}
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    default_type text/plain;
    log_format told '$connection $connection_requests $status $gzip_ratio $msec';
    access_log {folder}/access.log told;
    upstream behind {{ server 127.0.0.1:{behind}; keepalive 64; }}
    {http}
    server {{
        listen 127.0.0.1:{port} ssl backlog=1024;
        ssl_certificate {certificate};
        ssl_certificate_key {certificate};
        {server}
        location / {{
            proxy_pass http://behind;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            {location}
        }}
    }}
}}
"""


def program() -> str | None:
    """Where nginx is: on the machine, or unpacked into the environment by `scripts/setup --real`."""
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", f"{sys.prefix}/nginx/usr/sbin"))
    return shutil.which("nginx", path=path)


class Logged(NamedTuple):
    """One request: the connection and its number on it, the status, the gzip ratio (0: sent plain), when it ended."""

    connection: int
    number: int
    status: int
    gzip_ratio: float
    ended_s: float


class Nginx:
    """One that runs."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.url = f"https://127.0.0.1:{port}"

    def log(self) -> list[Logged]:
        """The requests in the order of their ends."""
        lines = (line.split() for line in (self.folder / "access.log").read_text("utf-8").splitlines())
        return [
            Logged(int(line[0]), int(line[1]), int(line[2]), float(line[3].replace("-", "0")), float(line[4]))
            for line in lines
        ]

    def errors(self) -> str:
        """The error log."""
        return (self.folder / "error.log").read_text("utf-8")


@contextmanager
def nginx(
    folder: Path, behind: int, certificate: Path, *, http: str = "", server: str = "", location: str = ""
) -> Iterator[Nginx]:
    """Start it on a free port of loopback and stop it afterwards.

    Args:
        folder: its own, made here.
        behind: the port of the server that it stands in front of.
        certificate: certificate and key in one file.
        http: directives of the `http` block.
        server: directives of the `server` block.
        location: directives of the one `location`.

    Raises:
        AssertionError: it does not listen after a minute; with its error log.
    """
    found = program()
    assert found is not None
    folder.mkdir(parents=True)
    # It gets the socket as from an older nginx that it takes over from: between a free port's number and a server on
    # it somebody else could take the port.
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        port = listener.getsockname()[1]
        text = CONFIG.format(
            folder=folder,
            behind=behind,
            certificate=certificate,
            port=port,
            user="user root;" if os.geteuid() == 0 else "",
            http=http,
            server=server,
            location=location,
        )
        (folder / "nginx.conf").write_text(text, encoding="utf-8")
        process = subprocess.Popen(
            [found, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "NGINX": f"{listener.fileno()};"},
            pass_fds=[listener.fileno()],
        )
    with process:
        running = Nginx(folder, port)
        try:
            _await(process, running)
            yield running
        finally:
            process.terminate()


def _await(process: subprocess.Popen[bytes], running: Nginx) -> None:
    """Wait until it has read its configuration: the socket takes connections before."""
    until = time.monotonic() + 60
    while not (running.folder / "pid").exists():
        assert process.poll() is None and time.monotonic() < until, running.errors()  # noqa: PT018 - told alike
        time.sleep(0.02)
