"""The files that an input path stands for: one file, all files of a folder, or those that a pattern matches.

Owns the endings that can be read, the order of files, and the refusal of everything that is no plain file. It opens
none of them and does not know what stands inside (`jsonl`, `csvreader`, `parquet`).

A folder is walked with all folders in it; names that begin with a dot or an underscore (`_SUCCESS`, `_temporary`) are
passed over, and so are output folders of ours. `key=value` folders are walked like others; what they say is `origin`'s
matter. The order is that of the paths, byte by byte, so the same files are read in the same order everywhere. CSV files
beside JSONL or Parquet are not read: often they are lists of labels or of the files themselves.
"""

from __future__ import annotations

import glob
import os
import stat
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from batch.core import places
from batch.core.errors import InputError
from batch.core.nearest import suggestion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Kind = Literal["jsonl", "parquet", "csv"]
Packing = Literal["gzip", "zstd"]

SUPPORTED: Final = (
    ".parquet, .jsonl, .jsonl.gz and .jsonl.zst (.ndjson and .json are read as .jsonl), .csv and .tsv, packed or not"
)
_TEXTS: Final[dict[str, Kind]] = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".csv": "csv", ".tsv": "csv"}
_PACKED: Final[dict[str, Packing]] = {".gz": "gzip", ".zst": "zstd"}
_WAYS_OUT: Final = {
    ".txt": "give it the ending of what it holds, for example .csv",
    ".xlsx": "save it as CSV UTF-8",
    ".xls": "save it as CSV UTF-8",
    ".bz2": "unpack it, or pack it with gzip or zstd",
    ".xz": "unpack it, or pack it with gzip or zstd",
    ".zip": "unpack it, or pack it with gzip or zstd",
    ".tar": "unpack it into a folder and name the folder",
    ".arrow": "write it as Parquet",
    ".feather": "write it as Parquet",
}
_SPECIAL: Final = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class File(msgspec.Struct, frozen=True):
    """One file that is to be read."""

    path: Path
    name: str
    """The name that errors show: the path from the input folder, or the bare name of a single file."""
    size: int
    mtime_ns: int
    inode: int
    kind: Kind
    packing: Packing | None = None


class Found(msgspec.Struct, frozen=True):
    """The files that an input path stands for."""

    path: Path
    single: bool
    """Whether the path names one file; a folder or a pattern may stand for more files tomorrow."""
    files: tuple[File, ...]
    others: tuple[str, ...] = ()
    """The names of files that are not read because of their endings."""


def find(path: Path) -> Found:
    """Find the files that a path stands for, in the order in which they are read.

    A file or folder of exactly this name goes before a pattern.

    Raises:
        InputError: there is no file, one of them is no plain file or of no supported kind, or there are two kinds.
    """
    state = _state(path)
    if state is None:
        if not glob.has_magic(str(path)):
            raise InputError(f"{shown(path)}: there is no such file or folder. {_near(path)}")
        base, pattern = _split(path)
        return _collected(path, base, _match(base, pattern, trail=()), "matches")
    if stat.S_ISDIR(state.st_mode):
        if _is_output(path):
            raise InputError(
                f"{shown(path)}: is an output folder, with calls beside results. To read its results, "
                f"name {shown(path / 'results')}."
            )
        return _collected(path, path, _walk(path, trail=(_node(state),)), "holds")
    _require_plain(shown(path), state)
    form = reads(path.name)
    if form is None:
        raise InputError(f"{shown(path)}: {refused(path.name)}")
    return Found(path, single=True, files=(File(path, shown(path.name), *_signs(state), *form),))


def reads(name: str) -> tuple[Kind, Packing | None] | None:
    """How a file of this name is read: its kind and how it is compressed; None when its ending is not supported."""
    name = name.lower()
    if name.endswith(".parquet"):
        return "parquet", None
    packing = _PACKED.get(Path(name).suffix)
    plain = name.removesuffix(Path(name).suffix) if packing else name
    kind = next((kind for ending, kind in _TEXTS.items() if plain.endswith(ending)), None)
    return None if kind is None else (kind, packing)


