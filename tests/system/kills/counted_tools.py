"""The tools of `jobs/memory_report` with a count: `written.log` has one line for each time that writing began.

The memory is that of a machine which stands still, so a row that is asked again reads the same and does the same.
"""

import os
from pathlib import Path
from typing import Final

from batch import tool

REPORTS: Final = Path(__file__).parent / "out" / "reports"


@tool
def memory_info() -> dict[str, float]:
    """How much memory this machine has and how much of it is in use, in megabytes and in percent."""
    return {"total_mb": 8_000, "available_mb": 4_080, "used_percent": 49.0}


@tool(effects=True)
def write_file(path: str, text: str) -> str:
    """Write a text file into the folder of reports.

    Args:
        path: Where, in that folder, such as "today/mem_ok.txt".
        text: What to write.
    """
    target = REPORTS / path
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
