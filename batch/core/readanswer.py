"""An answer of which another process of ours kept the bytes: what it says came here, and no body.

Owns this one value, which goes wherever an `Incoming` goes. Who reads answers elsewhere, and how what they say comes
here, is `batch.run.fleet`'s matter.
"""

from __future__ import annotations

from batch.core.records import Accepted, Failure, Incoming, Processing, Reply


class ReadAnswer(Incoming, frozen=True, kw_only=True, gc=False):
    """An answer that was read where it arrived, in another process: it has no body any more.

    Of its headers only those came that somebody looks at behind the reading (`http.headers.looked_at`).
    """

    result: Reply | Accepted | Processing | Failure
    """What the dialect made of it, with our keys masked. No failure of an exchange: these come as bytes."""
