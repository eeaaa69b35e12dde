"""Docstrings of tools: the text for the model and the text of each parameter.

Reads the Google, NumPy and Sphinx forms, without knowing types (those come from the hints). It does not judge: a
docstring in no known form is all description.
"""

from __future__ import annotations

import inspect
import re
from typing import Final

_ARGUMENTS: Final = frozenset({"args", "arguments", "parameters", "params", "other parameters", "keyword args"})
_OTHER: Final = frozenset({"returns", "return", "raises", "yields", "example", "examples", "note", "notes", "see also"})
_HEADING: Final = re.compile(r"([A-Za-z][A-Za-z ]*?)\s*:?\s*")
_ENTRY: Final = re.compile(r"\*{0,2}(\w+)\s*(?:\([^)]*\)\s*)?:\s*(.*)")
_NUMPY_ENTRY: Final = re.compile(r"\*{0,2}(\w+)\s*(?::.*)?")
_FIELD: Final = re.compile(r":(?:param|parameter|arg|argument)\s+(?:[^:]*?\s)?\*{0,2}(\w+)\s*:\s*(.*)")
_ANY_FIELD: Final = re.compile(r":\w+[^:]*:(?:\s|$)")


def parse_docstring(text: str | None) -> tuple[str, dict[str, str]]:
    """Split a docstring.

    Args:
        text: the raw docstring; None counts as empty.

    Returns:
        The text before the first section, wrapped lines joined and paragraphs kept, and the text of each parameter.
    """
    lines = inspect.cleandoc(text or "").splitlines()
    start = next((i for i in range(len(lines)) if _section(lines, i) or _ANY_FIELD.match(lines[i])), len(lines))
    entries: dict[str, list[str]] = {}
    index = start
    while index < len(lines):
        section = _section(lines, index)
        if section in _ARGUMENTS:
            index = _read_entries(lines, index, entries)
        elif match := _FIELD.match(lines[index]):
            entries[match[1]] = [match[2]]
            index = _continue(lines, index + 1, entries[match[1]])
        else:
            index += 1
    return _join(lines[:start]), {name: _join(part) for name, part in entries.items() if _join(part)}


def _section(lines: list[str], index: int) -> str | None:
    """The lower-case name of the section whose heading is at `index`, in the Google or the NumPy form."""
    match = _HEADING.fullmatch(lines[index])
    name = match[1].lower() if match else ""
    if name not in _ARGUMENTS and name not in _OTHER:
        return None
    return name if lines[index].rstrip().endswith(":") or _underlined(lines, index) else None


def _underlined(lines: list[str], index: int) -> bool:
    """Whether the line is a NumPy heading: dashes stand below it."""
    return index + 1 < len(lines) and re.fullmatch(r"-{3,}\s*", lines[index + 1]) is not None


def _read_entries(lines: list[str], heading: int, entries: dict[str, list[str]]) -> int:
    """Read one arguments section into `entries`; returns the index after it."""
    numpy = _underlined(lines, heading)
    index = heading + (2 if numpy else 1)
    pattern, level = (_NUMPY_ENTRY, 0) if numpy else (_ENTRY, None)
    current: list[str] | None = None
    while index < len(lines):
        line = lines[index]
        indent = len(line) - len(line.lstrip())
        if line.strip():
            level = indent if level is None else level
            if _section(lines, index) or (not numpy and indent == 0):
                break
            match = pattern.fullmatch(line.strip()) if indent <= level else None
            if match:
                current = entries.setdefault(match[1], [] if numpy else [match[2]])
            elif current is not None:
                current.append(line)
        index += 1
    return index


def _continue(lines: list[str], index: int, into: list[str]) -> int:
    """Take the indented lines that follow a Sphinx field."""
    while index < len(lines) and lines[index].startswith((" ", "\t")):
        into.append(lines[index])
        index += 1
    return index


def _join(lines: list[str]) -> str:
    """Wrapped lines become one; an empty line stays a paragraph break."""
    paragraphs = "\n".join(line.strip() for line in lines).split("\n\n")
    return "\n\n".join(" ".join(part.split("\n")) for part in paragraphs).strip()
