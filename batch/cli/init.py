"""`promptmill init`: writes a working sample job into a new folder."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter

from batch.cli.text import say
from batch.core.errors import EXIT_OK, OutputError, StorageError
from batch.core.plain import quoted

FILES: Final = {"job.toml": "job.toml", "rows.jsonl": "rows.jsonl", "tools.txt": "tools.py"}
"""Files of the package, and their names in a job. `tools.txt` is not called `.py`, because it is no module of ours."""


def init(folder: Annotated[Path, Parameter(negative=())], /) -> int:
    """Write a working sample job into a new or empty folder: no key needed, it runs against the simulator.

    Args:
        folder: where to; nothing in it is ever overwritten.
    """
    _refuse_what_is_there(folder)
    sample = resources.files("batch.cli") / "sample"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for source, target in FILES.items():
            # "x": a file that appears in this very moment is not overwritten either.
            with (folder / target).open("x", encoding="utf-8") as file:
                file.write((sample / source).read_text(encoding="utf-8"))
    except FileExistsError as exc:
        raise OutputError(
            f"{exc.filename}: stands there already; nothing is overwritten. Choose another folder."
        ) from exc
    except OSError as exc:
        raise StorageError(f"{exc.filename or folder}: cannot be written: {exc.strerror}.") from exc
    place = quoted(str(folder))
    say(
        [
            f"{folder}: a job with {', '.join(FILES.values())}. In another terminal:",
            "  promptmill simulate",
            "and then here:",
            f"  promptmill run {place}",
        ]
    )
    return EXIT_OK


def _refuse_what_is_there(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder}: is a file; give a folder that does not exist yet.")
    existing = [name for name in FILES.values() if (folder / name).exists()]
    if existing:
        raise OutputError(
            f"{folder}: has {', '.join(existing)} already; nothing is overwritten. Choose another folder."
        )
