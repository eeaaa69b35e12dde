"""Names that survive a power cut: a file is there after one only when its folder was synced too.

Owns that one operation and which file systems cannot do it. Raises what the system says; `schema`, `spill` and
`parts` tell of it in their own words.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

_CANNOT: Final = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable. A file system that cannot sync folders at all is taken as it is.

    Raises:
        OSError: the disk refused.
    """
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as exc:
        if exc.errno not in _CANNOT:
            raise
    finally:
        os.close(handle)
