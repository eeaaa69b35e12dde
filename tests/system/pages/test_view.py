"""The pages of `promptmill view` in a real browser: complete, harmless, usable with the keyboard, true while a run works."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from batch.report.digest import digest
from tests.support.browser import Browser
from tests.support.labelled import EARLIER
from tests.support.outfolders import RUN
from tests.support.shown import LABELS, NASTY
from tests.system.pages.conftest import HUGE, Working, view

PAGES = {
    "": "Folders",
    "#/0/overview": "tickets",
    "#/0/rows": "Rows",
    "#/0/row/3": "Row r3",
    "#/1/compare": "Compare",
    "#/0/labels": "Labels",
    "#/0/money": "Money",
}
"""The addresses of pages, and the first words of each."""
WIDTHS = (1280, 390)
"""In pixels: a desk and a phone."""


def harmless(browser: Browser, address: str) -> None:
    """Nothing of what rows tried came to pass, nothing was complained of, and nobody else was asked."""
    assert browser.complaints == []
    assert browser.run("window.harmed") is None
    own = urlsplit(address).netloc
    assert {urlsplit(url).netloc for url in browser.requests if not url.startswith("data:")} == {own}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page or "folders")
def test_each_page_is_whole_at_a_desk_and_on_a_phone_in_light_and_in_the_dark(
    browser: Browser, address: str, page: str
) -> None:
    for width in WIDTHS:
        browser.look(width=width)
        browser.open(address + page)
        assert browser.text("h1").startswith(PAGES[page])
        assert browser.run("document.querySelectorAll('main .failure').length") == 0
        for dark in (False, True):
            browser.look(width=width, dark=dark)
            assert browser.wide() == 0, f"{width} pixels"
            ground = browser.run("getComputedStyle(document.body).backgroundColor")
            assert ground == ("rgb(20, 23, 27)" if dark else "rgb(255, 255, 255)")
        harmless(browser, address)


def test_the_overview_says_first_what_ran_whether_it_worked_and_what_it_cost(browser: Browser, address: str) -> None:
    browser.open(f"{address}#/0/overview")
    first = browser.text(".headline") + browser.text(".tiles")
    for said in ("tickets", "FINISHED", "52 of 60 rows got an answer, 8 failed", "CNY", "glm-4"):
        assert said.lower() in first.lower()
    assert browser.run("document.querySelector('.tiles').getBoundingClientRect().bottom < innerHeight")
    assert browser.run("document.querySelectorAll('.chart canvas').length") == 4
    assert browser.run("document.querySelectorAll('.histogram rect').length") > 3


def test_rows_are_filtered_paged_and_taken_along(browser: Browser, address: str) -> None:
    browser.open(f"{address}#/0/rows?status=failed&size=25")
    assert browser.run("document.querySelectorAll('table.data tbody tr').length") == 8
    assert browser.run("[...document.querySelectorAll('tbody .badge')].every((one) => one.textContent === 'failed')")
    files = browser.run(
        "Promise.all([...document.querySelectorAll('.downloads a')].map(async (one) => {"
        " const answer = await fetch(one.href); return [one.textContent, answer.status, await answer.text()]; }))"
    )
    assert [(name, status) for name, status, _ in files] == [("CSV", 200), ("JSONL", 200), ("Review file", 200)]
    rows = [json.loads(line) for line in files[1][2].splitlines()]
    assert [row["status"] for row in rows] == ["failed"] * 8
    browser.open(f"{address}#/0/rows?size=25")
    browser.run("document.querySelector('a[rel=next]').click()")
    browser.wait("document.querySelector('main').innerText.includes('Page 2: 25 rows of 60')")
    browser.open(f"{address}#/0/rows?text=no+row+says+this")
    assert "No row is like this" in browser.text("main")


def test_a_filter_that_makes_no_sense_is_answered_in_words(browser: Browser, address: str) -> None:
    browser.open(f"{address}#/0/rows?min=nothing:3")
    assert "nothing" in browser.text(".failure")
    assert browser.run("document.querySelectorAll('.failure a[href], nav a[href]').length") > 0


def test_a_cell_of_the_confusion_matrix_leads_to_its_rows(browser: Browser, address: str) -> None:
    browser.open(f"{address}#/0/labels")
    assert all(label in browser.text("table.matrix") for label in LABELS)
    number = int(browser.run("document.querySelector('table.matrix td.wrong a').textContent"))
    browser.run("document.querySelector('table.matrix td.wrong a').click()")
    browser.wait("document.querySelector('h1').textContent === 'Rows' && document.querySelector('table.data tbody tr')")
    assert browser.run("document.querySelectorAll('table.data tbody tr').length") == number


def test_variants_are_compared_side_by_side(browser: Browser, address: str) -> None:
    browser.open(f"{address}#/1/compare")
    said = browser.text("main")
    assert "4 on which they differ" in said
    assert "66.7 %" in said
    browser.open(f"{address}#/1/row/0?of=short")
    assert browser.text("article.variant h2").startswith("Variant short")


def test_labels_of_two_nights_show_their_drift_and_another_column_can_be_chosen(browser: Browser, address: str) -> None:
    browser.open(f"{address}#/3/labels")
    assert "Labels whose share moved" in browser.text("#drift")
    assert "+50.0 points" in browser.text("#drift")
    browser.run("document.querySelector('input[name=label]').focus()")
    browser.type("label_urgent")
    browser.press("Enter")
    browser.wait("document.querySelector('main').innerText.includes('Column label_urgent')")
    browser.go("#/3/labels?label=nothing")
    assert "has no such column" in browser.text(".failure")
    assert browser.run("document.querySelector('input[name=label]').value") == "nothing"


def test_figures_over_time_can_be_those_of_another_run(browser: Browser, address: str) -> None:
    browser.open(f"{address}#/3/overview")
    links = browser.run("[...document.querySelectorAll('#over-time .choices a')].map((one) => one.textContent)")
    assert links == ["all runs", RUN, EARLIER]
    browser.run("[...document.querySelectorAll('#over-time .choices a')][2].click()")
    browser.wait(f"document.querySelector('#over-time [aria-current]')?.textContent === {EARLIER!r}")


def test_text_that_tries_something_is_shown_as_text(browser: Browser, address: str) -> None:
    """A script, markup, a link that runs, marks that turn the line, signs of a terminal, and Markdown made to be slow."""
    seen = {}
    browser.open(f"{address}#/0/rows")
    for number in range(len(NASTY)):
        browser.go(f"#/0/row/{number}")
        harmless(browser, address)
        seen[number] = browser.text(".inputs")
        assert browser.run(
            "[...document.querySelectorAll('main a')].every((one) => !one.href.startsWith('javascript'))"
        )
        assert not set("\u202e\x1b\x00") & set(browser.run("document.querySelector('main').textContent"))
        if number == 3:
            assert browser.run("document.querySelector('.markdown strong').textContent") == "bold"
    assert "<script>window.harmed = 1</script>" in seen[0]
    assert "U+202E" in seen[4]
    assert "U+001B" in seen[5]
    assert "退货标签" in seen[6]


def test_an_answer_of_ten_megabytes_is_shown_piece_by_piece(browser: Browser, address: str) -> None:
    browser.open(f"{address}#/2/row/0")
    shown = browser.run("document.querySelector('.conversation pre').textContent.length")
    assert 1_000 < shown <= 20_000 < HUGE
    browser.run("document.querySelector('.conversation button.more').click()")
    assert browser.run("document.querySelector('.conversation pre').textContent.length") > shown
    browser.open(f"{address}#/2/rows")
    assert browser.run("document.querySelector('main').textContent.length") < 10_000
    harmless(browser, address)


def test_everything_can_be_reached_with_the_keyboard_alone(browser: Browser, address: str) -> None:
    browser.open(f"{address}#/0/overview")
    browser.press("Tab")
    assert browser.focused() == "a  Skip to the content"
    assert browser.run("document.activeElement.getBoundingClientRect().left >= 0"), "it is seen when it has the focus"
    browser.press("Enter")
    assert browser.run("document.activeElement.id") == "content"
    browser.press("2")
    browser.wait("document.querySelector('h1').textContent === 'Rows'")
    browser.press("j", "j", "k")
    assert browser.focused() == "a  r0"
    assert browser.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    browser.press("Enter")
    browser.wait("document.querySelector('h1').textContent.startsWith('Row r0')")
    browser.press("n")
    browser.wait("document.querySelector('h1').textContent.startsWith('Row r1')")
    browser.press("ArrowRight")
    browser.wait("document.querySelector('h1').textContent.startsWith('Row r2')")
    browser.press("p")
    browser.wait("document.querySelector('h1').textContent.startsWith('Row r1')")
    browser.press("u")
    browser.wait("document.querySelector('h1').textContent === 'Rows'")
    browser.press("/")
    assert browser.run("document.activeElement.name") == "text"
    browser.type("ticket 2")
    browser.press("2")  # a digit in a field is a digit
    browser.press("Enter")
    browser.wait("document.querySelector('main').innerText.includes('Page 1: 1 row')")
    browser.press("?")
    assert browser.run("document.querySelector('dialog').open")
    browser.press("Escape")
    assert not browser.run("document.querySelector('dialog').open")
    browser.press("f")
    browser.wait("document.querySelector('h1').textContent === 'Folders'")
    harmless(browser, address)


def test_every_stop_of_the_tab_key_is_seen_and_leads_once_around(browser: Browser, address: str) -> None:
    browser.open(f"{address}#/0/rows?size=25")
    seen = set()
    for _ in range(200):
        browser.press("Tab")
        if browser.run("document.activeElement === document.body"):
            break
        seen.add(browser.run("(document.activeElement.dataset.stop ??= Math.random().toString())"))
        assert browser.run("getComputedStyle(document.activeElement).outlineStyle !== 'none'"), browser.focused()
    reachable = browser.run(
        "[...document.querySelectorAll('a[href], button, input, select')]"
        ".filter((one) => !one.hidden && !one.closest('dialog')).length"
    )
    assert len(seen) >= reachable


def test_pages_follow_a_run_at_work_and_its_end(browser: Browser, working: Working) -> None:
    """Each page is opened while it works; the overview goes on by itself, and what has the focus keeps it."""
    browser.open(working.address)
    for page, first in (
        ("#/0/rows", "Rows"),
        ("#/0/row/0", "Row r0"),
        ("#/0/compare", "Compare"),
        ("#/0/labels", "Labels"),
        ("#/0/money", "Money"),
        ("#/0/overview", "at-work"),
    ):
        browser.go(page)
        assert browser.text("h1").startswith(first)
        assert browser.run("document.querySelectorAll('main .failure').length") == 0, browser.text("main")
        harmless(browser, working.address)
    browser.go("#/0/rows")
    browser.wait("!document.getElementById('older').hidden")  # a list does not change under the eyes of who reads it
    browser.run("document.getElementById('older').click()")
    browser.wait("document.getElementById('older').hidden")
    browser.press("1")
    browser.wait("document.querySelector('h1 .badge')")
    assert browser.text("h1 .badge").lower() == "running"
    assert "Waits for" in browser.text("#now")
    assert digest(working.out)["left_out"] == [
        "The run is at work: its sections are of moments some seconds apart, so sums may differ a little."
    ]
    opened = "(() => { const link = document.querySelector('#now table a'); link.click(); return link.textContent; })()"
    row = browser.run(opened)  # it may be in no table yet
    browser.wait(f"document.querySelector('h1').textContent.startsWith('Row ' + {row!r})")
    browser.press("u")
    browser.wait("document.querySelector('h1').textContent === 'Rows'")
    browser.press("1")
    browser.wait("document.querySelector('h1 .badge')")
    answered = "Number(document.querySelector('.tile-value').textContent.replaceAll(',', ''))"
    before = browser.run(answered)
    browser.run("document.querySelector('#settings summary').focus()")
    browser.wait(f"{answered} > {before}")
    assert browser.focused().startswith("summary")
    working.interrupt()
    browser.wait("document.querySelector('h1 .badge').textContent === 'interrupted'")
    assert "Run the same command to continue" in browser.text(".headline")
    browser.open(f"{working.address}#/0/rows")
    harmless(browser, working.address)


def test_a_server_that_is_gone_is_told_in_words(browser: Browser, folders: list[Path]) -> None:
    with view(folders[0]) as found:
        browser.open(f"{found}#/0/rows")
    browser.run("location.hash = '#/0/money'")
    browser.wait("document.querySelector('.failure')")
    assert "Start promptmill view again" in browser.text(".failure")
    browser.wait("document.getElementById('heard').textContent === 'not connected'")
