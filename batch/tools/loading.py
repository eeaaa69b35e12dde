"""Runs a job's tools file as a module.

Owns the module's private name, and what is said when the file cannot be read or run. It does not know what stands in
the file (`registry`).
"""

from __future__ import annotations

import itertools
import sys
import traceback
import types
from pathlib import Path
from typing import Final

from batch.core.errors import JobError

_loads: Final = itertools.count(1)


def read(path: Path) -> bytes:
    """The source of a tools file.

    Raises:
        JobError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        fault = f"cannot be read: {error.strerror}; check [tools] module in the job"
        raise JobError([fault], where=str(path)) from error


def execute(path: Path, source: bytes) -> types.ModuleType:
    """Run a file as a module; it is compiled here, so that no bytecode is left in the job's folder.

    Raises:
        JobError: it cannot be run; the fault names the line.
    """
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
