"""Faults of the connection: resets, short bodies, slow bytes, restarts. Owns how an answer leaves, or does not.

What was served before the connection broke is billed; what was never begun is not.
"""

from __future__ import annotations

import msgspec

from batch.simulator.faults.behaviour import Strike
from batch.simulator.wire import Reply


def reset_before_headers(_strike: Strike) -> Reply:
    """The connection is reset and nothing is sent."""
    return Reply(0, b"", cut=-1)


def lost_answer(_strike: Strike, reply: Reply) -> Reply:
    """The work is done, then the connection is reset and nothing is sent."""
    return msgspec.structs.replace(reply, status=0, cut=-1)


def reset_mid_body(_strike: Strike, reply: Reply) -> Reply:
    """The headers and half of the body are sent, then the connection is reset."""
    return msgspec.structs.replace(reply, cut=max(1, len(reply.body) // 2))


def short_body(_strike: Strike, reply: Reply) -> Reply:
    """The headers and half of the body are sent, then the connection is closed in peace."""
    return msgspec.structs.replace(reply, cut=max(1, len(reply.body) // 2), fin=True)


def slow_first_byte(strike: Strike, reply: Reply) -> Reply:
    """The answer is ready, but its first byte leaves long after."""
    return msgspec.structs.replace(reply, hold_s=float(strike.option("seconds", 30)))


def slow_drip(strike: Strike, reply: Reply) -> Reply:
    """The body comes byte by byte, or in two halves with a long silence between them."""
    gap = strike.option("gap_s", 0)
    if gap:
        return msgspec.structs.replace(reply, drip_s=float(gap), drip_bytes=max(1, (len(reply.body) + 1) // 2))
    return msgspec.structs.replace(reply, drip_s=strike.option("interval_ms", 1000) / 1000, drip_bytes=1)


def idle_close_race(strike: Strike) -> Reply | None:
    """The server closes a connection it takes for idle just as the next request arrives on it; nothing is processed."""
    if not strike.scene.reused:
        return None
    return Reply(0, b"", cut=-1, fin=strike.pick("form", ("fin", "rst")) == "fin")


def restart(strike: Strike) -> Reply | None:
    """At the n-th request every connection is reset; for `down_s` seconds after that nobody is served."""
    if strike.total == strike.option("at", 10):
        return Reply(0, b"", cut=-1, restart=strike.option("store", "kept"))
    if strike.scene.now - strike.scene.restarted < strike.option("down_s", 0):
        return Reply(0, b"", cut=-1)
    return None
