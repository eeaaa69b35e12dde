"""`promptmill simulate`: runs the simulated provider on this machine."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter

from batch.core.errors import EXIT_OK, RefusedToStart

PORT: Final = 8311
"""Where a job with provider "simulator" looks for it."""
_CONNECTIONS: Final = 20_000
"""More than a job may have calls in flight."""
_OWN_FILES: Final = 24
"""What a server opens before its first connection, and some connections."""


def simulate(
    *,
    port: Annotated[int, Parameter(negative=())] = PORT,
    scenario: Annotated[Path | None, Parameter(negative=())] = None,
) -> int:
    """The provider on your own machine: no key, no money.

    Prints its root URL on one line once it accepts connections, and serves until Ctrl-C or SIGTERM. GLM is under
    /api/paas/v4, OpenAI under /v1, its books under /_sim/books; /health says that it is there.

    Args:
        port: TCP port on loopback; 0 takes a free one. A job with provider "simulator" looks for it at 8311 unless its
            base_url names another.
        scenario: TOML file with latency, limits and faults; without one it is in good health.
    """
    if not 0 <= port <= 65535:
        raise RefusedToStart(f"--port {port}: a port is a number from 0 to 65535")
    from batch.core import openfiles
    from batch.simulator.server import serve
    from batch.simulator.toml_table import ScenarioError

    if openfiles.raise_to(_CONNECTIONS) < openfiles.used() + _OWN_FILES:
        raise RefusedToStart(f"too few files may be open for a server. {openfiles.advice()}.")
    try:
        serve(port=port, scenario=scenario)
    except ScenarioError as exc:
        raise RefusedToStart(str(exc)) from exc
    except OSError as exc:
        reason = os.strerror(exc.errno) if exc.errno else str(exc)
        there = " Perhaps a simulator is at work there already." if exc.errno == errno.EADDRINUSE else ""
        raise RefusedToStart(
            f"port {port}: {reason}.{there} Give --port another one, or 0 for a free one, and have the job find it:\n"
            f"  promptmill run JOB --set model.base_url=http://127.0.0.1:PORT/api/paas/v4"
        ) from exc
    return EXIT_OK
