"""Puts the page together that `view` serves and `report` writes: one HTML text with its script and style in it.

Owns the order of the scripts, the policy that lets these and nothing else run, and how figures stand in a page. The
scripts are in `assets`, as they are sent: nothing is compiled, and no tool of another language is needed. It knows no
figure.
"""

from __future__ import annotations

import base64
import hashlib
import html
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

ASSETS: Final = Path(__file__).parent / "assets"
UPLOT: Final = "vendor/uPlot.iife.min.js"
SCRIPTS: Final = (
    *("dom", "format", "markdown", "plots", "timechart", "tables", "source"),
    *("overview", "details", "labels", "money", "compare", "rows", "row"),
    *("keys", "report", "app"),
)
"""Ours, in the order in which they are read: each uses only what stands before it, or what is called later."""
STYLES: Final = ("vendor/uPlot.min.css", "page.css")
DATA_ID: Final = "figures"
"""The id of the element that holds the figures of a report."""


class Page(NamedTuple):
    """A whole page.

    Attributes:
        html: in UTF-8.
        policy: the Content-Security-Policy that the page works under; a server sends it as a header.
    """

    html: bytes
    policy: str


class _Parts(NamedTuple):
    script: str
    style: str
    allowed: str
    """The part of the policy that names both by their hash."""


def page() -> Page:
    """The page of `promptmill view`, which asks the server that sent it for its figures."""
    parts = _parts()
    policy = (
        f"{parts.allowed}; img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
    needs = "<noscript><p>This page needs JavaScript; it runs nothing but what stands in it.</p></noscript>"
    return Page(_document("promptmill", parts, needs), policy)


def report(title: str, figures: str, summary: str) -> Page:
    """A page that holds its figures, asks nobody for anything, and says so in a policy of its own.

    Args:
        title: of the document.
        figures: one JSON object.
        summary: what is said where no script may run, such as in the preview of a mail; text with line breaks.
    """
    parts = _parts()
    policy = f"{parts.allowed}; img-src data:; base-uri 'none'; form-action 'none'"
    lines = "".join(f"<p>{html.escape(line)}</p>" for line in summary.splitlines())
    body = f'<noscript>{lines}</noscript>\n<script type="application/json" id="{DATA_ID}">{harmless(figures)}</script>'
    return Page(_document(title, parts, body, policy), policy)


def harmless(text: str) -> str:
    r"""JSON text of the same value that cannot end the element it stands in: each `<` is written as `\u003c`."""
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _document(title: str, parts: _Parts, body: str, policy: str | None = None) -> bytes:
    meta = "" if policy is None else f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
    text = (
        "<!DOCTYPE html>\n"
        '<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"{meta}"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        '<meta name="referrer" content="no-referrer">\n'
        '<link rel="icon" href="data:,">\n'
        f"<title>{html.escape(title)}</title>\n"
        f"<style>{parts.style}</style>\n"
        f"</head>\n<body>\n{body}\n<script>{parts.script}</script>\n</body>\n</html>\n"
    )
    return text.encode("utf-8", "replace")  # a lone surrogate in a title has no bytes


@cache
def _parts() -> _Parts:
    ours = "\n".join(_asset(f"{name}.js") for name in SCRIPTS)
    script = f'{_asset(UPLOT)}\n(() => {{\n"use strict";\n{ours}\n}})();\n'
    style = "\n".join(_asset(name) for name in STYLES)
    for end in ("</script", "<!--", "</style"):  # what would end the element, or change how it is read
        assert end not in script.lower() + style.lower(), end
    return _Parts(script, style, f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}")


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
