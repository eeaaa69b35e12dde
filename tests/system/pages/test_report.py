"""A report in a real browser without a network: whole, quiet, harmless, readable on a phone, in the dark and on paper."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from batch.report.html import write_report
from tests.support.browser import Browser
from tests.support.shown import SECRET_PROMPT
from tests.system.pages.test_view import WIDTHS


@pytest.fixture(scope="module")
def reports(folders: list[Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Of each folder one, and of the first one with its text."""
    home = tmp_path_factory.mktemp("reports")
    found = {out.name: write_report(out, home / f"{out.name}.html").path for out in folders}
    found["text"] = write_report(folders[0], home / "text.html", with_text=True).path
    return found


@pytest.fixture
def offline(browser: Browser) -> Iterator[Browser]:
    """The browser, cut off from every network."""
    browser.look(offline=True)
    yield browser
    browser.call("Emulation.setScriptExecutionDisabled", value=False)


def quiet(browser: Browser, path: Path) -> None:
    """The file was opened and nothing else; nothing was complained of, and nothing ran that stands in a row."""
    assert browser.requests == [path.as_uri()]
    assert browser.complaints == []
    assert browser.run("window.harmed") is None


@pytest.mark.parametrize("name", ["tickets", "variants", "huge", "text"])
def test_a_report_opens_without_a_network_in_any_light_and_width(
    offline: Browser, reports: dict[str, Path], name: str
) -> None:
    for width in WIDTHS:
        offline.look(width=width, offline=True)
        offline.open(reports[name].as_uri())
        for dark in (False, True):
            offline.look(width=width, dark=dark, offline=True)
            assert offline.wide() == 0, f"{width} pixels"
        quiet(offline, reports[name])


def test_the_first_screen_says_what_ran_whether_it_worked_and_what_it_cost(
    offline: Browser, reports: dict[str, Path]
) -> None:
    offline.open(reports["tickets"].as_uri())
    first = offline.text(".headline") + offline.text(".tiles")
    for said in (
        "tickets",
        "52 of 60 rows got an answer, 8 failed",
        "Cost of this run",
        "CNY",
        "glm-4",
        "Started 2026",
    ):
        assert said in first
    assert offline.run("document.querySelector('.tiles').getBoundingClientRect().bottom < innerHeight")
    titles = offline.run("[...document.querySelectorAll('h2')].map((one) => one.textContent)")
    for title in ("Money paid", "Over time", "Errors", "Labels given", "Against the truth", "Slowest and dearest rows"):
        assert title in titles
    links = offline.run(
        "[...document.querySelectorAll('.contents a')].map((one) => Boolean(document.querySelector(one.hash)))"
    )
    assert links == [True] * len(titles)


def test_variants_stand_side_by_side_in_it(offline: Browser, reports: dict[str, Path]) -> None:
    offline.open(reports["variants"].as_uri())
    assert "12 rows, 12 with a result in all, 4 on which they differ" in offline.text("#variants")


def test_text_is_in_it_only_when_asked_for_and_then_as_text(offline: Browser, reports: dict[str, Path]) -> None:
    offline.open(reports["tickets"].as_uri())
    assert "ticket 2" not in offline.run("document.documentElement.textContent")
    offline.open(reports["text"].as_uri())
    offline.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    said = offline.text("main")
    assert SECRET_PROMPT in said
    assert "answer to ticket 2" in said
    assert "退货标签" in said
    quiet(offline, reports["text"])


def test_a_report_prints_in_the_colours_of_paper(offline: Browser, reports: dict[str, Path]) -> None:
    """Whoever looks at it in the dark does not print a black page."""
    offline.look(dark=True, offline=True)
    offline.open(reports["tickets"].as_uri())
    offline.run("window.dispatchEvent(new Event('beforeprint'))")
    assert offline.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    offline.run("window.dispatchEvent(new Event('afterprint'))")
    assert offline.run("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 27)"
    printed = base64.b64decode(offline.call("Page.printToPDF")["data"])
    assert printed.startswith(b"%PDF")
    assert len(printed) > 20_000
    quiet(offline, reports["tickets"])


def test_where_no_script_may_run_the_most_important_thing_is_still_said(
    offline: Browser, reports: dict[str, Path]
) -> None:
    """As in the preview of a mail."""
    offline.call("Emulation.setScriptExecutionDisabled", value=True)
    offline.call("Page.navigate", url=reports["tickets"].as_uri())
    offline.wait("document.readyState === 'complete' && document.querySelector('noscript')")
    said = offline.text()
    assert "52 rows answered, 8 failed" in said
    assert "open it in a browser" in said
