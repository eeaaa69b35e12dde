"""`batch.http.urls`: plain addresses are read as httpx reads them, all others by httpx itself."""

from __future__ import annotations

import subprocess
import sys

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from batch.http import urls

PARTS = [
    *("http", "https", "HTTP", "ftp", "://", ":", "/", "//", "?", "#", "@", "[::1]", "%2F", "%2f", "%", " ", "é", "."),
    *(
        "host",
        "Host",
        "host.example",
        "127.0.0.1",
        "127.0.1",
        "999.1.1.1",
        "1.2.3.4.5",
        "xn--bcher-kva.de",
        "bücher.de",
    ),
    *(
        ":80",
        ":443",
        ":8080",
        ":0",
        ":99999",
        ":08",
        "/v1",
        "/a b",
        "/../x",
        "/./x",
        "/.x",
        "/x..",
        "~a",
        "a;b=c,d",
        "_",
    ),
]


@given(st.lists(st.sampled_from(PARTS), max_size=6).map("".join) | st.text(max_size=20))
@example("http://127.0.0.1:8000/api/paas/v4")
@example("https://open.bigmodel.cn/api/paas/v4")
@example("http://localhost")
@example("://xn--bcher-kva.de%2F")
def test_every_address_is_read_as_httpx_does(text: str) -> None:
    """What it is, what stands in the Host header, and what is none."""
    try:
        theirs = httpx.URL(text)
        host = theirs.host
    except (httpx.InvalidURL, UnicodeError):  # the latter by a name that is no name once it is decoded
        with pytest.raises(ValueError, match="."):
            urls.parse(text)
        return
    ours = urls.parse(text)
    assert (ours.scheme, ours.host, ours.port, ours.server) == (
        theirs.scheme, host, theirs.port, theirs.netloc.decode("ascii"),
    )  # fmt: skip
    assert (ours.userinfo, ours.query, ours.fragment) == (theirs.userinfo, theirs.query, theirs.fragment)
    assert ours.path == theirs.path
    if theirs.host:
        assert ours.with_path("/other") == str(theirs.copy_with(path="/other"))


@given(
    st.sampled_from(["http://host", "https://host/v1", "http://host:81/a/b", "http://host/a%20b", "https://HOST/é"]),
    st.lists(st.sampled_from([*PARTS, "chat", "completions", "async-result"]), max_size=5).map("".join),
)
def test_every_path_goes_out_as_httpx_would_write_it(base: str, path: str) -> None:
    """Escapes, dots, blanks: the request line is the same."""
    try:
        theirs = httpx.URL(f"{base}/{path.lstrip('/')}").raw_path.decode("ascii")
    except httpx.InvalidURL:
        return
    assert urls.target(urls.parse(base), path) == theirs


def test_a_long_path_with_an_odd_end_is_read_at_once() -> None:
    """The number of ways to read it once doubled with each letter: this one had no end."""
    path = f"{'a' * 80}/{'b' * 80} "
    assert urls.target(urls.parse("http://host/v1"), path) == httpx.URL(f"http://host/v1/{path}").raw_path.decode()


@pytest.mark.slow
def test_a_plain_address_needs_no_httpx() -> None:
    """It takes as long to load as all the rest of a command's start."""
    program = (
        "import sys; from batch.http.client import Client; from batch.http import urls\n"
        "for url in ('http://127.0.0.1:8000/v1', 'https://open.bigmodel.cn/api/paas/v4', 'https://api.openai.com/v1'):\n"
        "    client = Client(url, call_timeout_s=5); urls.target(client._url, '/async-result/a%2Fb')\n"
        "print('httpx' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]
