"""Docstrings: what one says of a function and of each parameter, in the forms that people write.

Owns the forms: Google, NumPy, Sphinx, and their Chinese headings and punctuation. It does not know what becomes of the
texts (`schema`).
"""

from __future__ import annotations

import inspect
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from docstring_parser import Docstring

_CHINESE: Final = re.compile("[\u3000-\u303f\u4e00-\u9fff\uff00-\uffef]")
_HEADINGS: Final = {
    **dict.fromkeys(("参数", "参数说明", "输入参数", "入参", "輸入參數", "參數", "Args", "Arguments"), "Args"),
    **dict.fromkeys(("属性", "屬性", "字段", "Attributes"), "Attributes"),
    **dict.fromkeys(("返回", "返回值", "返回结果", "回傳", "傳回", "Returns"), "Returns"),
    **dict.fromkeys(("异常", "抛出", "引发", "異常", "Raises"), "Raises"),
    **dict.fromkeys(("示例", "例子", "例如", "用法", "範例", "Example", "Examples"), "Example"),
    **dict.fromkeys(("注意", "备注", "備註", "Note", "Notes"), "Note"),
}
_HEADING: Final = re.compile(rf"({'|'.join(_HEADINGS)})\s*[:：]")
_ENTRY: Final = re.compile(r"(?:[-*•]\s*)?([^\W\d]\w*)\s*(?:[(（]([^()（）]*)[)）])?\s*[:：]\s*(.*)")


class Texts(NamedTuple):
    """What a docstring says."""

    summary: str
    """Of the whole; its paragraphs are kept."""
    parameters: dict[str, str]
    attributes: dict[str, str]


def read_docstring(text: str | None) -> Texts:
    """The text for the model and the text of each parameter, from a docstring in the Google, NumPy or Sphinx form.

    A docstring in no known form, or one that is not quite in its form, is all text for the model. Wrapped lines are
    joined; the paragraphs of the first text are kept.
    """
    text = text or ""
    if _CHINESE.search(text):
        text = _in_google_form(text)
    forms = _parsed(text)
    if not forms:
        return Texts(_paragraphs(inspect.cleandoc(text)), {}, {})
    form = max(forms, key=lambda candidate: len(candidate.meta))  # the form that recognises most of it
    texts: tuple[dict[str, str], dict[str, str]] = ({}, {})
    for param in form.params:
        if param.description:
            texts[param.args[0] == "attribute"][param.arg_name] = _one_line(param.description)
    return Texts(_paragraphs(form.description or ""), *texts)


def _parsed(text: str) -> list[Docstring]:
    """The docstring in each form that it can be read in."""
    from docstring_parser import ParseError, google, numpydoc, rest  # noqa: PLC0415 - for jobs with tools alone

    titles = {
        **dict.fromkeys(("Keyword Args", "Keyword Arguments"), ("keyword", google.SectionType.MULTIPLE)),
        **dict.fromkeys(("Note", "Notes", "See also", "See Also"), ("note", google.SectionType.SINGULAR)),
    }
    sections = [google.Section(title, key, form) for title, (key, form) in titles.items()]
    forms: list[Docstring] = []
    for parse in (rest.parse, google.GoogleParser([*google.DEFAULT_SECTIONS, *sections]).parse, numpydoc.parse):
        with suppress(ParseError):
            forms.append(parse(text))
    return forms


def _in_google_form(text: str) -> str:
    """A Chinese docstring with the headings, colons and indents that the Google form has.

    Such docstrings write `参数：` for `Args:`, often without an indent below it, and full-width punctuation.
    """
    result: list[str] = []
    section, depth = "", 0
    for line in inspect.cleandoc(text).splitlines():
        bare = line.strip()
        indent = len(line) - len(line.lstrip())
        if heading := _HEADING.fullmatch(bare):
            section, depth = _HEADINGS[heading[1]], indent
            if result and result[-1].strip():
                result.append("")
            result.append(f"{section}:")
        elif not section:
            result.append(line)
        elif not bare:
            result.append("")
        elif not result[-1] and indent <= depth and not (section == "Args" and _ENTRY.fullmatch(bare)):
            section = ""  # a paragraph after the section
            result.append(line)
        else:
            result.append(_entry(bare, indent - depth, named=section in {"Args", "Attributes", "Raises"}))
    return "\n".join(result)


def _entry(bare: str, indent: int, *, named: bool) -> str:
    entry = _ENTRY.fullmatch(bare) if named else None
    if entry is None:
        return f"{' ' * max(8 if named else 4, indent)}{bare}"
    kind = f" ({entry[2]})" if entry[2] else ""
    return f"    {entry[1]}{kind}: {entry[3]}"


def _one_line(text: str) -> str:
    return " ".join(line.strip() for line in text.splitlines() if line.strip())


def _paragraphs(text: str) -> str:
    """Wrapped lines become one; an empty line stays a paragraph break."""
    lines = "\n".join(line.strip() for line in text.splitlines())
    return "\n\n".join(map(_one_line, lines.split("\n\n"))).strip()
