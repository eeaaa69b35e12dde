"""The scripts of the pages by themselves: how numbers are written, and what becomes of Markdown and of foreign text."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from batch.report.bundle import ASSETS
from tests.support.browser import Browser

OURS = (
    "dom",
    "format",
    "markdown",
    "plots",
    "tables",
    "overview",
    "compare",
    "money",
    "details",
    "timechart",
    "row",
    "app",
)
TAKEN = "el, foreign, foreignBlock, cut, count, short, percent, exact, money, duration, moment, markdown, confusionMatrix, ratesOf, routeOf, messageOf, bytes, tiles, barTable, differenceOf, inputOf, historySection, costOf, moneySection, groupedSection, nowSection"


PIXEL = "data:image/gif;base64,R0lGODlhAQABAAAAACw="


@pytest.fixture
def ours(browser: Browser) -> Browser:
    """The browser with the functions of the pages on an empty page."""
    texts = [(ASSETS / f"{name}.js").read_text(encoding="utf-8") for name in OURS]
    last = texts[-1].partition("\nconst source = sourceOfPage()")[0]  # what starts the pages is left out
    browser.run(f"(() => {{ {' '.join([*texts[:-1], last])}\nObject.assign(globalThis, {{ {TAKEN} }}); }})()")
    return browser


def called(browser: Browser, name: str, *values: Any) -> Any:
    """What a function gives: a value, or the HTML of an element."""
    words = ", ".join(json.dumps(value) for value in values)
    return browser.run(f"(() => {{ const found = {name}({words}); return found?.outerHTML ?? found; }})()")


@pytest.mark.parametrize(
    ("name", "values", "shown"),
    [
        ("count", [1319], "1,319"),
        ("count", [None], "–"),
        ("short", [58139], "58.1 k"),
        ("short", [1_234_567], "1.23 M"),
        ("moment", ["1970-01-01T00:00:00.000Z"], "–"),
        ("moment", ["no moment"], "no moment"),
        ("moment", [1_795_226_400.5], "2026-11-21 02:00:00"),
        ("short", [0], "0"),
        ("percent", [0.5], "50 %"),
        ("percent", [0.00004], "0.004 %"),
        ("percent", [0.99999], "99.9 %"),
        ("percent", [1], "100 %"),
        ("exact", ["1234567.120000000000"], "1,234,567.12"),
        ("exact", ["0.000000000001"], "0.000000000001"),
        ("exact", ["-1234.5"], "-1,234.50"),
        ("bytes", [1958], "1,958 B"),
        ("bytes", [15_810], "15.8 kB"),
        ("duration", [0], "0 s"),
        ("duration", [0.0634], "63.4 ms"),
        ("duration", [1.004], "1.00 s"),
        ("duration", [75], "1 min 15 s"),
        ("duration", [7205], "2 h"),
        ("duration", [183_600], "2 d 3 h"),
    ],
)
def test_numbers_are_written_as_people_read_them(ours: Browser, name: str, values: list[Any], shown: str) -> None:
    assert called(ours, name, *values) == shown


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        ("0.000000000000", "0.00 CNY"),
        ("9.652800000000", "9.65 CNY"),
        ("0.000588000000", "0.000588 CNY"),
        ("0.0000000000012", "0.000000000001 CNY"),
        ("0E-12", "0.00 CNY"),
        ("123456.789", "123,456.79 CNY"),
    ],
)
def test_money_is_rounded_to_be_read_and_exact_in_its_title(ours: Browser, amount: str, shown: str) -> None:
    assert ours.run(f"money({amount!r}, 'CNY').textContent") == shown
    assert ours.run(f"money({amount!r}, 'CNY').title") == called(ours, "exact", amount) + " CNY"


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("a *b* **c** ~~d~~ `e*f*`", "<p>a <em>b</em> <strong>c</strong> <del>d</del> <code>e*f*</code></p>"),
        ("2 * 3 * 4 snake_case_name", "<p>2 * 3 * 4 snake_case_name</p>"),
        (r"\*no\*", "<p>*no*</p>"),
        ("- a\n- b\n  - c", "<ul><li>a</li><li><p>b</p><ul><li>c</li></ul></li></ul>"),
        ("3. a\n4. b", '<ol start="3"><li>a</li><li>b</li></ol>'),
        ("> a\n> b", "<blockquote><p>a<br>b</p></blockquote>"),
        ("---", "<hr>"),
        ("<b>x</b> &amp;", "<p>&lt;b&gt;x&lt;/b&gt; &amp;amp;</p>"),
        ("[a](javascript:x)", "<p>a (javascript:x)</p>"),
        ("[a](data:text/html,x)", "<p>a (data:text/html,x)</p>"),
        ("**never closed", "<p>**never closed</p>"),
    ],
)
def test_markdown_becomes_elements_of_ours_and_nothing_else(ours: Browser, text: str, html: str) -> None:
    assert called(ours, "markdown", text) == f'<div class="markdown" dir="auto">{html}</div>'


def test_a_link_tells_its_address_and_gives_nothing_away(ours: Browser) -> None:
    made = called(ours, "markdown", "[the *site*](https://example.org/a?b=1&c)")
    assert 'href="https://example.org/a?b=1&amp;c" rel="noopener noreferrer nofollow" target="_blank"' in made
    assert "<em>site</em></a>" in made
    assert "<img" not in called(ours, "markdown", "![picture](https://example.org/a.png)")


@pytest.mark.parametrize(
    "text",
    [
        "[" * 99_000,
        "*a " * 33_000,
        "`" * 99_001,
        "> " * 49_000,
        "# " + "#" * 99_000 + "x",
        "|" + "-" * 99_000 + "\n|" * 9,
        "- \n" * 33_000,
        "_a" * 49_000,
        "](" * 49_000,
    ],
    ids=lambda text: text[:3],
)
def test_markdown_that_is_made_to_be_slow_is_not(ours: Browser, text: str) -> None:
    """A hundred thousand characters; what grew with their square would take minutes."""
    took = ours.run(
        f"(() => {{ const start = performance.now(); markdown({json.dumps(text)}); return performance.now() - start; }})()"
    )
    assert took < 5_000


def test_signs_that_steer_are_shown_by_their_number_and_halves_too(ours: Browser) -> None:
    made = ours.run("foreign('a\\u202eb\\u0000\\ud800c😀').textContent")
    assert made == "aU+202EbU+0000U+D800c😀"
    assert ours.run("foreign('a\\tb\\nc').textContent") == "a\tb\nc"
    assert ours.run("cut('ab😀', 3)") == "ab", "no half of a sign"


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (
            {"role": "assistant", "reasoning_content": "hm <b>", "content": "It is **4**."},
            ["What the model thought", "hm &lt;b&gt;", "<strong>4</strong>", "As it came"],
        ),
        (
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "c1", "function": {"name": "add", "arguments": '{"a": 2}'}}],
            },
            ["calls <code>add</code>", "c1", '"a": 2'],
        ),
        ({"role": "tool", "tool_call_id": "c1", "content": '{"sum":4}'}, ["answers", "c1", '"sum": 4']),
        ({"role": "tool", "content": '{"sum":53195444847186410}'}, ["53195444847186410"]),
        (
            {
                "role": "user",
                "content": [{"type": "text", "text": "what?"}, {"type": "image_url", "image_url": {"url": PIXEL}}],
            },
            ["what?", f'src="{PIXEL}"'],
        ),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "sha256:60"}, "source": "a.png"}]},
            ["Picture", "a.png", "sha256:60"],
        ),
        ({"role": "<i>", "content": {"odd": [1]}}, ["&lt;i&gt;", '"odd"']),
    ],
    ids=["reasoning", "tool call", "tool result", "large number", "picture", "picture elsewhere", "odd"],
)
def test_a_message_is_shown_with_all_that_is_in_it(ours: Browser, message: dict[str, Any], said: list[str]) -> None:
    made = called(ours, "messageOf", message)
    for text in said:
        assert text in made


def test_a_picture_that_lies_elsewhere_is_told_and_not_loaded(ours: Browser) -> None:
    part = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
    made = called(ours, "messageOf", {"role": "user", "content": [part]})
    assert "https://example.org/a.png" in made
    assert "<img" not in made


def test_a_large_matrix_keeps_the_classes_with_the_most_mistakes(ours: Browser) -> None:
    confusion = {f"c{n:02}": {f"c{n:02}": 5} for n in range(60)}
    confusion["c59"]["c58"] = 3
    made = called(ours, "confusionMatrix", confusion, None)
    assert "c59" in made
    assert "36 more are left out" in made


def test_rates_hold_several_calls_in_each_bin_and_lose_none(ours: Browser) -> None:
    series = {"t": list(range(0, 1000, 1)), "bin_s": 1, "calls": [1] * 1000, "rows": [2] * 1000}
    rates = ours.run(
        f"(() => {{ const {{ times, rate }} = ratesOf({json.dumps(series)}); return [times.length, rate({series['rows']})]; }})()"
    )
    assert rates[0] <= 250
    assert set(rates[1]) == {2}


@pytest.mark.parametrize(
    ("address", "route"),
    [
        ("", ["0", "overview"]),
        ("#/0/rows?status=failed", ["0", "rows"]),
        ("#/7/rows", ["0", "overview"]),
        ("#/0/nothing", ["0", "overview"]),
        ("#/0/row/x", ["0", "overview"]),
        ("#/%zz/rows", ["0", "overview"]),
    ],
)
def test_an_address_that_means_nothing_leads_to_the_overview(ours: Browser, address: str, route: list[str]) -> None:
    found = ours.run(f"routeOf({address!r}, [{{ id: '0' }}])")
    assert [found["folder"], found["name"]] == route


def test_what_a_run_does_not_know_of_its_cost_is_said_once_each_with_its_bound(ours: Browser) -> None:
    """`unpriced` counts the calls that `without_price` names."""
    totals = {
        "rows_ok": 3,
        "cost": {"USD": "0.5"},
        "unknown": 8,
        "unknown_usage": 1,
        "unbounded": 5,
        "cost_bound": {"USD": "0.02"},
        "unpriced": 116,
        "without_price": {"openai/m": 116},
    }
    said = called(ours, "tiles", {"status": {"totals": totals}})
    text = ours.run(
        f"(() => {{ const made = document.createElement('div'); made.innerHTML = {json.dumps(said)}; return made.textContent; }})()"
    )
    assert (
        "8 calls possibly billed beyond it; 1 answer billed without a word on tokens; "
        "at most 0.0200 USD for these, and of 5 calls nothing can be said; 116 calls without a known price"
    ) in text


def test_money_by_day_says_whose_midnight_and_what_doubt_comes_to(ours: Browser) -> None:
    sums = {
        "currency": "CNY",
        "cost": "1",
        "calls": 9,
        "prompt_tokens": 1,
        "completion_tokens": 1,
        "unbounded_calls": 2,
    }
    report = {
        "by": ["day"],
        "zones": {"Asia/Shanghai": ["glm"]},
        "groups": [{**sums, "day": "2026-12-01"}],
        "totals": [{**sums, "unknown_calls": 3, "unknown_at_most": "0.070000000000"}],
        "unpublished_calls": 4,
        "calls_without_row": 5,
    }
    assert "In the time of the bill: Asia/Shanghai (glm)." in called(ours, "groupedSection", report, "By day")
    assert "Asia/Shanghai" not in called(ours, "groupedSection", {**report, "by": ["model"]}, "By model")
    said = called(ours, "moneySection", report)
    for fact in ("0.0700 CNY", "2 calls of which nothing", "4 calls, counted here all the same", "5 answered calls of"):
        assert fact in said


def test_a_row_of_a_wide_table_is_compared_by_its_first_columns(ours: Browser) -> None:
    """Three hundred columns of each row would bury what differs."""
    row = {"inputs": {f"c{n}": n for n in range(300)}, "answers": []}
    made = ours.run(f"differenceOf({json.dumps(row)}, () => 'r').textContent")
    assert "c7" in made
    assert "c8" not in made
    assert "292 more columns on the page of the row." in made


def test_a_bar_with_a_long_name_keeps_to_the_page_of_a_phone(ours: Browser) -> None:
    ours.look(width=390)
    style = (ASSETS / "page.css").read_text(encoding="utf-8")
    ours.run(
        f"(() => {{ document.head.append(el('style', {{}}, {json.dumps(style)})); document.body.replaceChildren(el('main', {{}}, "
        "barTable('Bars', [1], { label: () => foreign('balance_not_updated_after_cheque_or_cash_deposit'), value: () => 1, shown: () => '9,999  99.9 %' }))); })()"
    )
    assert ours.wide() == 0


def test_the_input_of_a_wide_row_is_folded_so_that_its_answer_is_near(ours: Browser) -> None:
    shown = "(view) => { const home = el('div', {}, inputOf(view)); return [home.querySelectorAll('dt').length, home.querySelector('summary')?.textContent ?? null, home.querySelectorAll('details dt').length]; }"
    assert ours.run(f"({shown})({json.dumps({'inputs': {f'c{n}': n for n in range(300)}})})") == [
        300,
        "280 more columns",
        280,
    ]
    assert ours.run(f"({shown})({json.dumps({'inputs': {f'c{n}': n for n in range(20)}})})") == [20, None, 0]


def test_currencies_are_held_against_themselves_and_refused_calls_are_no_third_one(ours: Browser) -> None:
    """A cent is not a fourteenth of a jiao; and what was refused was paid in no currency."""
    usd = {
        "currency": "USD",
        "cost": "0.001",
        "calls": 4,
        "wasted_cost": "0",
        "prompt_tokens": 1,
        "completion_tokens": 1,
    }
    cny, free = {**usd, "currency": "CNY", "cost": "0.2"}, {**usd, "currency": None, "cost": "0.0", "calls": 3}
    said = called(ours, "moneySection", {"totals": [cny, usd, free]})
    assert said.count(">Paid<") == 2
    assert "3 calls that were refused or have no price" in said
    assert called(ours, "moneySection", {"totals": [free]}).count(">Paid<") == 1
    groups = [{**one, "model": name} for name, one in (("a", cny), ("b", usd), ("c", free))]
    bars = called(ours, "groupedSection", {"by": ["model"], "groups": groups}, "By model")
    assert bars.count('width="100.00%"') == 2


def test_a_run_whose_calls_were_all_refused_has_cost_nothing_and_one_with_doubt_is_not_said_to(ours: Browser) -> None:
    shown = "(totals) => el('p', {}, costOf(totals)).textContent"
    assert ours.run(f"({shown})({{calls: 9, cost: {{}}}})") == "0.00"
    assert ours.run(f"({shown})({{calls: 9, unknown: 1, cost: {{}}}})") == "–"
    assert ours.run(f"({shown})({{calls: 0, cost: {{}}}})") == "–"
    assert ours.run(f"({shown})({{calls: 9, unknown: 1, cost: {{CNY: '2'}}}})") == "2.00 CNY"


def test_rows_that_are_to_be_tried_again_are_not_said_to_be_done(ours: Browser) -> None:
    """Ours: the page said that they wait to be published."""
    live = {"waits_for": None, "in_flight": 1, "waiting_tasks": 0, "held_back": 0, "waiting_rows": 7}
    page = called(ours, "nowSection", {"status": {"live": live, "updated_at": None}})
    assert re.search(r"Rows that wait for another try</\w+>\s*<\w+>7<", page), page


def test_a_run_that_was_over_at_once_says_why_it_has_no_charts(ours: Browser) -> None:
    series = {"t": [1_796_000_000], "bin_s": 1, "calls": [9], "rows": [9], "failed": [9]}
    status = {"run": "r", "totals": {"calls": 12}, "live": None}
    said = called(ours, "historySection", {"series": series, "latency": None, "status": status, "run": "r"})
    assert "All of it came within 1.00 s: too soon for charts over time." in said
    assert "The last 3 calls are not in these charts yet." in said
    said = called(ours, "historySection", {"series": series, "latency": None, "status": status, "run": "all"})
    assert "not in these charts" not in said
