"""Which connections are used again: what is learned of a server that closes them, and what a lost one shows.

Owns the habits of each origin and the look at the kernel that tells a request that never arrived. A server that closes
a connection soon after an answer, without having said so, gets the next request at the same moment: nobody can tell
whether it was read, so the call is possibly billed. Such a server is not sent a second request on a connection, for a
while. It opens and closes nothing.
"""

from __future__ import annotations

import _socket  # its sockets are those of `socket` without the Python around them: twice a request
import math
import socket
import struct
from typing import Final

SOON_S: Final = 0.5
"""A connection that is closed so soon after an answer was not closed for being idle."""
PROOF_S: Final = 0.05
"""How long a connection must have been kept before it is tried, at a server that is not known to keep any."""
DISTRUST_S: Final = 30.0
"""How long no connection is used again at a server that closed one soon."""
MARGIN: Final = 0.8
"""The part that is used of the time for which a server keeps idle connections."""
_TCP_INFO: Final = getattr(socket, "TCP_INFO", None)  # Linux
_TCP: Final = socket.IPPROTO_TCP
_SEEN: Final = struct.Struct("=B119xQQ")
"""What `tcp_info` begins with: the state, and far behind it how many bytes were acknowledged and received."""
_SIZE: Final = _SEEN.size
_ESTABLISHED: Final = 1
_SO_MEMINFO: Final = 55
"""Linux; the first number of it is the memory of what was received and not read."""


class Habit:
    """What is known of how one origin treats connections after answers of one kind.

    It keeps them, or closes them soon, or that is not known: then a connection is tried after it was kept for
    `PROOF_S`. Of streams, and once a connection was closed soon, only one is tried at a time: servers are known that
    close after every stream.
    """

    __slots__ = ("_careful", "distrusted_until", "idle_max", "trial", "trusted")

    def __init__(self, *, streamed: bool) -> None:
        self.trusted = False
        """Whether the server was seen to keep a connection, so that all of them may be used again at once."""
        self.idle_max = math.inf
        """For how many seconds idle connections are used again, as far as was seen."""
        self._careful = streamed
        self.trial: object = None
        """The connection that is tried now."""
        self.distrusted_until = -math.inf
        """Until then no connection is kept, nor used again, in seconds of the event loop."""

    def may_use(self, idle_s: float, now: float) -> bool:
        """Whether a connection that was idle for so long may carry the next request."""
        if now < self.distrusted_until or idle_s >= self.idle_max:
            return False
        return self.trusted or not self._careful or self.trial is None

    def try_it(self, connection: object, idle_s: float) -> float:
        """Use a connection that was idle for so long; for how many more seconds it must be kept open before."""
        if self.trusted:
            return 0.0
        self.trial = connection
        return PROOF_S - idle_s

    def trial_over(self, connection: object) -> None:
        """What was made of a connection is over; another one may be tried."""
        if self.trial is connection:
            self.trial = None

    def answered(self) -> None:
        """A request on a connection that was used before was answered."""
        self.trusted = True

    def closed(self, idle_s: float, now: float) -> None:
        """The server closed a connection that had been idle for so long."""
        if idle_s >= SOON_S:
            self.idle_max = min(self.idle_max, MARGIN * idle_s)
        elif self.trusted:
            self.trusted, self._careful = False, True
        else:
            self._careful = True
            self.distrusted_until = now + DISTRUST_S


Look = tuple[bool, int, int]
"""What the kernel knows of a connection, without reading from it: whether neither side has ended it, how many bytes the
other side has received, and how many have come from there, read or not."""

Handle = _socket.socket
"""A socket of our own over the file of one that belongs to an event loop."""

_borrowed: Final[set[Handle]] = set()
"""All that are not given back: one that was collected, with an event loop that was given up, would close the file."""


def borrow(raw: socket.socket | None) -> Handle | None:
    """What `look` needs of a socket of an event loop, made once a connection; `give_back` it before that closes it."""
    if raw is None:
        return None
    handle = _socket.socket(raw.family, raw.type, raw.proto, raw.fileno())
    _borrowed.add(handle)
    return handle


def give_back(handle: Handle | None) -> None:
    """Look at a socket no more; its file stays as it is."""
    if handle is not None:
        handle.detach()
        _borrowed.discard(handle)


def look(handle: Handle | None) -> Look | None:
    """What the kernel knows of a connection; None where that cannot be known.

    Unlike `poll` it keeps the interpreter's lock: beside threads that want it, giving it away once a request cost more
    than anything else in the request.
    """
    if handle is None or _TCP_INFO is None:
        return None
    try:
        info = handle.getsockopt(_TCP, _TCP_INFO, _SIZE)
    except OSError:
        return None
    if len(info) < _SIZE:
        return None
    state, acked, received = _SEEN.unpack(info)
    if not acked:
        return None  # a connection that is open has sent something, where this is counted
    return state == _ESTABLISHED, acked, received


def holds_nothing(handle: Handle | None) -> bool:
    """Whether it is certain that the kernel holds no unread byte of a connection, packed or not."""
    if handle is None:
        return False
    try:
        return handle.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO) == 0
    except OSError:
        return False


def acknowledged(handle: Handle | None) -> int | None:
    """How many bytes the other side has received, as its kernel says; None where that cannot be known."""
    seen = look(handle)
    return None if seen is None else seen[1]


def never_arrived(handle: Handle | None, before: int | None, exc: Exception | None) -> bool:
    """Whether a lost connection had been closed by the server before the request came to it.

    It said so with its last packet, in which it also says how much it has received: nothing of this request. A reset
    that came instead says neither.

    Args:
        handle: of the connection.
        before: how many bytes the server had received before the request, all of those that were sent; None when that
            is not known.
        exc: what the connection was lost with; None or a broken pipe when the server closed it first.
    """
    if before is None or not (exc is None or isinstance(exc, BrokenPipeError)):
        return False
    return acknowledged(handle) == before
