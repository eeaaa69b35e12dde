"""The tools of a job: which functions there are, under which names, with which schemas.

Owns the `@tool` mark, the loading of a job's `tools.py` and the check of every signature in it. It runs no tool
(`execute` does) and knows no conversation.
"""

from __future__ import annotations

import inspect
import re
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar, overload

import msgspec

from batch.core.errors import JobError
from batch.core.nearest import suggestion
from batch.tools.frames import Origin
from batch.tools.loading import execute, read
from batch.tools.schema import Parameter, read_signature
from batch.tools.sources import source_digest

F = TypeVar("F", bound=Callable[..., Any])

_MARK: Final = "__promptmill_tool__"
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)  # the form both API references ask for
_SHOWN: Final = 8
_OURS: Final = "batch.tools.shipped"
"""What changes there is no matter of the job's author, and is not told."""


class _Mark(msgspec.Struct, frozen=True):
    name: str | None
    version: str
    description: str | None
    effects: bool = False
    cache: bool = False
    quick: bool = False


class Tool(msgspec.Struct, frozen=True):
    """One function the model may call."""

    name: str
    version: str
    function: Callable[..., Any]
    is_async: bool
    parameters: tuple[Parameter, ...]
    schema: dict[str, Any]
    """The entry of the request's `tools` list."""
    effects: bool = False
    cache: bool = False
    source: str = ""
    """A hash of what the function does, as far as its own file says it; empty when its source is not there."""
    quick: bool = False
    """It runs in this process, where nothing can stop it."""


@overload
def tool(function: F, /) -> F: ...
@overload
def tool(
    *,
    name: str | None = None,
    version: str = "1",
    description: str | None = None,
    effects: bool = False,
    cache: bool = False,
    quick: bool = False,
) -> Callable[[F], F]: ...
def tool(
    function: F | None = None,
    /,
    *,
    name: str | None = None,
    version: str = "1",
    description: str | None = None,
    effects: bool = False,
    cache: bool = False,
    quick: bool = False,
) -> F | Callable[[F], F]:
    """Mark a function as one the model may call; it stays an ordinary function.

    The type hint of a parameter tells the model what to send; without one it may send anything. The docstring tells it
    what the function is for, and its arguments section what each parameter means.

    Args:
        function: the plain or async function, when used as a bare `@tool`.
        name: the name that the model uses; by default the function's own name.
        version: change it when the function begins to give other results for the same arguments. It is part of the
            fingerprint, so rows that were answered with the old version are asked again.
        description: text for the model in place of the docstring's.
        effects: the function changes something outside: it writes, sends, orders. It then runs at most once for a call
            of a row, over any number of crashes; `tools.policy` says what to do when it was cut off.
        cache: the function is pure: the same arguments give the same result. It then runs once in a run for them, and
            the result is shared by all rows; errors are not.
        quick: the function always returns at once and is harmless: it runs in this process, in a thread, instead of a
            worker process. It costs less so, many async ones wait at the same time, and it sees our environment and
            memory; one that does not return cannot be stopped.

    Raises:
        TypeError: the mark was put on something that is no function, or both effects and cache were asked for.
    """
    if effects and cache:
        raise TypeError("@tool(effects=True, cache=True): what has effects is not pure; choose one of them")

    def mark(marked: F) -> F:
        if not inspect.isfunction(marked):
            raise TypeError(f"@tool belongs on a function, not on {marked!r}")
        setattr(marked, _MARK, _Mark(name, version, description, effects, cache, quick))
        return marked

    return mark if function is None else mark(function)


