"""What `promptmill doctor` looks at on this machine: Python, packages, disk, open files, and what a job needs of them.

Owns what is looked at and what is said of it; each finding says whether it would stop a run, and the way out. It writes
nothing that stays, and speaks to nobody: that is `doctor_provider`.
"""

from __future__ import annotations

import importlib
import os
import platform
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Final, Literal

import msgspec

from batch.core import openfiles, redaction, statefolder
from batch.core.errors import BatchError, OutputError
from batch.http import environment
from batch.job.job import Job
from batch.limits import sockets
from batch.output import place
from batch.output.folder import OutputFolder
from batch.plan import preflight
from batch.providers.registry import Endpoint, key_names

State = Literal["ok", "look", "stop"]
STATES: Final[dict[State, str]] = {
    "ok": "As it should be.",
    "look": "A run starts all the same, but not everything may be as it is meant.",
    "stop": "A run would be refused or stopped, or keep wrong books: doctor ends with exit code 2.",
}
"""How a finding of doctor may be, for people."""
AREAS: Final[dict[str, str]] = {
    "python": "The Python that runs promptmill.",
    "packages": "Whether the packages that promptmill stands on are there, as new as they must be, and can be loaded; "
    "which extras are there.",
    "state": "Whether the folder that jobs of one user share can be written (PROMPTMILL_STATE).",
    "keys": "Without a job: which variables hold a key, by name only.",
    "job": "Whether the job itself is right; promptmill check tells more of it.",
    "disk": "Whether the output folder can be written, and how much room there is.",
    "files": "How many files may be open at once; each call in flight needs one.",
    "key": "Which variable, file or command the key comes from, and whether the provider takes it. The key itself is "
    "never shown.",
    "proxy": "Through which proxy requests go, by HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY.",
    "certificates": "Whose certificates are trusted, by SSL_CERT_FILE and SSL_CERT_DIR.",
    "name": "Whether the name of the provider's host can be looked up.",
    "connection": "Whether a connection to the provider comes about, TLS included.",
    "TLS": "How the connection is secured, and until when the provider's certificate is valid.",
    "clock": "Whether the clock of this machine agrees with the provider's (the Date header of its answer).",
    "answer": "What the provider says to one request that is never billed: its list of models, or a request without a "
    "model where it has no list.",
    "model": "Whether the provider lists the models of the job; some lists leave models out.",
}
"""What doctor looks at, for people."""

OLDEST: Final = (3, 11)
LITTLE_BYTES: Final = 1 << 30
TRIED_BYTES: Final = 1 << 20
_NATIVE: Final = ("apsw", "httptools", "msgspec", "pyarrow", "uvloop")
"""Packages with compiled parts, which may be there and yet not fit this machine."""
_REQUIREMENT: Final = re.compile(r"([A-Za-z0-9._-]+)\s*([^;]*)(?:;\s*(.*))?")
_EXTRA: Final = re.compile(r"extra == ['\"]([^'\"]+)['\"]")


_BEGINNINGS: Final = (("base_url", "connection"), ("proxy", "proxy"), ("SSL_CERT", "certificates"), ("", "key"))
"""What the errors of the way to a provider have in them, and what of it they are about."""


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at."""

    area: str
    """One of `AREAS`."""
    state: State
    text: str
    way_out: str = ""
    """What to do about it; empty where nothing is to be done."""


def of_machine(environ: Mapping[str, str]) -> Iterator[Finding]:
    """What does not depend on a job."""
    yield _python()
    yield _packages()
    yield _state(environ)


def keys_found(environ: Mapping[str, str]) -> Finding:
    """Which variables hold a key."""
    found = sorted(name for name in key_names() if environ.get(name, "").strip())
    if found:
        return Finding("keys", "ok", f"in {', '.join(found)}")
    usual = ", ".join(sorted(key_names()))
    return Finding("keys", "look", f"none in {usual}", "Export the key of your provider under its name.")


def of_job(job: Job, environ: Mapping[str, str], endpoint: Endpoint | None) -> Iterator[Finding]:
    """What a job needs of this machine, the way to its provider included.

    Args:
        job: the job.
        environ: where keys and addresses come from.
        endpoint: as `endpoint_of` has it; without one, nothing is said of the way there, nor of the job itself.
    """
    yield _disk(OutputFolder(job.output.path), job)
    yield _files(job.limits.concurrency)
    if endpoint is None:
        return
    yield _proxy(endpoint)
    yield from _certificates(endpoint)
    try:
        preflight.check_job(job, environ)
    except OutputError:
        pass  # told of the disk
    except BatchError as exc:
        yield Finding("job", "stop", str(exc), "Correct it; promptmill check tells when it is right.")
    else:
        yield Finding("job", "ok", f"{job.name}: nothing in it stops a run")


def endpoint_of(job: Job, environ: Mapping[str, str]) -> tuple[Endpoint | None, Finding]:
    """Where the job's requests go, with its key; None where one of them is missing or wrong, as the finding says."""
    try:
        endpoint = preflight.endpoint_of(job, environ)
    except BatchError as exc:
        text = str(exc)
        return None, Finding(next(area for begin, area in _BEGINNINGS if begin in text), "stop", text)
    if endpoint.key_origin is None:
        return endpoint, Finding("key", "ok", "built in" if endpoint.service.built_in_key else "none is sent")
    source = endpoint.key_source
    if source is not None and (warning := source.warning()) is not None:
        return endpoint, Finding("key", "look", f"from {source.name}", warning)
    return endpoint, Finding("key", "ok", f"from {endpoint.key_origin}")