def shown(path: Path | str) -> str:
    """A path as text that can be written anywhere: bytes that are no UTF-8 become escapes."""
    text = places.text(path) if isinstance(path, Path) else path
    return os.fsencode(text).decode("utf-8", "backslashreplace")


def _collected(path: Path, base: Path, entries: Iterator[Path], verb: str) -> Found:
    """The files among the entries that a folder or a pattern on this machine gives; see `collected`."""
    names: dict[tuple[int, int], str] = {}

    def look(entry: Path, name: str) -> tuple[int, int, int]:
        state = _state(entry)
        if state is None:
            raise InputError(f"{shown(entry)}: is a symbolic link to a file that is not there. Take it out.")
        _require_plain(shown(entry), state)
        if (twin := names.setdefault(_node(state), name)) != name:
            raise InputError(
                f"{shown(path)}: {twin} and {name} are one file under two names, so its rows would be asked twice. "
                "Take one out, or name a narrower path."
            )
        return _signs(state)

    return collected(path, base, entries, verb, look=look, hidden=lambda: _hidden(base))


def collected(
    path: Path,
    base: Path,
    entries: Iterable[Path],
    verb: str,
    *,
    look: Callable[[Path, str], tuple[int, int, int]],
    hidden: Callable[[], str],
) -> Found:
    """Check the entries that a folder or a pattern gives, and bring the files among them into order.

    Args:
        path: the input path.
        base: the folder from which names are shown.
        entries: the paths, in any order.
        verb: `holds` or `matches`, for errors.
        look: gives size, time and inode of an entry with its name, or refuses it.
        hidden: what is said of names that were passed over, when nothing is left.

    Raises:
        InputError: as for `find`.
    """
    files: list[File] = []
    others: list[str] = []
    for entry in sorted(set(entries), key=os.fsencode):
        name = shown(entry.relative_to(base))
        form = reads(entry.name)
        if form is None:
            others.append(name)
            continue
        files.append(File(entry, name, *look(entry, name), *form))
    rows = [file for file in files if file.kind != "csv"]
    if rows and len(rows) < len(files):
        others = sorted([*others, *(file.name for file in files if file.kind == "csv")])
        files = rows
    if not files:
        what = f"it {verb} {', '.join(others[:3])}{' …' if len(others) > 3 else ''}; " if others else hidden()
        raise InputError(f"{shown(path)}: {verb} no file that can be read; {what}supported are {SUPPORTED}.")
    first = files[0]
    if mixed := next((file for file in files if file.kind != first.kind), None):
        raise InputError(
            f"{shown(path)}: {verb} both Parquet and JSONL, for example {first.name} and {mixed.name}. "
            f'Name one kind with a pattern, for example input.path = "{shown(base.name)}/**/*.parquet".'
        )
    return Found(path, single=False, files=tuple(files), others=tuple(others))


def _hidden(folder: Path) -> str:
    """What is said of names in a folder that are passed over; empty when there are none, or no folder."""
    names = sorted(shown(entry.name) for entry in _entries(folder) if entry.name[0] in "._") if folder.is_dir() else []
    few = f"{', '.join(names[:3])}{' …' if len(names) > 3 else ''}"
    return f"names that begin with a dot or an underscore are passed over, here {few}; " if names else ""


def _walk(folder: Path, *, trail: tuple[tuple[int, int], ...]) -> Iterator[Path]:
    """All files below a folder; `trail` are the folders around it, by which a circle of links is found."""
    for entry in _entries(folder):
        if entry.name.startswith((".", "_")):
            if entry.name == "_delta_log":
                raise InputError(
                    f"{shown(folder)}: is a Delta table, whose log says which of its files still count. "
                    "Write what you want to ask as Parquet of its own."
                )
            continue
        yield from _below(folder / entry.name, entry, trail=trail)


