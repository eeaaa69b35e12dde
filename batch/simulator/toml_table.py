"""A table of a scenario file, taken apart key by key.

Owns the forms a value may have and what is said about a wrong value or an unknown key. It does not know which keys a
scenario has.
"""

from __future__ import annotations

import difflib
from typing import Any


class ScenarioError(ValueError):
    """A scenario cannot be used; the message names the place, the value and the way out."""


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
        near = difflib.get_close_matches(key, self._left, n=1, cutoff=0.5)
        return f"; did you mean it by {near[0]}?" if near else ""

    def done(self) -> None:
        """Raise `ScenarioError` if a key is left over, which nobody asked for."""
        for key, value in self._left.items():
            near = difflib.get_close_matches(key, self._asked, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else "known here: " + ", ".join(sorted(self._asked))
            raise ScenarioError(f"{self.at(key)} = {value!r}: unknown key; {hint}")
