from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from html.parser import HTMLParser

import pytest

from batch.report import bundle

LOCKED = {
    "uPlot.iife.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
    "uPlot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
    "uPlot.LICENSE": "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd",
}
"""The files of the npm package uplot 1.6.32, by their SHA-256."""
NASTY = '</script><script>alert(1)</script><!-- <img src=x onerror=alert(2)> \u2028 \u202e "quoted" \\ 漢字'


class Elements(HTMLParser):
    """The elements of a page with what stands in each, as a browser takes them apart."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None], str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs), ""))

    def handle_data(self, data: str) -> None:
        if self.found:
            tag, attributes, text = self.found[-1]
            self.found[-1] = (tag, attributes, text + data)

    def handle_endtag(self, tag: str) -> None:
        self.found.append(("", {}, ""))  # what follows is not in the element

    def all(self, name: str) -> list[tuple[dict[str, str | None], str]]:
        return [(attributes, text) for tag, attributes, text in self.found if tag == name]


def sha256(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@pytest.mark.parametrize(("name", "digest"), LOCKED.items())
def test_the_chart_library_is_the_one_of_its_package_byte_for_byte(name: str, digest: str) -> None:
    content = (bundle.ASSETS / "vendor" / name).read_bytes()
    assert hashlib.sha256(content).hexdigest() == digest
    assert sorted(LOCKED) == sorted(path.name for path in (bundle.ASSETS / "vendor").iterdir())


def test_the_policy_allows_the_one_script_and_the_one_style_of_the_page_and_nothing_else() -> None:
    shown = bundle.page()
    elements = Elements(shown.html.decode())
    [(_, script)], [(_, style)] = elements.all("script"), elements.all("style")
    policy = dict(part.strip().split(" ", 1) for part in shown.policy.split(";"))
    assert policy == {
        "default-src": "'none'",
        "script-src": sha256(script),
        "style-src": sha256(style),
        "img-src": "data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }


def test_a_report_may_ask_nobody_and_says_so_in_itself() -> None:
    found = bundle.report("A title", "{}", "summary")
    elements = Elements(found.html.decode())
    metas = [attributes for attributes, _ in elements.all("meta") if "http-equiv" in attributes]
    assert metas == [{"http-equiv": "Content-Security-Policy", "content": found.policy}]
    assert "connect-src" not in found.policy
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", found.html.decode())


def test_no_text_of_a_report_ends_the_element_it_stands_in() -> None:
    found = bundle.report(NASTY, json.dumps({"text": NASTY}, ensure_ascii=False), NASTY)
    elements = Elements(found.html.decode())
    data, script = elements.all("script")
    assert data[0] == {"type": "application/json", "id": "figures"}
    assert json.loads(data[1]) == {"text": NASTY}
    assert sha256(script[1]) in found.policy
    assert [text for _, text in elements.all("title")] == [NASTY]
    assert elements.all("img") == []


def test_a_lone_surrogate_in_a_name_is_no_reason_to_write_nothing() -> None:
    assert b"<title>out?</title>" in bundle.report("out\udc80", "{}", "\udc80").html


def test_every_script_is_in_the_page_and_none_is_too_long_to_be_read() -> None:
    files = {path.stem: path.read_text(encoding="utf-8") for path in bundle.ASSETS.glob("*.js")}
    assert sorted(files) == sorted(bundle.SCRIPTS)
    assert {name: len(text.splitlines()) for name, text in files.items() if len(text.splitlines()) > 350} == {}
    for name, text in files.items():
        assert text.startswith("// "), f"{name}.js says what it owns"


def test_no_script_of_ours_makes_markup_of_text() -> None:
    """What others wrote becomes text nodes; there is no way around it."""
    for path in bundle.ASSETS.glob("*.js"):
        code = re.sub(r"//.*|/\*.*?\*/", "", path.read_text(encoding="utf-8"))
        for way in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "DOMParser",
        ):
            assert way not in code, f"{path.name}: {way}"


def test_no_name_is_declared_twice_in_the_scripts_of_a_page() -> None:
    """They share one scope: a second `const` of one name, and no script of the page runs at all."""
    declared = [
        name
        for path in sorted(bundle.ASSETS.glob("*.js"))
        for name in re.findall(
            r"^(?:const|let|function|async function|class) (\w+)", path.read_text("utf-8"), re.MULTILINE
        )
    ]
    assert len(declared) > 100
    assert [name for name, times in Counter(declared).items() if times > 1] == []
