"""`promptmill simulate`: runs the simulated provider on this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter

from batch.core.errors import EXIT_OK, RefusedToStart

_CONNECTIONS: Final = 20_000
"""More than a job may have calls in flight."""


def simulate(
    *,
    port: Annotated[int, Parameter(negative=())] = 0,
    scenario: Annotated[Path | None, Parameter(negative=())] = None,
) -> int:
    """The provider on your own machine: no key, no money.

    Prints its root URL on one line once it accepts connections, and serves until Ctrl-C or SIGTERM. GLM is under
    /api/paas/v4, OpenAI under /v1, its books under /_sim/books.

    Args:
        port: TCP port on loopback; 0 takes a free one. A job with provider "simulator" looks for it at 8311.
        scenario: TOML file with latency, limits and faults; without one it is in good health.
    """
    if not 0 <= port <= 65535:
        raise RefusedToStart(f"--port {port}: a port is a number from 0 to 65535")
    from batch.core import openfiles
    from batch.simulator.server import serve
    from batch.simulator.toml_table import ScenarioError

    openfiles.raise_to(_CONNECTIONS)
    try:
        serve(port=port, scenario=scenario)
    except ScenarioError as exc:
        raise RefusedToStart(str(exc)) from exc
    except OSError as exc:
        reason = os.strerror(exc.errno) if exc.errno else str(exc)
        raise RefusedToStart(f"port {port}: {reason}. Give --port another one, or 0 for a free one.") from exc
    return EXIT_OK
