"""`promptmill view`: shows output folders in a browser. `report.viewer` serves the pages."""

from __future__ import annotations

import errno
import os
import sys
import threading
from typing import Annotated

from cyclopts import Parameter

from batch.cli import jobs
from batch.cli.text import say
from batch.core import places, process
from batch.core.errors import EXIT_OK, RefusedToStart


def view(
    *outs: jobs.Out,
    port: Annotated[int, Parameter(negative=())] = 0,
    open_: Annotated[bool, Parameter(name="--open", negative=())] = False,
) -> int:
    """Look at output folders in a browser: how a run goes, its rows, its labels, its money; nothing can be changed.

    Prints an address on one line once it answers, and serves until Ctrl-C or SIGTERM. It answers this machine alone,
    and only whoever knows the address, which is another each time: it shows prompts and answers. Pages follow a run at
    work by themselves.

    Args:
        outs: output folders of runs, one or several side by side; the runs may be at work.
        port: TCP port on this machine; a free one by default.
        open_: open the address in your browser, too.
    """
    if not 0 <= port <= 65535:
        raise RefusedToStart(f"--port {port}: a port is a number from 0 to 65535")
    if not outs:
        raise RefusedToStart("no output folder is named. Give one or several: promptmill view OUT")
    from batch.core import arrowmemory, arrowstart

    arrowstart.load("pyarrow.compute", "pyarrow.parquet", "pyarrow.dataset")
    arrowmemory.use_system()  # where numpy was loaded already
    from batch.report.figures.figures import Figures
    from batch.report.viewer.server import serve

    folders = {out if places.is_store(out) else out.expanduser().resolve(): out for out in reversed(outs)}
    figures = [Figures(out) for out in reversed(folders.values())]

    def told(address: str) -> None:
        say([address])
        sys.stdout.flush()
        if open_:
            _open(address)

    try:
        serve(figures, told, port=port)
    except OSError as exc:
        reason = os.strerror(exc.errno) if exc.errno else str(exc)
        there = " Another program listens there." if exc.errno == errno.EADDRINUSE else ""
        raise RefusedToStart(
            f"port {port}: {reason}.{there} Give --port another one, or leave it out for a free one."
        ) from exc
    if any(not thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread()):
        process.die(EXIT_OK)  # a figure that nobody waits for any more, and that writes nothing
    return EXIT_OK


def _open(address: str) -> None:
    """Show the address in a browser, from a thread: some browsers keep whoever starts them waiting."""
    import webbrowser

    def show() -> None:
        try:
            opened = webbrowser.open(address)
        except webbrowser.Error:
            opened = False
        if not opened:
            sys.stderr.write("promptmill: no browser could be opened here. Open the address above in one.\n")

    threading.Thread(target=show, daemon=True).start()
