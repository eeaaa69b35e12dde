"""`batch.http.head`: what goes out is the same bytes whether its parts were kept from the request before or not."""

from __future__ import annotations

import pytest

from batch.core.records import Outgoing
from batch.core.version import VERSION
from batch.http import urls
from batch.http.faults import NotSent
from batch.http.head import APART, KEPT, Headers, Heads

KEY: Headers = (("Accept", "application/json"), ("Authorization", "Bearer one"))
OTHER: Headers = (("Accept", "application/json"), ("Authorization", "Bearer two"))


def heads(address: str = "http://localhost:8080/v1") -> Heads:
    return Heads(urls.parse(address))


def written(line: str, headers: Headers, rest: str = "", *, coding: str = "gzip, deflate") -> bytes:
    """A request as it has to look."""
    own = ["Host: localhost:8080", f"User-Agent: promptmill/{VERSION}", f"Accept-Encoding: {coding}"]
    return "\r\n".join([line, *own, *(f"{name}: {value}" for name, value in headers), rest]).encode()


def test_polls_of_many_tasks_and_what_is_asked_between_them_keep_their_own_lines() -> None:
    """Each poll has a path of its own; the headers of both are kept, and neither takes those of the other."""
    one = heads()
    for number in range(2 * KEPT):
        poll = one.sealed(Outgoing(f"/tasks/{number}", KEY), plain=False)
        assert poll.data == written(f"GET /v1/tasks/{number} HTTP/1.1", KEY, "\r\n")
        named = (*KEY, ("X-Id", f"call-{number}"))
        ask = one.sealed(Outgoing("/chat", named, b"{}"), plain=False)
        assert ask.data == written("POST /v1/chat HTTP/1.1", named, "Content-Length: 2\r\n\r\n{}")


def test_another_key_and_another_kind_of_answer_are_written_at_once() -> None:
    """Nothing of the request before is taken that is not the same."""
    one = heads()
    for headers, plain in ((KEY, False), (KEY, True), (OTHER, True), (KEY, True), (KEY, False), ((), False)):
        sealed = one.sealed(Outgoing("/chat", headers, b"{}"), plain=plain)
        coding = "identity" if plain else "gzip, deflate"
        assert sealed.data == written("POST /v1/chat HTTP/1.1", headers, "Content-Length: 2\r\n\r\n{}", coding=coding)


def test_a_large_body_is_not_copied_behind_its_head() -> None:
    """It is written by itself."""
    body = b"x" * (APART + 1)
    sealed = heads().sealed(Outgoing("/chat", KEY, body), plain=False)
    assert sealed.body is body
    assert sealed.data == written("POST /v1/chat HTTP/1.1", KEY, f"Content-Length: {len(body)}\r\n\r\n")


@pytest.mark.parametrize("headers", [(("X-Id", "a\r\nb"),), (("X-Id", "ä"),)])
@pytest.mark.parametrize("body", [None, b"{}"])
def test_a_header_that_would_break_the_request_is_not_sent(headers: Headers, body: bytes | None) -> None:
    """Neither as the last one nor before it, and the next request is whole."""
    one = heads()
    for order in (headers, (*headers, *KEY)):
        with pytest.raises(NotSent):
            one.sealed(Outgoing("/chat", order, body), plain=False)
    rest = "\r\n" if body is None else "Content-Length: 2\r\n\r\n{}"
    line = f"{'GET' if body is None else 'POST'} /v1/chat HTTP/1.1"
    assert one.sealed(Outgoing("/chat", KEY, body), plain=False).data == written(line, KEY, rest)
