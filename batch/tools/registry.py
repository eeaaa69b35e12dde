"""The tools of a job: which functions there are, under which names, with which schemas.

Owns the `@tool` mark, the loading of a job's `tools.py` and the check of every signature in it. It runs no tool
(`batch.tools.execute` does) and knows no conversation.
"""

from __future__ import annotations

import inspect
import itertools
import re
import sys
import traceback
import types
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, TypeVar, overload

import msgspec

from batch.core.errors import JobError
from batch.tools.schema import Parameter, read_signature

F = TypeVar("F", bound=Callable[..., Any])

_MARK: Final = "__promptmill_tool__"
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)  # the form both API references ask for
_loads: Final = itertools.count(1)


class _Mark(msgspec.Struct, frozen=True):
    name: str | None
    version: str
    description: str | None


class Tool(msgspec.Struct, frozen=True):
    """One function the model may call."""

    name: str
    version: str
    function: Callable[..., Any]
    is_async: bool
    parameters: tuple[Parameter, ...]
    schema: dict[str, Any]
    """The entry of the request's `tools` list."""


@overload
def tool(function: F, /) -> F: ...
@overload
def tool(*, name: str | None = None, version: str = "1", description: str | None = None) -> Callable[[F], F]: ...
def tool(
    function: F | None = None, /, *, name: str | None = None, version: str = "1", description: str | None = None
) -> F | Callable[[F], F]:
    """Mark a function as one the model may call; it stays an ordinary function.

    Every parameter needs a type hint; the docstring tells the model what the function is for, its arguments section
    what each parameter means.

    Args:
        function: the plain or async function, when used as a bare `@tool`.
        name: what the model calls it; default the function's own name.
        version: raise it when the function starts to give other results for the same arguments: it is part of the
            fingerprint, so rows answered with the old version are asked again.
        description: replaces the docstring's text.

    Raises:
        TypeError: it was put on something that is no function.
    """

    def mark(marked: F) -> F:
        if not inspect.isfunction(marked):
            raise TypeError(f"@tool belongs on a function, not on {marked!r}")
        setattr(marked, _MARK, _Mark(name, version, description))
        return marked

    return mark if function is None else mark(function)


class ToolSet:
    """The checked tools of one job, in the order they are defined. Immutable."""

    __slots__ = ("_tools",)

    def __init__(self, tools: Iterable[Tool] = ()) -> None:
        self._tools = {entry.name: entry for entry in tools}

    @classmethod
    def empty(cls) -> ToolSet:
        """The tools of a job that has none."""
        return cls()

    @classmethod
    def load(cls, path: Path) -> ToolSet:
        """Run a tools file and take every function marked with `@tool` in it.

        The file is executed under a private module name, so files of the same name in several jobs do not collide,
        and nothing is written beside it. Modules that lie next to it are not importable: a tools file stands alone,
        with what is installed.

        Raises:
            JobError: the file cannot be read or run, has no tool, or a tool's name or hints are refused; every fault
                names file and line.
        """
        module = _execute(path)
        try:
            return cls.of(_marked(vars(module)), where=path)
        except JobError:
            del sys.modules[module.__name__]
            raise

    @classmethod
    def of(cls, functions: Iterable[Callable[..., Any]], *, where: Path | str = "tools") -> ToolSet:
        """The set of these marked functions.

        Raises:
            JobError: there is none, two share a name, or a signature is refused. `where` heads the message.
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
        return cls(tools.values())

    @property
    def names(self) -> tuple[str, ...]:
        """The names the model may call, in order."""
        return tuple(self._tools)

    def get(self, name: str) -> Tool | None:
        """The tool of that name, or None."""
        return self._tools.get(name)

    def schemas(self) -> tuple[dict[str, Any], ...]:
        """What goes into the request's `tools`; shared, not to be changed."""
        return tuple(entry.schema for entry in self._tools.values())

    def digest_part(self) -> list[dict[str, Any]]:
        """What the fingerprint covers: each schema with its version, in order."""
        return [{"version": entry.version, "schema": entry.schema} for entry in self._tools.values()]

    def __len__(self) -> int:
        return len(self._tools)


def _marked(namespace: dict[str, Any]) -> list[Callable[..., Any]]:
    """The marked functions, each once even when it has two names in the module."""
    found = {id(value): value for value in namespace.values() if inspect.isfunction(value) and hasattr(value, _MARK)}
    return list(found.values())


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
    return Tool(name, mark.version, function, is_async, signature.parameters, signature.schema)


def _place(function: Callable[..., Any]) -> str:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f"{Path(code.co_filename).name}:{code.co_firstlineno}" if code else "?"


def _execute(path: Path) -> types.ModuleType:
    """Run the file as a module of its own; compiled here, so that no bytecode is left in the job folder."""
    try:
        source = path.read_bytes()
    except OSError as error:
        fault = f"cannot be read: {error.strerror}; check [tools] module in the job"
        raise JobError([fault], where=str(path)) from error
    module = types.ModuleType(f"_promptmill_tools_{next(_loads)}")
    module.__file__ = str(path)
    # Registered before it runs: dataclasses and type hints look their module up by name.
    sys.modules[module.__name__] = module
    try:
        exec(compile(source, str(path), "exec", dont_inherit=True), vars(module))  # noqa: S102  the job's own code
    except (Exception, SystemExit) as error:  # the author's module may raise anything at all
        del sys.modules[module.__name__]
        raise JobError([_import_fault(error, path)], where=str(path)) from error
    return module


def _import_fault(error: BaseException, path: Path) -> str:
    if isinstance(error, SyntaxError) and error.filename == str(path):
        line = error.lineno
    else:
        frames = traceback.extract_tb(error.__traceback__)
        line = next((frame.lineno for frame in reversed(frames) if frame.filename == str(path)), None)
    place = f"{path.name}:{line}" if line else path.name
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    way_out = "; install it in this environment" if isinstance(error, ModuleNotFoundError) else ""
    return f"{place}: {type(error).__name__}: {text}{way_out}"