def _below(path: Path, entry: os.DirEntry[str], *, trail: tuple[tuple[int, int], ...]) -> Iterator[Path]:
    """The entry itself when it is a file, all files below it when it is a folder."""
    if not _leads_down(path, entry):
        yield path
    elif not _is_output(path):
        yield from _walk(path, trail=(*trail, _entered(path, entry, trail)))


def _leads_down(path: Path, entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError as exc:  # a link to itself
        raise InputError(f"{shown(path)}: cannot be read: {exc.strerror}.") from exc


def _entered(path: Path, entry: os.DirEntry[str], trail: tuple[tuple[int, int], ...]) -> tuple[int, int]:
    node = _node(entry.stat())
    if node in trail:
        raise InputError(f"{shown(path)}: is a symbolic link back to a folder around it. Take it out.")
    return node


def _split(path: Path) -> tuple[Path, tuple[str, ...]]:
    """A path with a pattern as a real folder and the pattern below it; a real folder may have `[` in its name."""
    parts = path.parts
    literal = 1
    while literal < len(parts) and (not glob.has_magic(parts[literal]) or Path(*parts[: literal + 1]).is_dir()):
        literal += 1
    return Path(*parts[:literal]), parts[literal:]


def _match(folder: Path, pattern: tuple[str, ...], *, trail: tuple[tuple[int, int], ...]) -> Iterator[Path]:
    """The files that a pattern matches; a folder that its last part matches stands for the files in it."""
    if not folder.is_dir():
        return
    head, rest = pattern[0], pattern[1:]
    if head == "**":
        yield from _match(folder, rest or ("*",), trail=trail)
    for entry in _entries(folder):
        if entry.name[:1] in (".", "_") and not head.startswith(entry.name[0]):
            continue
        path = folder / entry.name
        if head == "**":
            if _leads_down(path, entry) and not _is_output(path):
                yield from _match(path, pattern, trail=(*trail, _entered(path, entry, trail)))
        elif fnmatchcase(entry.name, head):
            if not rest:
                yield from _below(path, entry, trail=trail)
            elif _leads_down(path, entry):
                yield from _match(path, rest, trail=(*trail, _entered(path, entry, trail)))


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as exc:
        raise InputError(f"{shown(folder)}: cannot be read: {exc.strerror}.") from exc


def _state(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as exc:
        raise InputError(f"{shown(path)}: cannot be read: {exc.strerror}.") from exc


def _require_plain(name: str, state: os.stat_result) -> None:
    if not stat.S_ISREG(state.st_mode):
        what = next((text for test, text in _SPECIAL if test(state.st_mode)), "something else")
        raise InputError(f"{name}: is {what}, no regular file. Write the rows into a file first.")


def refused(name: str) -> str:
    """Why a file of this name is not read, and what to do about it."""
    ending = Path(name).suffix
    way_out = _WAYS_OUT.get(ending.lower())
    what = f"{ending} is not supported" if ending else "a name without an ending is not supported"
    return f"{what}; {f'{way_out}. R' if way_out else 'r'}ead are {SUPPORTED}."


def _near(path: Path) -> str:
    if path.is_symlink():
        return f"It is a link to {str(path.readlink())!r}, which is not there."
    beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    return suggestion(path.name, beside, "Correct input.path; it is taken from the job's folder.")


def _is_output(folder: Path) -> bool:
    try:
        return (folder / "ledger.db").exists() and (folder / "results").is_dir()
    except OSError:  # no permission: the error comes when its files are listed
        return False


def _node(state: os.stat_result) -> tuple[int, int]:
    return state.st_dev, state.st_ino


def _signs(state: os.stat_result) -> tuple[int, int, int]:
    return state.st_size, state.st_mtime_ns, state.st_ino
