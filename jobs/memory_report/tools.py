"""The tools of an agent that watches the memory: one reads how much is in use, one writes a report.

Writing is marked as an effect, so it runs at most once for a row, however often the run is killed. The function keeps a
count of its own in `written.log`, one line each time it begins, so that nobody has to believe that.
"""

import os
from pathlib import Path
from typing import Final

from batch import tool

REPORTS: Final = Path(__file__).parent / "out" / "reports"
MAX_BYTES: Final = 10_000


@tool
def memory_info() -> dict[str, float]:
    """How much memory this machine has and how much of it is in use, in megabytes and in percent."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        kib = {line.split(":")[0]: int(line.split()[1]) for line in lines}
        total, free = kib["MemTotal"] / 1024, kib["MemAvailable"] / 1024
    except FileNotFoundError:  # no Linux
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES") / 2**20
    return {
        "total_mb": round(total, 1),
        "used_mb": round(total - free, 1),
        "used_percent": round(100 * (total - free) / total, 1),
    }


@tool(effects=True)
def write_file(path: str, text: str) -> str:
    """Write a text file into the folder of reports.

    Args:
        path: Where, in that folder, such as "today/mem_ok.txt".
        text: What to write.
    """
    target = (REPORTS / path).resolve()
    if not target.is_relative_to(REPORTS.resolve()) or target == REPORTS.resolve():
        raise ValueError(f"{path} is not inside the folder of reports: give a name such as today/mem_ok.txt")
    if len(text.encode()) > MAX_BYTES:
        raise ValueError(f"the text is longer than {MAX_BYTES} bytes: write less")
    _count(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
    return f"written: {path}"


def _count(path: str) -> None:
    """One line for this call, appended in one piece, so that calls at the same time do not mix theirs."""
    REPORTS.mkdir(parents=True, exist_ok=True)
    log = os.open(REPORTS / "written.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(log, f"{path}\n".encode())
    finally:
        os.close(log)
