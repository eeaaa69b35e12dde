"""Versions of the packages that are installed.

Owns the one way to ask for them. It does not know what a version means.
"""

from __future__ import annotations

import functools


@functools.cache
def installed(package: str) -> str | None:
    """The version of a package as it was when this process asked first; None where the package is not installed.

    None stands for a checkout that was never installed, and for an environment that is made anew under a process which
    has not asked yet. A process that has asked keeps the answer: it goes on with the code that it has loaded.
    """
    from importlib import metadata  # noqa: PLC0415 - slow to load, and `--help` needs none of it

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
