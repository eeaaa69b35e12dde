"""`batch.report.viewer.events`: a page hears of every change, and of nothing else."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from typing import Any

import pyarrow as pa

from batch.output.folder import OutputFolder
from batch.report.status import FRESH_S
from batch.report.viewer import events
from tests.support.outfolders import finished
from tests.support.viewing import Viewing, viewing


class Listener:
    """Reads events."""

    def __init__(self, view: Viewing) -> None:
        request = f"GET /{view.token}/api/0/events HTTP/1.1\r\nHost: localhost:{view.port}\r\n\r\n"
        self._line: socket.socket = view.raw(request.encode())
        self._file = self._line.makefile("rb")

    def head(self) -> dict[str, str]:
        lines = iter(lambda: self._file.readline().decode().rstrip(), "")
        return {name.lower(): value for line in lines for name, colon, value in [line.partition(": ")] if colon}

    def next(self) -> dict[str, Any]:
        """The next event; waits for it."""
        while True:
            line = self._file.readline()
            if line.startswith(b"data: "):
                found: dict[str, Any] = json.loads(line[6:])
                return found

    def close(self) -> None:
        self._file.close()
        self._line.close()


def publish(folder: OutputFolder) -> None:
    """Replace a part, as a run does."""
    hidden = folder.results / ".new"
    hidden.write_bytes(folder.part(0).read_bytes())
    hidden.replace(folder.part(0))


def test_it_begins_with_the_status_and_goes_on_with_every_change(tmp_path: Path) -> None:
    """Of the file with the live numbers, and of the tables."""
    folder = finished(tmp_path / "out", pa.table({"t": ["a", "b"]}))
    with viewing(folder.root) as view:
        listener = Listener(view)
        try:
            assert listener.head()["content-type"] == "text/event-stream; charset=utf-8"
            first = listener.next()
            assert (first["status"]["state"], first["status"]["table_rows"]) == ("killed", 2)
            folder.status.write_text('{"process": 7}')
            assert listener.next()["status"]["process"] == 7
            publish(folder)
            assert listener.next()["at"] > first["at"]
        finally:
            listener.close()


def test_a_status_that_gets_old_is_a_change(tmp_path: Path) -> None:
    """A run that was killed says nothing any more, and the page must not call it running for ever."""
    from batch.report.figures.figures import Figures

    folder = finished(tmp_path / "out", pa.table({"t": ["a"]}))
    folder.status.write_text("{}")
    figures = Figures(folder.root)
    fresh = events.look(figures)
    assert events.look(figures) == fresh
    found = folder.status.stat()
    os.utime(folder.status, ns=(found.st_atime_ns, time.time_ns() - int((FRESH_S + 1) * 1e9)))
    assert events.look(figures)[-1] is not fresh[-1]
    folder.status.unlink()
    assert events.look(figures)[-1] is None


def test_a_folder_that_went_away_is_told_as_an_error(tmp_path: Path) -> None:
    """And the stream goes on: it may come back."""
    folder = finished(tmp_path / "out", pa.table({"t": ["a"]}))
    with viewing(folder.root) as view:
        listener = Listener(view)
        try:
            listener.head()
            listener.next()
            folder.root.rename(tmp_path / "elsewhere")
            assert "there is no such folder" in listener.next()["error"]
            (tmp_path / "elsewhere").rename(folder.root)
            assert listener.next()["status"]["table_rows"] == 1
        finally:
            listener.close()


def test_an_event_is_one_line_whatever_it_says() -> None:
    """A line break in a text would begin another field."""
    told = events.message({"text": "a\n\ndata: b\u2028\r"})
    assert told.count(b"\n") == 2
    assert told.endswith(b"\n\n")
    assert b"\r" not in told
