"""Redaction: keys are masked in every text that leaves this process.

Owns what is masked: the keys that this process holds, in the forms in which they are echoed, and whatever looks like a
key. What comes from a provider or a tool is masked once, after it was decoded, where it becomes ours (`masked`); what
is told of it (logs, errors, the wire log) once more and by looks too (`redact`). It reads no environment: whoever
resolves a key calls `hide`. It never touches bytes: a key that is a word would take the words out of an answer.
"""

from __future__ import annotations

import base64
import re
import threading
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Self

MASK: Final = "[masked]"
SHORTEST: Final = 12
"""Characters of the shortest key that is masked: `token`, `EMPTY` or `localkey` cannot be told from words."""

_WORD: Final = r"(?:[A-Za-z0-9_.=+/%-]|\\+u00[0-9a-fA-F]{2})*"
"""The rest of a token behind its beginning, in whatever form."""
_ESCAPE: Final = re.compile(r"\\+(?:u00([0-9a-fA-F]{2})|(?=[^A-Za-z0-9]))")
_LOOKS_LIKE_A_KEY: Final = re.compile(
    r"\b(?:sk-[A-Za-z0-9_-]{16,}|[0-9a-f]{32}\.[A-Za-z0-9]{16,}|Bearer +[^\s\"'\\]+"
    r"|eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{16,})"
)


class Secret(str):
    """Text that goes onto the wire but never into a repr: not in logs, tracebacks with locals or `repr(Outgoing)`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(MASK)


class NamedSecret(Secret):
    """A key that goes to one of several addresses, and says to which; the name is no secret.

    Args:
        text: the secret.
        address: the name of the address.
    """

    __slots__ = ("address",)
    address: str

    def __new__(cls, text: str, address: str) -> Self:
        """A text, and the name."""
        secret = super().__new__(cls, text)
        secret.address = address
        return secret


class Unshown(Mapping[str, str]):
    """An environment whose repr shows none of it: tracebacks with locals, debuggers and `help()` print reprs.

    Args:
        variables: names and values, read when they are asked for.
    """

    __slots__ = ("_variables",)

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables

    def __getitem__(self, name: str) -> str:
        return self._variables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._variables)

    def __len__(self) -> int:
        return len(self._variables)

    def __repr__(self) -> str:
        return f"Unshown({len(self)} variables)"


class Masker:
    """Takes secrets out of texts, in whatever form a stranger echoes them.

    Forms of a secret, in capitals or not: as it is, its long parts (`id.secret`), percent-encoded, in hex, inside
    base64, and with characters escaped as JSON does, once or several times over.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._secrets: set[str] = set()
        self._beginnings: set[str] = set()
        self._fresh = False
        """Secrets came that are not in the patterns yet: made when a text is looked at, not for each of many keys."""
        self._marks: tuple[str, ...] = ()
        self._marks_utf8: tuple[str, ...] = ()
        """The same for bytes of UTF-8 that are read as Latin-1: each byte a character."""
        self._awkward = False
        """A secret has characters that JSON escapes."""
        self._pattern = self._escaped = re.compile("(?!)")

    def hide(self, secret: str) -> None:
        """Mask this value and its forms from here on; one shorter than `SHORTEST` is left alone."""
        if can_mask(secret) and secret not in self._secrets:
            with self._lock:
                self._secrets.add(secret)
                self._fresh = True

    def hide_from(self, beginning: str) -> None:
        """Mask every word that begins so."""
        if can_mask(beginning) and beginning not in self._beginnings:
            with self._lock:
                self._beginnings.add(beginning)
                self._fresh = True

    def masked(self, text: str) -> str:
        """The text without any secret; the same object when there was none in it."""
        if self._fresh:
            self._compile()
        lowered = text.lower()
        if any(mark in lowered for mark in self._marks):
            text = self._pattern.sub(MASK, text)
        if "\\" in text:
            plain = _ESCAPE.sub(_unescaped, text).lower()
            if any(mark in plain for mark in self._marks):
                text = self._escaped.sub(MASK, text)
        return text

    def spares(self, json_text: bytes) -> bool:
        """Whether no text in this JSON, as `msgspec` writes it, can hold a secret.

        It leaves the characters of keys as they are, so what is not in its bytes is in none of its texts; a backslash
        that a text itself holds, and by which a secret may be escaped, stands there as two.
        """
        if self._fresh:
            self._compile()
        if self._awkward or b"\\\\" in json_text:
            return False
        return not any(map(json_text.lower().decode("latin-1").__contains__, self._marks_utf8))

    def spares_texts(self, texts: str) -> bool:
        """Whether none of these texts can hold a secret, in whatever form: they stand in one, line by line."""
        if self._fresh:
            self._compile()
        if "\\" in texts:
            return False
        try:
            # Once an answer: a text of narrow characters is searched four times as fast as bytes, and much faster than
            # one with a single wide character; a generator is twice as slow.
            lowered = texts.encode().lower().decode("latin-1")
        except UnicodeEncodeError:
            return False
        return not any(map(lowered.__contains__, self._marks_utf8))

    def spares_bytes(self, data: bytes) -> bool:
        """Whether none of the texts that stand in these bytes, as they are, can hold a secret, in whatever form.

        A byte of something else may look like a backslash: then it is not known, and each text has to be looked at.
        """
        if self._fresh:
            self._compile()
        return b"\\" not in data and not any(map(data.lower().decode("latin-1").__contains__, self._marks_utf8))

    def _compile(self) -> None:
        with self._lock:  # the wire log's thread masks, too: nobody looks while the newest key is not in
            if self._fresh:
                self._renew()
                self._fresh = False

    def _renew(self) -> None:
        # Searching a lowered text for each form is some fifty times faster than one pattern that does not mind case.
        values = {part for secret in self._secrets for part in _parts(secret)}
        forms = {form for value in values for form in _forms(value)}
        begun = {form for text in self._beginnings for form in _forms(text)}
        whole = [re.escape(form) for form in forms] + [re.escape(form) + _WORD for form in begun]
        escaped = [_escapable(value) for value in values]
        escaped += [f"{_escapable(text)}{_WORD}" for text in self._beginnings]
        self._pattern, self._escaped = map(_any_of, (whole, escaped))
        marks = {form.lower() for form in forms | begun}
        self._marks = tuple(mark for mark in marks if not any(other in mark for other in marks - {mark}))
        self._marks_utf8 = tuple(mark.encode().decode("latin-1") for mark in self._marks)
        self._awkward = any('"' in mark or "\\" in mark for mark in self._marks)


