"""Metrics in the text format of Prometheus, written and read back.

Owns the format: names, labels, help texts and numbers, as `node_exporter` and the server itself read them. It does not
know what is measured, nor where the text goes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Final, Literal

import msgspec

_SAMPLE: Final = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?:[^"}]|"(?:[^"\\]|\\.)*")*\})? (\S+)')
_BEGINNING: Final = "# HELP "
Number = int | float | Decimal


class Sample(msgspec.Struct, frozen=True):
    """One number, and the labels that tell it from others of its family."""

    value: Number
    labels: Mapping[str, str] = {}


class Family(msgspec.Struct, frozen=True):
    """The numbers of one name."""

    name: str
    kind: Literal["gauge", "counter"]
    text: str
    """What it tells, in one line."""
    samples: tuple[Sample, ...]


def text_of(families: Iterable[Family], common: Mapping[str, str]) -> str:
    """Metrics as text; a family without numbers is left out.

    Args:
        families: each name once.
        common: labels that every number gets, before its own.
    """
    lines = []
    for family in families:
        if family.samples:
            lines.append(f"{_BEGINNING}{family.name} {_escaped(family.text)}")
            lines.append(f"# TYPE {family.name} {family.kind}")
        for sample in family.samples:
            labels = ",".join(f'{name}="{_quoted(value)}"' for name, value in {**common, **sample.labels}.items())
            lines.append(f"{family.name}{{{labels}}} {_number(sample.value)}")
    return "".join(f"{line}\n" for line in lines)


def value_in(text: str, name: str) -> float | None:
    """The first number of a family in a text; None where there is none that is finite.

    Args:
        text: metrics, perhaps damaged.
        name: of the family.
    """
    for line in text.splitlines():
        match = _SAMPLE.fullmatch(line)
        if match is not None and match[1] == name:
            try:
                value = float(match[3])
            except ValueError:
                return None
            return value if math.isfinite(value) else None
    return None


def with_value(text: str, name: str, value: Number) -> str:
    """A text in which every number of a family is this one.

    Args:
        text: metrics.
        name: of the family.
        value: the number.
    """
    lines = []
    for line in text.splitlines(keepends=True):
        match = _SAMPLE.fullmatch(line.rstrip("\n"))
        known = match is not None and match[1] == name
        lines.append(f"{line[: match.start(3)]}{_number(value)}\n" if match is not None and known else line)
    return "".join(lines)


def label_in(text: str, name: str) -> str | None:
    """The value of a label where it first stands in a text; None where it does not."""
    match = re.search(rf'^[^#\n]*[{{,]{re.escape(name)}="((?:[^"\\]|\\.)*)"', text, re.MULTILINE)
    return None if match is None else re.sub(r"\\(.)", lambda found: {"n": "\n"}.get(found[1], found[1]), match[1])


def begins_as_ours(text: str, prefix: str) -> bool:
    """Whether a text begins with the help of a metric with this prefix, as all that `text_of` writes does."""
    return text.startswith(f"{_BEGINNING}{prefix}")


def _number(value: Number) -> str:
    return f"{value:f}" if isinstance(value, Decimal) else repr(value)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _quoted(value: str) -> str:
    # Half a surrogate pair cannot be written as UTF-8.
    safe = value.encode("utf-8", "replace").decode()
    return _escaped(safe).replace('"', '\\"')
