"""`batch.http.download`: a body on its way to a file."""

from __future__ import annotations

import errno
import io
from functools import partial

import pytest

from batch.core.clock import Clock
from batch.core.errors import WireError
from batch.core.records import Outgoing
from batch.http.download import Download
from tests.http.test_connection import _then_close, client
from tests.support.stub import Stub, reply

GET = Outgoing("/files/f/content", (("Accept", "*/*"),))


class Full(io.BytesIO):
    """A disk without room."""

    def write(self, data: object, /) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_ends_it_with_what_the_disk_said() -> None:
    """The caller tells a fault of the disk from one of the line."""
    taker = Download(Full(), Clock(), first_s=1, idle_s=1)
    with pytest.raises(WireError, match="No space left on device"):
        taker.feed(b"x")
    assert taker.fault is not None
    assert taker.fault.errno == errno.ENOSPC


def test_only_an_unpacked_answer_of_status_200_is_the_file() -> None:
    """Everything else is read like any other answer, and told to whoever asked."""
    taker = Download(io.BytesIO(), Clock(), first_s=1, idle_s=1)
    assert not taker.head(404, [])
    assert not taker.head(200, [(b"Content-Encoding", b"gzip")])
    assert taker.head(200, [(b"content-encoding", b"identity")])


def test_a_packed_file_is_taken_once_it_is_unpacked() -> None:
    """Nobody asked for it to be packed, and it is the file all the same; a refusal is left as it is."""
    file = io.BytesIO()
    taker = Download(file, Clock(), first_s=1, idle_s=1)
    assert taker.remainder(404, b"no") == b"no"
    assert not taker.taken
    assert taker.remainder(200, b"yes") == b""
    assert (taker.taken, file.getvalue()) == (True, b"yes")


async def test_a_body_larger_than_any_answer_may_be_comes_through_whole(stub: Stub) -> None:
    """The limit of answers is one of memory, and this takes none."""
    data = b"0123456789abcdef" * 200_000
    stub.answers = [reply(data)]
    file = io.BytesIO()
    async with client(stub.url, 20, cap=1 << 20) as wire:
        taker = Download(file, Clock(), first_s=10, idle_s=10)
        incoming = await wire.exchange(GET, stream=taker)
    assert (incoming.status, incoming.body, taker.size) == (200, b"", len(data))
    assert file.getvalue() == data


async def test_a_body_that_is_cut_off_is_an_error_and_never_a_short_file(stub: Stub) -> None:
    """What has come is in the file, which the caller throws away."""
    stub.answers = [partial(_then_close, reply(b"x" * 5000)[:-1000])]
    async with client(stub.url, 5) as wire:
        taker = Download(io.BytesIO(), Clock(), first_s=5, idle_s=5)
        with pytest.raises(WireError):
            await wire.exchange(GET, stream=taker)
    assert taker.taken
    assert taker.size < 5000
