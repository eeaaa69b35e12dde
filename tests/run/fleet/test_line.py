"""Frames on a socket: whole and in order, in whatever pieces they come, until the other end is gone."""

from __future__ import annotations

import socket

import anyio
import pytest

from batch.run.fleet.line import HEAD, Line


def frame(message: bytes) -> bytes:
    return len(message).to_bytes(HEAD, "big") + message


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 64, 10_000])
def test_messages_are_whole_however_the_bytes_are_cut(size: int) -> None:
    messages = [b"one", b"", b"x" * 70, b"\x00\x00\x00\x01", b"y" * 1_000]
    found: list[bytes] = []
    line = Line(found.append, lambda: None)
    data = b"".join(map(frame, messages))
    for start in range(0, len(data), size):
        line.data_received(data[start : start + size])
    assert found == messages


def test_both_ends_hear_each_other_and_learn_once_of_the_end() -> None:
    heard: dict[str, list[bytes]] = {"near": [], "far": []}
    ended: list[str] = []

    async def main() -> None:
        over = anyio.Event()

        def far_ended() -> None:
            ended.append("far")
            over.set()

        one, other = socket.socketpair()
        near = Line(heard["near"].append, lambda: ended.append("near"))
        far = Line(heard["far"].append, far_ended)
        await near.open(one)
        await far.open(other)
        far.send(b"ready")
        for number in range(50):
            near.send(b"%d" % number * 5_000)  # more than a socket takes at once
        near.close()
        await over.wait()
        far.send(b"to nobody")

    anyio.run(main)
    assert heard == {"near": heard["near"], "far": [b"%d" % number * 5_000 for number in range(50)]}
    assert sorted(ended) == ["far", "near"]


def test_a_line_that_was_never_opened_takes_nothing_and_closes() -> None:
    told: list[object] = []
    line = Line(told.append, lambda: told.append("ended"))
    line.send(b"lost")
    line.close()
    line.abort()
    assert told == []
