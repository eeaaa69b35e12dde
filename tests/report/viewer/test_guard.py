"""`batch.report.viewer.guard`: who is answered, and what every answer tells the browser."""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from batch.report import bundle
from batch.report.viewer import guard
from tests.support.outfolders import finished
from tests.support.viewing import Viewing, viewing


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished(tmp_path_factory.mktemp("guard") / "out", pa.table({"t": ["a", "b"]})).root


@pytest.fixture
def view(out: Path) -> Iterator[Viewing]:
    with viewing(out) as found:
        yield found


PAGES = ("", "api/folders", "api/0/overview", "api/0/rows", "api/0/rows.csv", "api/9/rows", "odd", "metrics")


@pytest.mark.parametrize("page", PAGES)
def test_nothing_is_answered_without_the_token(view: Viewing, page: str) -> None:
    """One answer for all: it does not even tell what there would be."""
    wrong = ("x", view.token[:-1], view.token + "x", view.token.swapcase(), "", "%2e%2e", "ü")
    answers = {
        (found.status, found.body) for token in wrong for found in [view.ask(f"/{token}/{page}".replace("ü", "%C3%BC"))]
    }
    assert len(answers) == 1
    assert answers.pop()[0] == 404


def test_the_token_is_another_each_time_and_compared_in_constant_time(
    view: Viewing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """192 bits; how long a refusal takes tells nothing about how much was right."""
    assert len({guard.new_token() for _ in range(50)}) == 50
    assert len(view.token) == 32
    compared: list[tuple[bytes, bytes]] = []

    def compare(*both: bytes) -> bool:
        compared.append((both[0], both[1]))
        return False

    monkeypatch.setattr(hmac, "compare_digest", compare)
    assert view.get("api/folders").status == 404
    assert compared == [(view.token.encode(), view.token.encode())]


@pytest.mark.parametrize(
    "host",
    [
        "evil.example:{port}",
        "127.0.0.1",
        "127.0.0.1:1",
        "localhost.evil.example:{port}",
        "0.0.0.0:{port}",
        "127.1:{port}",
        "",
    ],
)
def test_a_foreign_name_that_points_to_this_machine_is_refused(view: Viewing, host: str) -> None:
    """DNS rebinding: the browser would let a foreign page read the answer."""
    answer = view.ask(f"/{view.token}/", headers={"Host": host.format(port=view.port)})
    assert answer.status in (400, 421)
    assert b"<" not in answer.body


def test_a_request_without_a_name_or_with_two_is_refused(view: Viewing) -> None:
    """HTTP/1.0 has none."""
    line = f"GET /{view.token}/ HTTP/1.0\r\n"
    for names in ("", f"Host: localhost:{view.port}\r\nHost: localhost:{view.port}\r\n"):
        with view.raw(f"{line}{names}\r\n".encode()) as connection:
            assert connection.recv(100).split(b" ")[1] in (b"400", b"421")


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "LocalHost", "[::1]"])
def test_the_names_of_this_machine_are_ours(view: Viewing, name: str) -> None:
    """With our port."""
    assert view.ask(f"/{view.token}/", headers={"Host": f"{name}:{view.port}"}).status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
def test_nothing_can_be_changed(view: Viewing, method: str) -> None:
    """Not even asked whether it could be."""
    answer = view.ask(f"/{view.token}/api/0/rows", method)
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("page", PAGES)
def test_head_has_the_head_alone(view: Viewing, page: str) -> None:
    """As HTTP wants it."""
    answer = view.ask(f"/{view.token}/{page}", "HEAD")
    whole = view.get(page)
    assert (answer.status, answer.body) == (whole.status, b"")
    assert answer.headers["content-type"] == whole.headers["content-type"]


@pytest.mark.parametrize("page", [*PAGES, "../odd"])
def test_every_answer_keeps_the_browser_from_guessing_keeping_and_telling(view: Viewing, page: str) -> None:
    """Refusals, too."""
    for path in (f"/{view.token}/{page}", f"/wrong/{page}"):
        headers = view.ask(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"
        assert headers["content-security-policy"].startswith("default-src 'none'; ")
        assert "server" not in headers
        assert "access-control-allow-origin" not in headers


def test_the_page_comes_under_its_own_policy(view: Viewing) -> None:
    """Its script and style by their hash, and nothing else."""
    answer = view.get("")
    assert (answer.status, answer.body) == (200, bundle.page().html)
    assert answer.headers["content-security-policy"] == bundle.page().policy
    assert "unsafe" not in bundle.page().policy
    assert answer.headers["content-type"] == "text/html; charset=utf-8"


def test_the_address_without_its_last_slash_leads_to_the_page(view: Viewing) -> None:
    """The page asks for figures beside itself."""
    answer = view.ask(f"/{view.token}")
    assert (answer.status, answer.headers["location"]) == (307, f"/{view.token}/")