class ToolSet:
    """The checked tools of one job, in the order in which they are defined; it never changes."""

    __slots__ = ("_tools", "_where", "origin")

    def __init__(
        self, tools: Iterable[Tool] = (), *, where: Path | str = "tools", origin: Origin | None = None
    ) -> None:
        self._tools = {entry.name: entry for entry in tools}
        self._where = str(where)
        self.origin = origin
        """Where another process can load them from, and perhaps more; None for functions that were given as such."""

    @classmethod
    def empty(cls) -> ToolSet:
        """The tool set of a job without tools."""
        return cls()

    @classmethod
    def load(cls, path: Path | None, *, shipped: Iterable[str] = (), files: Path | None = None) -> ToolSet:
        """Run a tools file and take every function in it that is marked with `@tool`.

        The file is run as a module with a private name, so files of the same name in several jobs do not collide, and
        nothing is written beside it. It cannot import modules that lie next to it, only what is installed.

        Args:
            path: the file; None for a job that has none.
            shipped: names of tools that promptmill brings along (`shipped`); they come behind those of the file.
            files: the folder in which these read and write.

        Raises:
            JobError: the file cannot be read or run, has no tool, or has one with a wrong name or hint; every fault
                names file and line.
        """
        source = b"" if path is None else read(path)
        return cls.from_origin(Origin("" if path is None else str(path), source, tuple(shipped), str(files or "")))

    @classmethod
    def from_origin(cls, origin: Origin) -> ToolSet:
        """The tools of an origin, as `load` found them.

        Raises:
            JobError: as `load`; nothing but the folder of the shipped tools is looked at on the disk.
        """
        functions: list[Callable[..., Any]] = []
        module: types.ModuleType | None = None
        if origin.path:
            module = execute(Path(origin.path), origin.source)
            functions = _marked(vars(module))
        if origin.shipped and (functions or module is None):
            from batch.tools import shipped  # noqa: PLC0415  most jobs have none of them

            functions += shipped.named(origin.shipped, Path(origin.files))
        try:
            found = cls.of(functions, where=origin.path or "tools.shipped")
        except JobError:
            if module is not None:
                del sys.modules[module.__name__]
            raise
        found.origin = origin
        return found

    @classmethod
    def of(cls, functions: Iterable[Callable[..., Any]], *, where: Path | str = "tools") -> ToolSet:
        """The set of these marked functions.

        Args:
            functions: functions marked with `@tool`.
            where: where they come from, as the error names it.

        Raises:
            JobError: there is no function, two share a name, or a signature is refused.
        """
        tools: dict[str, Tool] = {}
        faults: list[str] = []
        for function in functions:
            read = _describe(function)
            if isinstance(read, list):
                faults += read
            elif read.name in tools:
                faults.append(f"{_place(function)}: a second tool is called {read.name!r}; give one @tool(name=…)")
            else:
                tools[read.name] = read
        if not tools and not faults:
            faults.append("no function in it is marked with @tool; mark one, or remove [tools] from the job")
        if faults:
            raise JobError(faults, where=str(where))
        return cls(tools.values(), where=where)

    def only(self, allowed: Iterable[str]) -> ToolSet:
        """The tools with these names, in the order in which they are defined.

        Args:
            allowed: names, in any order.

        Raises:
            JobError: there is no tool of one of the names, or there are no names.
        """
        names = list(allowed)
        unknown = [name for name in names if name not in self._tools]
        there = f"There are: {', '.join(self.names)}."
        faults = [f"allow: there is no tool {name!r}. {suggestion(name, self.names, there)}" for name in unknown]
        if not names:
            faults.append("allow: names no tool; name one, or remove [tools] from the job")
        if faults:
            raise JobError(faults)
        kept = [entry for entry in self._tools.values() if entry.name in names]
        return ToolSet(kept, where=self._where, origin=self.origin)

    def changed(self, before: Mapping[str, list[str]]) -> list[str]:
        """The tools whose source is another than before, under the same version.

        Args:
            before: `sources` of an earlier set.
        """
        return [
            name
            for name, now in self.sources().items()
            if (was := before.get(name)) and was[0] == now[0] and was != now
        ]

    def sources(self) -> dict[str, list[str]]:
        """By name, the version of each tool and a hash of its source."""
        return {entry.name: [entry.version, entry.source] for entry in self._tools.values() if entry.source}

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the tools, in order."""
        return tuple(self._tools)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What its author probably did not mean: one line on all parameters without a type hint."""
        bare = {
            entry.name: [parameter.name for parameter in entry.parameters if not parameter.hinted]
            for entry in self._tools.values()
        }
        places = [f"{name}({', '.join(names)})" for name, names in bare.items() if names]
        if not places:
            return ()
        shown = ", ".join(places[:_SHOWN]) + (f" and {len(places) - _SHOWN} more" if len(places) > _SHOWN else "")
        name = next(names[0] for names in bare.values() if names)
        text = f"without type hints a model may send anything, so nothing is checked of {shown}"
        return (f"tools.module ({self._where}): {text}; write some, for example `{name}: float`",)

    def get(self, name: str) -> Tool | None:
        """The tool of this name, or None."""
        return self._tools.get(name)

    def schemas(self) -> tuple[dict[str, Any], ...]:
        """The entries of a request's `tools` list; they are shared and must not be changed."""
        return tuple(entry.schema for entry in self._tools.values())

    def digest_part(self) -> list[dict[str, Any]]:
        """The part of the fingerprint that the tools make: each schema with its version, in order."""
        return [{"version": entry.version, "schema": entry.schema} for entry in self._tools.values()]

    def __len__(self) -> int:
        return len(self._tools)

    def __iter__(self) -> Iterator[Tool]:
        return iter(self._tools.values())


def run_file(path: Path) -> types.ModuleType:
    """Run a Python file of a job as a module, as `ToolSet.load` does, for what else stands in it.

    Raises:
        JobError: the file cannot be read or run; the fault names the line.
    """
    return execute(path, read(path))


def _marked(namespace: dict[str, Any]) -> list[Callable[..., Any]]:
    """The marked functions of a module, each of them once, even when it has two names."""
    functions = [value for value in namespace.values() if inspect.isfunction(value) and hasattr(value, _MARK)]
    return list({id(function): function for function in functions}.values())


def _describe(function: Callable[..., Any]) -> Tool | list[str]:
    mark = getattr(function, _MARK, None)
    if not isinstance(mark, _Mark):
        return [f"{_place(function)}: {function!r} is not marked with @tool"]
    name = mark.name or function.__name__
    start = f"{_place(function)}: tool {name!r}"
    if not _NAME.fullmatch(name):
        return [f"{start}: a name is 1 to 64 of A-Z a-z 0-9 _ -; give it one with @tool(name=…)"]
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        return [f"{start}: a generator has no single result; return a list"]
    signature = read_signature(function, name=name, description=mark.description)
    if isinstance(signature, list):
        return [f"{start}, {fault}" for fault in signature]
    is_async = inspect.iscoroutinefunction(function)
    return Tool(
        name,
        mark.version,
        function,
        is_async,
        signature.parameters,
        signature.schema,
        effects=mark.effects,
        cache=mark.cache,
        source="" if function.__module__ == _OURS else source_digest(function),
        quick=mark.quick,
    )


def _place(function: Callable[..., Any]) -> str:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f"{Path(code.co_filename).name}:{code.co_firstlineno}" if code else "?"
