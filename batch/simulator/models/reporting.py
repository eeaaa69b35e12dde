"""How the built-in model works as an agent: it reads a figure with one tool, and writes a file by it with another.

Owns one kind of task: "Read the memory in use. If more than 80 percent is used, write a.txt, otherwise b.txt." It is
met when a tool that reads the memory and one that writes a file are offered, and the text names a share and two files.
Three turns: the reading, the writing, the answer. What a tool says is an error is told in the answer, and nothing is
tried again.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from batch.simulator.models.completion import ToolCall

_MEMORY = re.compile(r"memory|(?<![a-z])mem(?![a-z])|内存", re.IGNORECASE)
_WRITE = re.compile(r"write|save|写", re.IGNORECASE)
_FILE = re.compile(r"file|文件", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]*\.(?:txt|md|log|json|csv)")
_SHARE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:%|％|per ?cent)", re.IGNORECASE)
_BELOW = re.compile(r"less|below|under|lower|低于|小于|少于", re.IGNORECASE)
_PATH = re.compile(r"path|file|name|文件", re.IGNORECASE)
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


class Task(msgspec.Struct, frozen=True):
    """A task of this kind, as it was read.

    Attributes:
        reader: the tool that reads the memory.
        writer: the tool that writes a file.
        share: the limit in percent.
        below: whether the first file is for less than the limit; else it is for more.
        first: the file for that.
        second: the file for everything else.
    """

    reader: dict[str, Any]
    writer: dict[str, Any]
    share: float
    below: bool
    first: str
    second: str


def read(tools: tuple[dict[str, Any], ...], user: str) -> Task | None:
    """The task, or None when it is another one.

    Args:
        tools: the functions offered.
        user: what the user said last.
    """
    share, names = _SHARE.search(user), list(dict.fromkeys(_NAME.findall(user)))
    reader = next((tool for tool in tools if _MEMORY.search(_said(tool)) and not _WRITE.search(tool["name"])), None)
    writer = next((tool for tool in tools if _WRITE.search(_said(tool)) and _FILE.search(_said(tool))), None)
    if share is None or len(names) < 2 or reader is None or writer is None:
        return None
    return Task(reader, writer, float(share[1]), _BELOW.search(user[: share.start()]) is not None, names[0], names[1])


def next_calls(task: Task, called: int, results: list[str]) -> tuple[ToolCall, ...]:
    """The call of this turn; none when there is only the answer left.

    Args:
        task: what is to be done.
        called: how many calls were made.
        results: what the tools said.
    """
    if called == 0:
        return (ToolCall(task.reader["name"], "{}"),)
    share = _share(results[0]) if results else None
    if called > 1 or share is None:
        return ()
    line = f"{share:g} percent of the memory is in use; the limit is {task.share:g} percent."
    texts = [_file(task, share), line]
    arguments: dict[str, str] = {}
    for name in _parameters(task.writer):
        arguments[name] = texts[0] if _PATH.search(name) else texts[1]
    return (ToolCall(task.writer["name"], msgspec.json.encode(arguments).decode()),)


def answer(task: Task, results: list[str]) -> str:
    """The sentence at the end."""
    for result in results:
        if (error := _error(result)) is not None:
            return f"The report could not be written: {error}"
    share = _share(results[0]) if results else None
    if share is None:
        return "The memory in use is not known, so no report was written."
    return (
        f"{share:g} percent of the memory is in use, and the limit is {task.share:g}: {_file(task, share)} is written."
    )


def _file(task: Task, share: float) -> str:
    return task.first if (share < task.share if task.below else share > task.share) else task.second


def _said(tool: dict[str, Any]) -> str:
    return f"{tool['name'].replace('_', ' ')} {tool.get('description') or ''}"


def _parameters(tool: dict[str, Any]) -> list[str]:
    schema = tool.get("parameters")
    properties = schema.get("properties") if isinstance(schema, dict) else None
    return list(properties) if isinstance(properties, dict) else []


def _decoded(result: str) -> Any:
    try:
        return msgspec.json.decode(result)
    except msgspec.DecodeError:
        return None


def _error(result: str) -> str | None:
    told = _decoded(result)
    return str(told["error"]) if isinstance(told, dict) and "error" in told else None


def _share(result: str) -> float | None:
    """The share in use that a tool told: under a name with `percent`, as used and total, or the first number."""
    if _error(result) is not None:
        return None
    told = _decoded(result)
    if isinstance(told, dict):
        figures = {name: value for name, value in told.items() if isinstance(value, int | float)}
        for name, value in figures.items():
            if "percent" in name:
                return float(value)
        used = next((value for name, value in figures.items() if "used" in name), None)
        total = next((value for name, value in figures.items() if "total" in name), None)
        return round(100 * used / total, 1) if used is not None and total else None
    found = _NUMBER.search(result)
    return float(found[0]) if found else None
