"""Names of places in object stores: `s3://bucket/key`, `gs://bucket/key`, `az://container/key`.

Owns which names these are, and what is said of one that is misspelt. A place is kept as a `Path` like any other input
or output: one whose first part is the scheme, `s3:/bucket/key`, because a `Path` knows no double slash. Every other
path of a job is absolute, so neither is taken for the other. It opens no connection.
"""

from __future__ import annotations

import os.path
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

SCHEMES: Final[dict[str, str]] = {"s3": "S3", "gs": "Google Cloud Storage", "az": "Azure Blob Storage"}
"""What can be read and written, and whose it is."""
ENDPOINTS: Final[dict[str, tuple[str, ...]]] = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
    "gs": ("STORAGE_EMULATOR_HOST",),
    "az": ("AZURE_STORAGE_ENDPOINT",),
}
"""The variables that name a server of one's own instead; the first that is set counts."""
_OTHER_NAMES: Final = {
    "s3a": "s3", "s3n": "s3", "gcs": "gs", "gss": "gs", "azure": "az", "abfs": "az", "abfss": "az", "adl": "az",
    "wasb": "az", "wasbs": "az",
}  # fmt: skip
_URL: Final = re.compile(r"([A-Za-z][A-Za-z0-9+-]+):(/+)(.*)", re.DOTALL)
"""A scheme has two characters or more, and a slash behind it: `C:/x` and `a:b` are files."""


class Place(NamedTuple):
    """A bucket of an object store, and a key or the beginning of keys in it."""

    scheme: str
    bucket: str
    key: str

    @property
    def text(self) -> str:
        """As people write it."""
        return f"{self.scheme}://{self.bucket}/{self.key}".rstrip("/")


def place_of(path: Path) -> Place | None:
    """The place in an object store that a path names; None for a file or folder of this machine."""
    parts = path.parts
    if not parts or not parts[0].endswith(":") or parts[0][:-1] not in SCHEMES:
        return None
    return Place(parts[0][:-1], parts[1] if len(parts) > 1 else "", "/".join(parts[2:]))


def is_store(path: Path) -> bool:
    """Whether a path names a place in an object store."""
    return place_of(path) is not None


def absolute(path: Path) -> Path:
    """A path that does not depend on the working folder; a place in an object store is one already."""
    return path if is_store(path) else path.expanduser().absolute()


def beside(folder: Path, path: Path) -> Path:
    """A path that is meant from a folder, as an absolute one; a place in an object store as it is."""
    if is_store(path):
        return path
    # Not resolve(): a symbolic link in the way is the user's own name for the place, and stays in texts.
    return Path(os.path.normpath((folder / path.expanduser()).absolute()))


def text(path: Path) -> str:
    """A path as people write it."""
    place = place_of(path)
    return str(path) if place is None else place.text


def wrong(given: str) -> str | None:
    """What is wrong with a text that is to name a path or a place, with the way out; None when nothing is.

    Args:
        given: as a person wrote it.
    """
    match = _URL.match(given)
    if match is None:
        return None
    scheme, slashes, rest = match[1], match[2], match[3].strip("/")
    known = _OTHER_NAMES.get(scheme.lower(), scheme.lower())
    if known not in SCHEMES:
        if known == "file":
            return f"give the path itself: /{rest}"
        return f"{scheme}:// is no place that can be read or written. Give a path, or {', '.join(_FORMS)}"
    if known != scheme or slashes != "//":
        return f"write {known}://{rest or 'bucket/key'}"
    bucket, _, key = rest.partition("/")
    if not bucket:
        return f"names no bucket. Write {scheme}://bucket/key"
    if any(part in (".", "..") for part in key.split("/")):
        return "a key of an object store has no . or .. in it. Write out which one is meant"
    return None


_FORMS: Final = [f"{scheme}://bucket/key" for scheme in SCHEMES]


def endpoint_of(scheme: str, environ: Mapping[str, str]) -> str | None:
    """The address of a store that is not the provider's own, by the usual variable; None for the provider's own."""
    return next((environ[name] for name in ENDPOINTS[scheme] if environ.get(name)), None)
