"""The process that `processes` forks for each command: it imports the package once and does nothing else.

It ends when the other end of its socket is closed. A message is one command; its answer is the pid.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import runpy
import signal
import socket
import sys
import threading
import time
import traceback
import warnings
from typing import Any, NoReturn

import batch
from batch.core import failpoints


def load() -> None:
    """Import what a command imports, sooner or later."""
    for module in pkgutil.walk_packages(batch.__path__, "batch."):
        if "__main__" not in module.name and ".templates" not in module.name:
            importlib.import_module(module.name)
    for name in ("uvicorn.loops.auto", "uvicorn.protocols.http.httptools_impl", "uvicorn.lifespan.off"):
        importlib.import_module(name)
    gc.collect()
    gc.freeze()


def serve(line: socket.socket) -> dict[str, Any]:
    """Fork for each message; returns, in the child only, what it is to be."""
    while True:
        message, files, _, _ = socket.recv_fds(line, 1 << 20, 2)
        if not message:
            os._exit(0)
        pid = fork()
        if pid == 0:
            line.close()
            for place, file in enumerate(files, 1):
                os.dup2(file, place)
                os.close(file)
            told: dict[str, Any] = json.loads(message)
            return told
        for file in files:
            os.close(file)
        line.send(str(pid).encode())


def fork() -> int:
    """Fork a process that is nobody's child any more, so that it becomes one of the tests' process.

    Returns:
        Its pid, 0 in itself.
    """
    ours, theirs = os.pipe()
    between = os.fork()
    if between == 0:
        pid = os.fork()
        if pid == 0:
            os.close(ours)
            os.close(theirs)
            return 0
        os.write(theirs, str(pid).encode())
        os._exit(0)
    pid = int(os.read(ours, 64))
    os.close(ours)
    os.close(theirs)
    os.waitpid(between, 0)  # only then has the child its new parent
    return pid


def become(told: dict[str, Any]) -> NoReturn:
    """Make this process what `python -m MODULE …` would be, run the module as the program, and end with its code.

    What an interpreter does at its end is done, but for taking its modules apart, which is half of a short life.
    """
    _arrive(told)
    code: Any = 0
    try:
        runpy.run_module(told["words"][0], run_name="__main__", alter_sys=True)
    except SystemExit as exc:
        code = exc.code
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:  # noqa: BLE001 - as an interpreter does
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads that are no daemons
    atexit._run_exitfuncs()
    if not isinstance(code, int | None):
        print(code, file=sys.stderr)
        code = 1
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            code = 120  # as an interpreter says that it could not flush
    os._exit(code or 0)


def _arrive(told: dict[str, Any]) -> None:
    os.environ.clear()
    os.environ.update(told["env"])
    os.chdir(told["cwd"])
    time.tzset()
    sys.path[0] = told["cwd"]
    sys.path[1:1] = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - as an interpreter opens them
    sys.stderr = open(2, "w", 1, errors="backslashreplace", closefd=False)  # noqa: SIM115 - the same
    failpoints.arm(os.environ.get(failpoints.VARIABLE))  # what is read when it is imported
    warnings.resetwarnings()
    sys.argv = told["words"]


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C at the terminal is for the tests
    warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside a thread of Arrow's allocator, which can
    load()
    become(serve(socket.socket(fileno=int(sys.argv[1]))))
