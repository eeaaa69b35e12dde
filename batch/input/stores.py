"""Input files in an object store: S3, Google Cloud Storage and Azure Blob Storage, read by pyarrow's own clients.

Owns how objects are found by a name, a folder or a pattern, how one is read as a file from any byte on, and what a
person is told when a store refuses. Nothing is copied to a disk, and no more is held in memory than a reader asks for.
A request that fails is made again a few times. It does not know what stands in a file (`jsonl`, `parquet`), nor which
endings can be read (`files`).
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from fnmatch import fnmatchcase
from functools import cache
from glob import has_magic
from pathlib import Path
from typing import Any, Final, TypeVar

import pyarrow as pa

from batch.core import places, redaction
from batch.core.clock import Clock
from batch.core.errors import InputError, StorageError
from batch.core.logs import logger
from batch.core.nearest import suggestion
from batch.core.places import Place
from batch.input.files import File, Found, collected, reads, refused, shown

WAITS_S: Final = (0.5, 1.0, 2.0, 4.0)
"""How long is waited before a request that failed is made again; the clients make some tries of their own."""
_TIMEOUT_S: Final = 60
_CONNECT_S: Final = 5
_FINAL: Final = re.compile(
    r"ACCESS_DENIED|SIGNATURE_DOES_NOT_MATCH|INVALID_ACCESS_KEY_ID|NO_SUCH_BUCKET|NO_SUCH_KEY|UNRECOGNIZED_CLIENT|"
    r"EXPIRED_TOKEN|HTTP status (?:301|401|403|404)|PermanentRedirect|AuthenticationFailed|ContainerNotFound|"
    r"NoAuthenticationInformation|PERMISSION_DENIED|NOT_FOUND|UNAUTHENTICATED|[Pp]ermission denied|"
    r"access token|[Cc]redentials"
)
"""Words in what a client says that mean: trying again does not help."""
_WAYS_OUT: Final = {
    "s3": "Look to the bucket's name, and to AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION",
    "gs": "Look to the bucket's name, and to GOOGLE_APPLICATION_CREDENTIALS",
    "az": "Look to the container's name, and to AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
_RUN: Final = re.compile(r"(?:^|(?<=/))runs/\d{8}T\d{9}Z-[0-9a-f]{4}\.json$")
_T = TypeVar("_T")


def find(path: Path) -> Found:
    """Find the files that a place in an object store stands for, by the rules of `files.find`.

    Raises:
        InputError: there is none, or the store refuses.
        StorageError: the store cannot be reached.
    """
    info = _asked(path, lambda: _system(_place(path).scheme).get_file_info(_key(path)))
    if info.is_file:
        form = reads(path.name)
        if form is None:
            raise InputError(f"{shown(path)}: {refused(path.name)}")
        return Found(path, single=True, files=(File(path, path.name, info.size, info.mtime_ns or 0, 0, *form),))
    base, verb, below = path, "holds", _below(path)
    wanted = [name for name in below if _matches(name.split("/"), ())]
    if not below and has_magic(_place(path).key):
        base, pattern = _split(path)
        below, verb = _below(base), "matches"
        wanted = [name for name in below if _matches(name.split("/"), pattern)]
    if not below:
        raise InputError(f"{shown(path)}: {_missing(path)}")
    outputs = _outputs(below)
    if base == path and "" in outputs:
        raise InputError(
            f"{shown(path)}: is an output folder, with calls beside results. To read its results, "
            f"name {shown(path / 'results')}."
        )

    kept = [base / name for name in wanted if not any(output and name.startswith(output) for output in outputs)]
    return collected(path, base, kept, verb, look=lambda _, name: (*below[name], 0), hidden=lambda: _hidden(below))


def raw(path: Path) -> io.RawIOBase | io.FileIO:
    """A file of this machine or of a store, open to be read from any byte on, unbuffered.

    Raises:
        OSError: a file of this machine cannot be opened.
        InputError: the object is not there, or the store refuses.
        StorageError: the store cannot be reached.
    """
    return _Object(path) if places.is_store(path) else path.open("rb", buffering=0)


class _Object(io.RawIOBase):
    """One object, read in ranges; what cannot be read is asked for again a few times."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = self._open()
        self._size = int(_asked(path, self._file.size))

    def _open(self) -> Any:
        return _asked(self._path, lambda: _system(_place(self._path).scheme).open_input_file(_key(self._path)))

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._file.seek(offset, whence)
        return int(self._file.tell())

    def tell(self) -> int:
        return int(self._file.tell())

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer, or a part of it at the end.

        Raises:
            InputError: the object is gone, or the store refuses.
            StorageError: the store cannot be reached.
        """
        view = memoryview(buffer).cast("B")
        place = self.tell()
        count = min(len(view), self._size - place)
        if count <= 0:
            return 0  # some stores refuse to read at the end

        def read() -> bytes:
            self._file.seek(place)
            data: bytes = self._file.read(count)
            return data

        data = _asked(self._path, read)
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


# -- inside ------------------------------------------------------------------------------------------------------------


def _place(path: Path) -> Place:
    place = places.place_of(path)
    assert place is not None
    return place


def _key(path: Path) -> str:
    place = _place(path)
    return f"{place.bucket}/{place.key}".rstrip("/")


@cache
def _system(scheme: str) -> Any:
    """The client of one kind of store, with what the usual variables say."""
    from pyarrow import fs  # noqa: PLC0415 - slow to load, and hardly ever needed

    environ = os.environ
    endpoint = places.endpoint_of(scheme, environ)
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AZURE_STORAGE_ACCOUNT_KEY"):
        if secret := environ.get(name):
            redaction.hide(secret)
    if scheme == "s3":
        region = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or ("us-east-1" if endpoint else None)
        tries = fs.AwsStandardS3RetryStrategy(max_attempts=3)
        # Keys and profiles are found by the client itself, in the variables and files that AWS names.
        return fs.S3FileSystem(
            region=region,
            endpoint_override=endpoint,
            request_timeout=_TIMEOUT_S,
            connect_timeout=_CONNECT_S,
            retry_strategy=tries,
        )
    if scheme == "gs":
        limit = timedelta(seconds=2 * _CONNECT_S)  # without credentials it tries for as long as it may
        if endpoint is None:
            return fs.GcsFileSystem(retry_time_limit=limit)
        protocol, _, host = endpoint.rpartition("://")
        return fs.GcsFileSystem(
            anonymous=True, endpoint_override=host, scheme=protocol or "http", retry_time_limit=limit
        )
    account, key = environ.get("AZURE_STORAGE_ACCOUNT_NAME", ""), environ.get("AZURE_STORAGE_ACCOUNT_KEY")
    own: dict[str, str] = {}
    if endpoint is not None:
        protocol, _, host = endpoint.rpartition("://")
        host, protocol = host.partition("/")[0], protocol or "https"
        own = {
            f"{door}_storage_{part}": value
            for door in ("blob", "dfs")  # it asks the second one, too, which is Azure's own otherwise
            for part, value in (("authority", host), ("scheme", protocol))
        }
    return fs.AzureFileSystem(account, account_key=key, **own)


def _asked(path: Path, request: Callable[[], _T]) -> _T:
    """What a request gives; one that fails is made again a few times.

    Raises:
        InputError: the object is not there, or the store refuses.
        StorageError: the store cannot be reached.
    """
    for wait_s in (*WAITS_S, None):
        try:
            return request()
        except FileNotFoundError:
            raise InputError(f"{shown(path)}: there is no such object any more. Put the file back.") from None
        except (OSError, pa.ArrowException) as exc:
            why = _reason(exc)
            if _FINAL.search(str(exc)):
                raise InputError(f"{shown(path)}: cannot be read: {why}. {_WAYS_OUT[_place(path).scheme]}.") from exc
            if wait_s is None:
                raise StorageError(
                    f"{shown(path)}: cannot be read: {why}. Look to the network and the store, then run the same "
                    "command again: what was answered is kept."
                ) from exc
            logger().warning("store_retried", object=shown(path), why=why)
            Clock().pause(wait_s)
    raise AssertionError


def _reason(exc: Exception) -> str:
    """What a client says, without its preface and the number of the request."""
    text = " ".join(str(exc).split())
    text = re.sub(r"^When .*?: (?:AWS Error )?", "", text)
    text = re.sub(r"\(Request ID: [^)]*\)|during \w+ operation|No response body\.?", "", text)
    return redaction.redact(" ".join(text.split()).replace(" :", ":").strip(" .:")[:200])


def _below(path: Path) -> dict[str, tuple[int, int]]:
    """Size and time of all files below a folder, by their names from it."""
    cut = len(_key(path)) + 1
    return {info.path[cut:]: (info.size, info.mtime_ns or 0) for info in _listed(path) if info.is_file}


def _listed(path: Path, *, deep: bool = True) -> list[Any]:
    from pyarrow import fs  # noqa: PLC0415 - slow to load, and hardly ever needed

    selector = fs.FileSelector(_key(path), recursive=deep, allow_not_found=True)
    found: list[Any] = _asked(path, lambda: _system(_place(path).scheme).get_file_info(selector))
    return found


def _split(path: Path) -> tuple[Path, tuple[str, ...]]:
    """A path with a pattern as the folder before it and the pattern."""
    parts = path.parts
    literal = next((number for number, part in enumerate(parts) if number > 1 and has_magic(part)), len(parts))
    return Path(*parts[:literal]), parts[literal:]


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether a pattern matches a name, or a folder around it; hidden names only where it begins as they do."""
    if not pattern:
        return not any(part[:1] in (".", "_") for part in parts)
    if not parts:
        return False
    head, rest = pattern[0], pattern[1:]
    if head == "**":
        deeper = len(parts) > 1 and parts[0][:1] not in (".", "_") and _matches(parts[1:], pattern)
        return deeper or _matches(parts, rest or ("*",))
    if parts[0][:1] in (".", "_") and not head.startswith(parts[0][0]):
        return False
    if not fnmatchcase(parts[0], head):
        return False
    return _matches(parts[1:], rest) if not rest or len(parts) > 1 else False


def _outputs(names: Mapping[str, Any]) -> set[str]:
    """What the names of outputs of ours begin with: they have files of runs beside results."""
    found = {name[: match.start()] for name in names if (match := _RUN.search(name))}
    return {output for output in found if any(name.startswith(f"{output}results/") for name in names)}


def _hidden(names: Mapping[str, Any]) -> str:
    hidden = sorted(name for name in names if any(part[:1] in (".", "_") for part in name.split("/")))
    few = f"{', '.join(hidden[:3])}{' …' if len(hidden) > 3 else ''}"
    return f"names that begin with a dot or an underscore are passed over, here {few}; " if hidden else ""


def _missing(path: Path) -> str:
    """What is said of a place where nothing lies."""
    place = _place(path)
    if not _asked(path, lambda: _system(place.scheme).get_file_info(place.bucket)).type:
        return f"there is no bucket {place.bucket!r}. Correct input.path."
    beside = [info.base_name for info in _listed(path.parent, deep=False)] if _place(path).key else []
    return f"there is no such file or folder. {suggestion(path.name, beside, 'Correct input.path.')}"
