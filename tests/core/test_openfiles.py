"""`batch.core.openfiles`: the limit of open files is raised, counted, and named when it is reached."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from batch.core import openfiles
from batch.core.errors import RefusedToStart, StorageError
from batch.ledger import schema
from batch.limits import sockets
from batch.output import files
from batch.output.folder import OutputFolder, RunLock


@pytest.fixture
def hard() -> Iterator[int]:
    """The limits of this process, as they are afterwards again; gives the one that only root may raise."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield limits[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def leave(number: int) -> None:
    """Let this process open so many more files, as near as can be told."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (openfiles.used() + number, hard))


def test_the_limit_is_raised_as_far_as_wanted_and_allowed(hard: int) -> None:
    """FIELD 41. Never lowered, and never above what the system allows."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
    assert openfiles.raise_to(300) == 300
    assert openfiles.raise_to(250) == 300
    assert "ulimit -n" in openfiles.advice()
    assert openfiles.raise_to(hard + 1_000) == hard
    assert "LimitNOFILE" in openfiles.advice(), "a shell may not raise it any more"


def test_files_that_are_open_are_counted() -> None:
    """FIELD 41. Sockets and pipes are files, too."""
    before = openfiles.used()
    ends = os.pipe()
    assert openfiles.used() == before + 2
    for end in ends:
        os.close(end)


def test_as_many_calls_are_made_as_there_are_files_for(hard: int) -> None:
    """FIELD 41. Fewer than asked for, which is said with the way out; none at all is refused before anything is sent."""
    leave(sockets.OTHERS + 5)
    assert (sockets.calls(3), sockets.calls(5), sockets.calls(50)) == (3, 5, 5)
    assert sockets.fewer(50, 5).startswith("5 calls in flight instead of 50: each needs an open file. Raise ")
    leave(sockets.OTHERS)
    with pytest.raises(RefusedToStart, match=r"too few files may be open .* ulimit -n \d+"):
        sockets.calls(50)
    leave(sockets.OTHERS + sockets.LOOP + 5)
    assert sockets.calls(50, loop=False) == 5, "before there is an event loop, its files count, too"


def test_no_more_open_files_are_no_full_disk(hard: int, tmp_path: Path) -> None:
    """FIELD 41. Whatever is opened first: the way out is not to free space, and the disk is well."""
    place = OutputFolder(tmp_path / "out")
    with ExitStack() as stack:
        leave(2)
        with pytest.raises(OSError, match="Too many") as full:
            while True:
                stack.enter_context(Path(os.devnull).open("rb"))
        assert openfiles.used_up(full.value)
        assert openfiles.none_left()
        refused = []
        for act in (
            lambda: files.write_json(tmp_path / "a.json", {}),
            lambda: RunLock(place).take(),
            lambda: schema.connect(tmp_path / "ledger.db"),
        ):
            with pytest.raises(StorageError) as caught:
                act()
            refused.append(str(caught.value))
    for text in refused:
        assert "Raise the number of files that may be open" in text
        assert "disk" not in text
        assert "space" not in text
    assert not openfiles.none_left()
    assert not openfiles.used_up(OSError(errno.ENOSPC, "full"))
