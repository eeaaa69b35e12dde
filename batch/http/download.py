"""A body that goes to a file piece by piece as it comes, so that its size costs no memory.

Owns whether what came is the file (an answer of status 200 that is not packed), and the faults of writing it. It does
not know what the file holds.
"""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Final

from batch.core.errors import WireError

if TYPE_CHECKING:
    from batch.core.clock import Clock
    from batch.http.answer import Header

LONGEST: Final = 8 * 1024**3
"""Bytes from which on a body is not taken any more."""


class Download:
    """Takes the body of one answer (`answer.Taker`).

    Args:
        file: where it goes; the caller opens and closes it.
        clock: for the times.
        first_s: the most seconds until the first piece.
        idle_s: the most seconds between two pieces from then on.

    Attributes:
        taken: whether the body went to the file; if not, the answer has it, and it is a refusal.
        size: bytes written.
        fault: what the disk said, when it refused.
    """

    def __init__(self, file: IO[bytes], clock: Clock, *, first_s: float, idle_s: float) -> None:
        self.first_s = first_s
        self.idle_s = idle_s
        self.taken = False
        self.size = 0
        self.fault: OSError | None = None
        self.held = 0
        self._file = file
        self._clock = clock
        self._began = clock.monotonic()

    @property
    def begun(self) -> bool:
        """Whether a piece has come."""
        return self.size > 0

    @property
    def left_s(self) -> float:
        """Seconds that are left for the first piece."""
        return max(0.0, self._began + self.first_s - self._clock.monotonic())

    def sent(self) -> None:
        """Note that the request has left; waiting times count from now."""
        self._began = self._clock.monotonic()

    def head(self, status: int, headers: list[Header]) -> bool:
        """Whether the answer is the file."""
        packings = [value.strip().lower() for name, value in headers if name.lower() == b"content-encoding"]
        self.taken = status == 200 and all(packing in (b"", b"identity") for packing in packings)
        return self.taken

    def feed(self, data: bytes) -> bool:
        """Write a piece; False, because only the end of the answer says that there is no more.

        Raises:
            WireError: the disk refused (`fault` says why), or the file has no end.
        """
        self.size += len(data)
        if self.size > LONGEST:
            raise WireError(f"the file is larger than {LONGEST} bytes", kind="bad_payload", sent=True)
        try:
            self._file.write(data)
        except OSError as error:
            self.fault = error
            raise WireError(f"the disk refused: {error.strerror}", kind="transport", sent=True) from error
        return False

    def remainder(self, status: int, body: bytes) -> bytes:
        """The body of an answer that is not the file, or that came packed all the same and is unpacked by now."""
        if status != 200:
            return body
        self.taken = True
        self.feed(body)
        return b""
