"""One fault of a job and how a person reads it: `path = value (line 12): what is wrong and the way out`.

Owns the words around a fault: how a key path and a value are written, and which values are masked because they may be
secrets. It does not know which faults a job can have.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, NamedTuple

from batch.core.redaction import address

KeyPath = tuple[str, ...]
NOTHING: Final = object()
"""Stands for the value in a fault that has none."""

_SECRET_NAME: Final = re.compile(
    r"(^|[_-])((api|access|private|secret)[_-]?key|secret|password|passwd|token|authorization|credentials?)$",
    re.IGNORECASE,
)
_API_KEY: Final = re.compile(
    r"(^|[_-])(api[_-]?key|(auth|access)[_-]token|secret|password|authorization)$", re.IGNORECASE
)
_SECRET_TEXT: Final = re.compile(r"\b(sk-|Bearer )\S|[0-9A-Za-z]{16,}\.[0-9A-Za-z]{8,}|[0-9a-f]{32}|://[^/@\s]+@")
_ADDRESS: Final = ("base_url",)
NO_KEYS_HERE: Final = (
    "keys never stand in a job: take it out and set the provider's variable (ZAI_API_KEY, OPENAI_API_KEY, …), or name "
    "another one with api_key_env, a file with key_file, or a command with key_command"
)


class Fault(NamedTuple):
    """Something that is wrong at one place of a job.

    Attributes:
        path: the key, such as `("limits", "concurrency")`.
        text: what is wrong and the way out.
        value: what stands there; `NOTHING` leaves it to the job file.
    """

    path: KeyPath
    text: str
    value: Any = NOTHING

    def line(self, where: str | None = None) -> str:
        """The fault as one line of text; `where` names its line in the file, or the flag it came from."""
        shown = "" if self.value is NOTHING else f" = {shown_value(self.path, self.value)}"
        return f"{dotted(self.path)}{shown}{f' ({where})' if where else ''}: {self.text}"


def is_api_key(name: str) -> bool:
    """Whether a key of this name holds an API key."""
    return _API_KEY.search(name) is not None


def is_secret(name: str) -> bool:
    """Whether the value of a key of this name must not be shown."""
    return _SECRET_NAME.search(name) is not None


def dotted(path: KeyPath) -> str:
    """A key path as TOML writes it: `limits.concurrency`."""
    return ".".join(part if re.fullmatch(r"[\w-]+", part) else json.dumps(part, ensure_ascii=False) for part in path)


def shown_value(path: KeyPath, value: Any) -> str:
    """A value as an error text shows it: short, in TOML's form, masked when it may be a secret."""
    if any(is_secret(part) for part in path) or (isinstance(value, str) and _SECRET_TEXT.search(value)):
        return "****"
    if isinstance(value, dict):
        return "{…}"
    if isinstance(value, str):
        value = _address(path[-1:], value)
    if isinstance(value, (list, tuple)):
        return "[…]" if any(map(_hidden, value)) else _short(json.dumps(list(value), ensure_ascii=False, default=str))
    if isinstance(value, (str, bool)):
        return _short(json.dumps(value, ensure_ascii=False))
    return _short(str(value))


def _hidden(value: Any) -> bool:
    return not isinstance(value, (str, int, float)) or (
        isinstance(value, str) and _SECRET_TEXT.search(value) is not None
    )


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}…"


def dotted_setting(setting: str) -> str:
    """A `--set` setting as an error text shows it: its value masked when it may be a secret."""
    name, equals, value = setting.partition("=")
    secret = is_secret(name.strip()) or _SECRET_TEXT.search(value.strip()) is not None
    return f"{name}{equals}{'****' if secret else _short(_address((name.strip().rpartition('.')[2],), value))}"


def _address(name: tuple[str, ...], value: str) -> str:
    """An address without user, password, query and fragment, where keys stand; any other text as it is."""
    return address(value) if name == _ADDRESS or "://" in value else value
