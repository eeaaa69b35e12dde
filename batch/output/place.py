"""Where an output folder may lie: in a folder of its own, at a path short enough for all files below it.

Owns the refusal of any other place, before something is written there: the folder of the job, a folder with other
people's files, a file, a path that is too long. It reads names only; whether our files are whole, `integrity` says.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Final

from batch.core import places
from batch.core.errors import OutputError
from batch.core.plain import clean
from batch.job.shard import OPTION, Shard
from batch.output import shards
from batch.output.folder import OutputFolder

LONGEST: Final = 470
"""Bytes of the longest path: SQLite takes no file with more than 512, and its own files beside ours need the rest."""
_FOLDERS: Final = frozenset({"results", "calls", "runs"})
_OURS: Final = _FOLDERS | {"pending", "wire", "status.json", "metrics.prom"}
_NAMED: Final = 3
"""How many files of others a refusal names."""


def require(folder: OutputFolder, *, job: Path, shard: Shard | None = None) -> None:
    """Refuse a place where no output may lie.

    Args:
        folder: it need not be there.
        job: the folder of the job.
        shard: whose output it is, in the folder of all of them; None for that of a whole job.

    Raises:
        OutputError: says what is wrong with the place, and what to give instead.
    """
    root = folder.root
    if (reason := unusable(root)) is not None:
        raise OutputError(f"{shown(root)}: {reason} Give another folder, with -o or as output.path.")
    if len(os.fsencode(os.path.realpath(root))) > LONGEST:
        raise OutputError(
            f"{shown(root)}: is longer than {LONGEST} bytes, and the ledger's file could not be opened there. Give a "
            "folder with a shorter path, with -o or as output.path."
        )
    if shard is not None:
        _require_shards(OutputFolder(folder.place.parent), job, shard)
    elif (count := shards.known(folder)) is not None:
        raise shards.whole(folder, count)
    if not root.is_dir():
        return
    names = {entry.name for entry in root.iterdir()}
    foreign = sorted(name for name in names if not name.startswith((".", "ledger.db")) and name not in _OURS)
    if _is_ours(folder, names) or (not foreign and not names & _OURS):
        return
    raise _foreign(root, job, names, foreign or sorted(names & _OURS))


def _require_shards(above: OutputFolder, job: Path, shard: Shard) -> None:
    """Refuse a folder in which no shard of a job may have its output.

    Raises:
        OutputError: as `require`.
    """
    if not above.root.is_dir():
        return
    if (count := shards.known(above)) is not None:
        shards.require_same(above, shard, count)
    names = {entry.name for entry in above.root.iterdir()}
    if _is_ours(above, names):
        raise OutputError(
            f"{above.text}: is the output of a job without {OPTION}, and its rows cannot be divided any more: each "
            f"would be bought again. Go on without {OPTION}, or give another folder, with -o or as output.path."
        )
    own = (shards.NAME, ".lock")
    if foreign := sorted(name for name in names if name not in own and not shards.FOLDER.fullmatch(name)):
        raise _foreign(above.root, job, names, foreign)


def _foreign(root: Path, job: Path, names: set[str], others: list[str]) -> OutputError:
    """The refusal of a folder with files of somebody else."""
    if "job.toml" in names or root == job:
        what = "is the folder of the job itself" if root == job else "is the folder of another job"
    else:
        more = f" and {len(others) - _NAMED:,} more" if len(others) > _NAMED else ""
        what = f"is no output folder, but holds {', '.join(clean(name, most=60) for name in others[:_NAMED])}{more}"
    return OutputError(
        f"{shown(root)}: {what}. Give the output a folder of its own, for example -o {shown(root / 'out')}"
    )


def unusable(path: Path) -> str | None:
    """Why no folder can be at a path, as a sentence; None when one is there or can be made."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return "its name is no UTF-8, and the ledger's file could not be opened there."
    try:
        state = path.stat()
    except FileNotFoundError:
        return "is a symbolic link to a place that is not there." if path.is_symlink() else None
    except NotADirectoryError:
        return f"{next(parent for parent in path.parents if parent.is_file())} is a file, so nothing can lie in it."
    except ValueError:
        return "a path holds no NUL."
    except OSError as exc:
        if exc.errno == errno.ENAMETOOLONG:
            return f"is too long for a path: {len(os.fsencode(path)):,} bytes."
        return f"cannot be looked at: {exc.strerror}."
    if not stat.S_ISDIR(state.st_mode):
        return "is a file, not a folder."
    return None if os.access(path, os.R_OK | os.X_OK) else "cannot be looked into: Permission denied."


def shown(path: Path) -> str:
    """A path in a message, however long it is."""
    return clean(places.text(path), most=200)


def _is_ours(folder: OutputFolder, names: set[str]) -> bool:
    """Whether a run of ours has been here, or what it left was lost in part."""
    if "ledger.db" in names or names >= _FOLDERS or (".lock" in names and names & _OURS):
        return True
    return any(folder.results.glob("part-*.parquet")) or any(folder.calls.glob("run=*/part-*.parquet"))
