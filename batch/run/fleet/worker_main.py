"""What runs in a worker process of a fleet: the far end of the seam, until the core is done or gone.

Owns the life of the process. It lets the signals of a terminal pass, for it is the core that knows what they mean, and
it never outlives the core: the system kills it, as was asked for before it came here, and the end of its line ends it.
"""

from __future__ import annotations

import gc
import socket
import sys
from typing import Final

import anyio

from batch.core import process
from batch.core.clock import Clock
from batch.run.fleet.line import FarSocket
from batch.run.fleet.worker import FarEnd

_COLLECTED: Final = (10_000, 10, 10)
"""As in the command: there is next to no rubbish."""


def main(end: int) -> None:
    """Be a worker.

    Args:
        end: number of an open socket, the line to the core.
    """
    process.ignore_signals()
    gc.freeze()
    gc.set_threshold(*_COLLECTED)
    clock = Clock()
    far = FarEnd(clock, FarSocket(socket.socket(fileno=end), clock))
    anyio.run(far.work, backend_options={"use_uvloop": sys.platform != "win32"})