process = Masker()
"""That of this process."""


def can_mask(secret: str) -> bool:
    """Whether a key is long enough to be told from words."""
    return len(secret) >= SHORTEST


def hide(secret: str) -> None:
    """Mask this value, in all its forms, wherever text leaves the process."""
    process.hide(secret)


def hide_from(beginning: str) -> None:
    """Mask every word that begins so: tokens that are made anew all the time and share their beginning."""
    process.hide_from(beginning)


def masked(text: str) -> str:
    """What a stranger wrote, without the keys of this process; the same object when none was in it."""
    return process.masked(text)


def masked_value(value: Any, struct: Callable[[Any], Any]) -> Any:
    """A value with `masked` over every text in it, names too; the same object when none changed.

    Args:
        value: texts, dicts, lists, tuples and structs, in each other.
        struct: does the same for a struct.
    """
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, dict):
        pairs = [(masked_value(name, struct), masked_value(inner, struct)) for name, inner in value.items()]
        same = all(name is old and new is inner for (name, new), (old, inner) in zip(pairs, value.items(), strict=True))
        return value if same else dict(pairs)
    if isinstance(value, list | tuple):
        items = [masked_value(inner, struct) for inner in value]
        same = all(new is old for new, old in zip(items, value, strict=True))
        return value if same else items if isinstance(value, list) else tuple(items)
    return struct(value) if hasattr(value, "__struct_fields__") else value


def redact(text: str) -> str:
    """The text with every known secret, and whatever looks like a key, masked."""
    return _LOOKS_LIKE_A_KEY.sub(MASK, masked(text))


def address(url: str) -> str:
    """Scheme, host and path of an address: user, password, query and fragment may be keys and are never shown."""
    scheme, slashes, rest = url.rpartition("://") if url.count("://") == 1 else ("", "", url)
    server, slash, path = rest.partition("/")
    server = server.rpartition("@")[2] if "@" in server and not re.search(r"[?#].*@", server) else server
    shown = re.split(r"[?#]", f"{server}{slash}{path}", maxsplit=1)
    # An @ that is left may end a password with a / or # in it.
    return f"{scheme}{slashes}{MASK if '@' in f'{server}{slash}{path}' else shown[0]}"


def _parts(secret: str) -> set[str]:
    """The secret, and what stands between its dots and colons where that is no word but long and mixed."""
    parts = [part for part in re.split(r"[.:]", secret) if can_mask(part)]
    return {secret, *(part for part in parts if re.search("[0-9]", part) and re.search("[A-Za-z]", part))}


def _forms(text: str) -> Iterator[str]:
    """The text as it is, percent-encoded, in hex, and as it looks inside base64."""
    raw = text.encode()
    yield text
    yield urllib.parse.quote(text, safe="")
    yield raw.hex()
    for before in range(3):  # of the bytes in front of it, three by three, so many are left over
        coded = base64.b64encode(b"\0" * before + raw).decode()
        inner = coded[(0, 2, 3)[before] : len(coded) - (0, 3, 2)[(before + len(raw)) % 3]].rstrip("=")
        yield inner
        yield inner.translate(str.maketrans("+/", "-_"))


def _escapable(text: str) -> str:
    r"""A pattern for the text with any of its characters escaped, as `\u0073` or `\/`."""
    return "".join(
        rf"(?:{'' if char.isalnum() else chr(92) * 2 + '*'}{re.escape(char)}"
        rf"|\\+u00(?:{ord(char.lower()):02x}|{ord(char.upper()):02x}))"
        for char in text
    )


def _unescaped(found: re.Match[str]) -> str:
    return chr(int(found[1], 16)) if found[1] else ""


def _any_of(patterns: list[str]) -> re.Pattern[str]:
    """One pattern for all of them, the longest first, so that none is cut short by another that it begins with."""
    return re.compile("|".join(sorted(patterns, key=len, reverse=True)) or "(?!)", re.IGNORECASE)
