"""The config folder: what a user of this machine wants of every command, in one file of variables.

Owns where the folder is and what its file is called. How such a file is read, and what wins over it, the commands know.
It is never written by promptmill.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

VARIABLE: Final = "PROMPTMILL_CONFIG"
FILE: Final = "env"


def folder(environ: Mapping[str, str]) -> Path | None:
    """The config folder: `$PROMPTMILL_CONFIG`, else `promptmill` in `$XDG_CONFIG_HOME`, else in `~/.config`.

    It need not exist. None where nothing in the environment says where it is, not even a home.

    Args:
        environ: the environment of this process.
    """
    if own := environ.get(VARIABLE):
        return Path(own).expanduser().absolute()
    shared = environ.get("XDG_CONFIG_HOME", "")
    if shared.startswith("/"):  # the XDG specification has a relative path ignored
        return Path(shared) / "promptmill"
    home = environ.get("HOME", "")
    return Path(home) / ".config" / "promptmill" if home else None
