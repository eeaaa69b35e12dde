"""`batch.submit.wave_wire`: how much of a batch file the wire log gets."""

from __future__ import annotations

from pathlib import Path

from batch.core.records import Incoming
from batch.submit.wave_wire import FILE_BYTES, brought, shortened


def test_a_file_is_cut_between_two_lines() -> None:
    """A key that is cut in the middle could not be masked."""
    line = b'{"custom_id":"pm-1"}\n'
    data = line * 10_000
    cut = shortened(data, len(data))
    lines, _, told = cut.rpartition(b"\n")
    assert lines + b"\n" == line * (FILE_BYTES // len(line))
    assert told == "… 210,000 bytes in all".encode()
    assert shortened(b"a" * 99_999, 99_999) == "… 99,999 bytes in all".encode()


def test_an_answer_that_went_to_the_disk_is_told_by_its_first_lines(tmp_path: Path) -> None:
    """A small one is whole; one that is gone is told without."""
    path, answer = tmp_path / "file", Incoming(200, {}, b"")
    path.write_bytes(b"one\ntwo\n")
    assert brought(answer, path).body == b"one\ntwo\n"
    path.write_bytes(b"one\n" * 100_000)
    assert brought(answer, path).body.endswith("… 400,000 bytes in all".encode())
    assert brought(answer, tmp_path / "gone") is answer
