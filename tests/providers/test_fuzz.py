"""Random bytes as answers, and good answers spoiled at random: nobody hangs, and nothing but WireError is raised."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import anyio
from hypothesis import given, settings
from hypothesis import strategies as st

from batch.core.errors import WireError
from batch.core.records import Accepted, Failure, Incoming, Processing, Reply
from batch.http.headers import limit_headers
from tests.http.test_connection import GLM, GOOD, OPENAI, POST, TEXT, _then_close, client
from tests.support.longer import LONG
from tests.support.stub import Stub

EXAMPLES = 600 if LONG else 150
LINES = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 429 \r\n",
        b"HTTP/1.0 500 x\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 204\r\n",
        b"HTTP/9.9 999 x\r\n",
        b"Content-Length: 5\r\n",
        b"Content-Length: 0\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: gzip\r\n",
        b"Content-Encoding: gzip\r\n",
        b"Connection: close\r\n",
        b"Retry-After: \xff\xfe\r\n",
        b" folded\r\n",
        b"\r\n",
        b"5\r\nhello\r\n",
        b"0\r\n\r\n",
        b"{}",
        TEXT,
    ]
)


@given(parts=st.lists(LINES | st.binary(max_size=40), max_size=8))
@settings(max_examples=EXAMPLES // 2, deadline=None)
def test_no_bytes_whatever_raise_anything_but_wire_error_or_hang(parts: list[bytes]) -> None:
    """Status line, headers and body at random; then both dialects read what came."""
    kinds: list[str] = []

    async def main() -> None:
        async with Stub() as stub, client(stub.url, 1.0) as wire:
            stub.answers = [partial(_then_close, b"".join(parts))]
            with anyio.fail_after(60):
                try:
                    incoming = await wire.exchange(POST)
                except WireError as error:
                    kinds.append(error.kind)
                else:
                    read_all(incoming)

    anyio.run(main)
    assert set(kinds) <= {"transport", "bad_payload"}


def read_all(incoming: Incoming) -> None:
    """Every reader of every dialect over one answer."""
    for dialect in (GLM, OPENAI):
        assert isinstance(dialect.read_chat(incoming), Reply | Failure)
    assert isinstance(GLM.read_submit(incoming), Accepted | Failure)
    assert isinstance(GLM.read_poll(incoming), Reply | Failure | Processing)
    limit_headers(incoming.headers)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["stop", "SUCCESS", "FAIL", "1302", "1308", "2026-13-45 99:99:99", "\ud83d", "\0"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*GOOD, "error", "code", "message", "task_status", "content"]), inner)
    ),
    max_leaves=10,
)


@given(place=st.lists(st.sampled_from([*GOOD, "message", "content", "finish_reason", 0]), max_size=5), value=JSON)
@settings(max_examples=EXAMPLES, deadline=None)
def test_a_good_answer_with_anything_in_any_place_of_it_makes_no_reader_raise(place: list[Any], value: Any) -> None:
    """The documented form, spoiled in one place; with and without a task's state around it."""
    for more in ({}, {"task_status": "SUCCESS"}, {"task_status": "PROCESSING"}, {"task_status": "FAIL"}):
        spoiled = json.loads(TEXT) | more
        inner: Any = spoiled
        for step in place:
            following = inner.get(step) if isinstance(inner, dict) else inner[0] if isinstance(inner, list) else None
            if not isinstance(following, dict | list) or not following:
                break
            inner = following
        if isinstance(inner, dict):
            inner[place[-1] if place else "choices"] = value
        else:
            inner[0] = value
        body = json.dumps({str(key): item for key, item in spoiled.items()}).encode()
        for status in (200, 400, 429, 502):
            read_all(Incoming(status, {"retry-after": str(value)[:20]}, body))
