"""A table of a scenario file, taken apart key by key.

Owns the forms a value may have, what is said about a wrong value or an unknown key, and how a near name is proposed.
It does not know which keys a scenario has.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any


class ScenarioError(ValueError):
    """A scenario cannot be used; the message names the place, the value and the way out."""


def nearest(asked: str, known: Iterable[str]) -> list[str]:
    """The one known name that is most like the one asked for, if one is; upper and lower case do not count."""
    spelt = {name.casefold(): name for name in known}
    return [spelt[word] for word in difflib.get_close_matches(asked.casefold(), spelt, n=1, cutoff=0.5)]


def did_you_mean(names: Sequence[str]) -> str:
    """The sentence that proposes the first of these names; empty when there is none."""
    return f"Did you mean {names[0]}?" if names else ""


class Table:
    """A TOML table that is taken apart key by key; what is left over at the end is unknown.

    Every method that takes a `key` returns its value, or `default` when the key is missing, and raises `ScenarioError`
    when the value is not allowed; `least` and `most` are allowed themselves.
    """

    def __init__(self, path: str, value: Any) -> None:
        """Take the value at `path` of the file, which must be a table."""
        if not isinstance(value, dict):
            raise ScenarioError(f"{path} = {value!r}: must be a table")
        self.path = path
        self._left = dict(value)
        self._asked: list[str] = []

    def at(self, key: str) -> str:
        """The full path of a key, as the file would have it."""
        quoted = key if key.replace("_", "").replace("-", "").isalnum() else f'"{key}"'
        return f"{self.path}.{quoted}" if self.path else quoted

    def fail(self, key: str, value: Any, wanted: str) -> ScenarioError:
        """The error for a value that is not as `wanted` says, such as `must be a text`."""
        return ScenarioError(f"{self.at(key)} = {value!r}: {wanted}")

    def take(self, key: str, default: Any) -> Any:
        """The value of a key, whatever it is."""
        self._asked.append(key)
        return self._left.pop(key, default)

    def number(self, key: str, default: Any, *, least: float = 0, most: float | None = None) -> Any:
        """A number between two bounds."""
        value = self.take(key, default)
        wanted = (
            f"must be a number of at least {least:g}" if most is None else f"must be between {least:g} and {most:g}"
        )
        if value is default:
            return value
        if isinstance(value, bool) or not isinstance(value, int | float) or not value >= least:
            raise self.fail(key, value, wanted)
        if most is not None and value > most:
            raise self.fail(key, value, wanted)
        return value

    def whole(self, key: str, default: Any, *, least: int = 0) -> Any:
        """A whole number."""
        value = self.take(key, default)
        if value is not default and (isinstance(value, bool) or not isinstance(value, int) or value < least):
            raise self.fail(key, value, f"must be a whole number of at least {least}")
        return value

    def flag(self, key: str) -> bool:
        """True or false; false when it is missing."""
        value = self.take(key, False)
        if not isinstance(value, bool):
            raise self.fail(key, value, "must be true or false")
        return value

    def text(self, key: str) -> str | None:
        """A text that is not empty; None when it is missing."""
        value = self.take(key, None)
        if value is not None and (not isinstance(value, str) or not value):
            raise self.fail(key, value, "must be a text")
        return value

    def choice(self, key: str, default: Any, choices: tuple[Any, ...]) -> Any:
        """One of some values."""
        value = self.take(key, default)
        # Codes are texts on the wire, but nobody should have to know that: `code = 1305` will do.
        if isinstance(value, int) and str(value) in choices:
            return str(value)
        if value is not default and (isinstance(value, bool) or value not in choices):
            raise self.fail(key, value, "must be one of " + ", ".join(str(choice) for choice in choices))
        return value

    def span(self, key: str, default: Any) -> Any:
        """Two numbers, the least first."""
        value = self.take(key, None)
        if value is None:
            return default
        good = isinstance(value, list) and len(value) == 2
        if not good or any(isinstance(end, bool) or not isinstance(end, int | float) for end in value):
            raise self.fail(key, value, "must be two numbers, [least, most]")
        if not 0 <= value[0] <= value[1]:
            raise self.fail(key, value, "must be two numbers, [least, most], with 0 <= least <= most")
        return float(value[0]), float(value[1])

    def mistaken(self, key: str) -> str:
        """The end of an error about a missing key: which of the keys left over may have been meant by it."""
        near = nearest(key, self._left)
        return f". There is {near[0]}, which is no key here. {did_you_mean([key])}" if near else ""

    def done(self) -> None:
        """Raise `ScenarioError` if a key is left over, which nobody asked for."""
        for key, value in self._left.items():
            hint = did_you_mean(nearest(key, self._asked)) or f"Known here: {', '.join(sorted(self._asked))}."
            raise ScenarioError(f"{self.at(key)} = {value!r}: unknown key. {hint}")
