"""Tools that promptmill brings along, safe to be called by a model: files of one folder, and the memory of the machine.

Owns these functions and their sizes. None of them starts a program, and none opens a file outside of its folder
(`folder`). A job names them in `tools.shipped`; a tools file may import them: `memory_info` as it is, the two for files
from `file_tools`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from batch.tools.folder import ConfinedFolder, NotInFolder
from batch.tools.registry import tool

MAX_READ: Final = 60_000
"""Bytes of the largest file that is read: it is sent to the model again in every later turn of the row."""
MAX_WRITTEN: Final = 1_000_000
NAMES: Final = ("read_file", "write_file", "memory_info")

_MEMORY: Final = Path("/proc/meminfo")
_FIGURES: Final = {
    "MemTotal": "total_mb",
    "MemAvailable": "available_mb",
    "SwapTotal": "swap_mb",
    "SwapFree": "swap_free_mb",
}


def file_tools(root: Path | str) -> tuple[Callable[[str], str], Callable[[str, str], str]]:
    """The tools `read_file` and `write_file` for the files below one folder, for a tools file of one's own.

    Args:
        root: the folder; in a tools file usually `Path(__file__).parent / "files"`.
    """
    folder = ConfinedFolder(Path(root))

    @tool
    def read_file(path: str) -> str:
        """Read a text file from the folder of the files and return its text.

        Args:
            path: The name of the file, for example notes.txt or reports/june.txt. It cannot leave the folder.
        """
        try:
            return folder.read(path, most=MAX_READ).decode()
        except UnicodeDecodeError:
            raise NotInFolder(f"{path!r}: it is no text in UTF-8") from None

    @tool(effects=True)
    def write_file(path: str, text: str) -> str:
        """Write a text file into the folder of the files, in place of one that has this name.

        Args:
            path: The name of the file, for example notes.txt or reports/june.txt. It cannot leave the folder.
            text: The whole text of the file.
        """
        data = text.encode("utf-8", "replace")
        if len(data) > MAX_WRITTEN:
            raise NotInFolder(f"{path!r}: the text has {len(data):,} bytes, at most {MAX_WRITTEN:,} are written")
        folder.write(path, data)
        return f"wrote {len(data):,} bytes to {path}"

    return read_file, write_file


@tool
def memory_info() -> dict[str, Any]:
    """Tell how much memory this machine has and how much of it is available, in megabytes, and the used share."""
    try:
        lines = _MEMORY.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError as error:
        raise RuntimeError("this system does not tell its memory: it has no /proc/meminfo") from error
    pairs = (line.partition(":") for line in lines)
    figures: dict[str, Any] = {
        _FIGURES[name]: round(int(value.split()[0]) * 1024 / 1_000_000) for name, _, value in pairs if name in _FIGURES
    }
    if total := figures.get("total_mb"):
        figures["used_percent"] = round(100 * (1 - figures.get("available_mb", 0) / total), 1)
    return figures


def named(names: Iterable[str], files: Path) -> list[Callable[..., Any]]:
    """The tools of these names.

    Args:
        names: of `NAMES`.
        files: the folder in which they read and write.
    """
    read_file, write_file = file_tools(files)
    there: dict[str, Callable[..., Any]] = dict(zip(NAMES, (read_file, write_file, memory_info), strict=True))
    return [there[name] for name in names]