def _python() -> Finding:
    text = f"{platform.python_version()} ({sys.executable})"
    if sys.version_info[:2] < OLDEST:
        return Finding("python", "stop", text, "promptmill needs Python 3.11 or newer: install it into one.")
    return Finding("python", "ok", text)


def _packages() -> Finding:
    wrong, count, extras = [], 0, dict[str, bool]()
    try:
        needed = metadata.requires("promptmill") or ()
    except metadata.PackageNotFoundError:
        way_out = f"Install it: {sys.executable} -m pip install PATH, with the path of the checkout."
        return Finding("packages", "look", "promptmill runs from a checkout and is not installed", way_out)
    for line in needed:
        match = _REQUIREMENT.match(line)
        assert match is not None
        name, wanted, marker = match[1], match[2].strip(), match[3] or ""
        fault = _fault_of(name, wanted)
        if extra := _EXTRA.search(marker):
            extras[extra[1]] = extras.get(extra[1], True) and fault is None
            continue
        if "win32" in marker and sys.platform == "win32":
            continue
        count += 1
        wrong += [fault] if fault is not None else []
    for name in _NATIVE:
        try:
            importlib.import_module(name)
        except (ImportError, OSError) as exc:
            wrong.append(f"{name} cannot be loaded: {exc}")
    if wrong:
        way_out = f"Install promptmill anew: {sys.executable} -m pip install --force-reinstall promptmill"
        return Finding("packages", "stop", "; ".join(wrong), way_out)
    there = [name for name, whole in sorted(extras.items()) if whole]
    return Finding("packages", "ok", f"{count} as they must be; extras: {', '.join(there) or 'none'}")


def _fault_of(name: str, wanted: str) -> str | None:
    """What is wrong with an installed package; None where nothing is.

    Args:
        name: of the package.
        wanted: its versions, such as `>=1.2,<2`.
    """
    try:
        there = metadata.version(name)
    except metadata.PackageNotFoundError:
        return f"{name} is missing"
    for part in filter(None, (part.strip() for part in wanted.split(","))):
        sign, version = re.match(r"([<>=!~]+)\s*(.*)", part).groups()  # type: ignore[union-attr]  # as pyproject has it
        if (sign == ">=" and _numbers(there) < _numbers(version)) or (
            sign == "<" and _numbers(there) >= _numbers(version)
        ):
            return f"{name} is {there}, and {part} is needed"
    return None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:4])


def _state(environ: Mapping[str, str]) -> Finding:
    folder = statefolder.folder(environ)
    reason = _unwritable(folder)
    if reason is None:
        return Finding("state", "ok", str(folder))
    way_out = f"Give yourself the rights, or name another folder in {statefolder.VARIABLE}: budgets of a day need it."
    return Finding("state", "look", f"{folder}: {reason}", way_out)


def _disk(folder: OutputFolder, job: Job) -> Finding:
    root = folder.root
    try:
        place.require(folder, job=job.folder)
    except BatchError as exc:
        return Finding("disk", "stop", str(exc))
    if (reason := _unwritable(root)) is not None:
        way_out = "Free some space there" if "space" in reason or "quota" in reason else "Make it writable"
        return Finding("disk", "stop", f"{root}: {reason}", f"{way_out}, or give another folder (-o, or output.path).")
    room = os.statvfs(_nearest(root))
    free = room.f_bavail * room.f_frsize
    text = f"{root}: {free / 1e9:,.1f} GB free"
    if room.f_files and not room.f_favail:
        return Finding("disk", "stop", f"{root}: no more files can be made there", "Delete files there.")
    if free < LITTLE_BYTES:
        way_out = (
            "Enough for a small job; a run ends with exit code 5 when it is used up, and goes on once there is room."
        )
        return Finding("disk", "look", text, way_out)
    return Finding("disk", "ok", text)


def _unwritable(folder: Path) -> str | None:
    """Why nothing can be written into a folder, or where it would be made; None where it can."""
    try:
        with tempfile.TemporaryFile(dir=_nearest(folder)) as file:  # without a name, so nobody ever sees it
            file.write(bytes(TRIED_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as exc:
        return (exc.strerror or str(exc)).lower()
    return None


def _nearest(folder: Path) -> Path:
    """A folder, or the nearest one above it that is there."""
    for path in (folder, *folder.parents):
        with suppress(OSError):
            if path.is_dir():
                return path
    return Path("/")


def _files(concurrency: int) -> Finding:
    openfiles.raise_to(sockets.wanted(concurrency))
    try:
        room = sockets.calls(concurrency)
    except BatchError as exc:
        return Finding("files", "stop", str(exc))
    if room < concurrency:
        return Finding("files", "look", sockets.fewer(concurrency, room))
    return Finding("files", "ok", f"{openfiles.limit():,} may be open, enough for {concurrency:,} calls in flight")


def _proxy(endpoint: Endpoint) -> Finding:
    proxy = environment.proxy_for(endpoint.base_url)
    return Finding("proxy", "ok", "none" if proxy is None else redaction.address(proxy))


def _certificates(endpoint: Endpoint) -> Iterator[Finding]:
    if not endpoint.base_url.startswith("https:"):
        return
    trusted = len(environment.certificates().get_ca_certs())
    names = [name for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if os.environ.get(name)]
    yield Finding("certificates", "ok", f"of {names[0]}" if names else f"{trusted} usual authorities")
