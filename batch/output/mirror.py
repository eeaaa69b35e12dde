"""The working copy of an output that lies in an object store, brought together with what is in the store.

Owns the order of it. Before a run: what the store has and the copy lacks is fetched, and looked at by the rules that
hold for files on a disk (`integrity`); then the store gets what the copy had published last, and loses what the ledger
does not name. Before `rebuild`: the store decides, and what only the copy has is set aside; afterwards the store gets
what `rebuild` made of it. For an output on a disk there is nothing to do. The caller holds the lock.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from batch.core.errors import OutputError
from batch.ledger.published import PublishedReader
from batch.output import files
from batch.output.folder import OutputFolder
from batch.output.integrity import Compared, parquet_files, refused, run_files
from batch.output.objects import Listed
from batch.output.uploads import Uploads


class Fetched(msgspec.Struct, frozen=True):
    """What was in the store."""

    listed: dict[str, Listed]
    """By name."""
    uploads: Uploads
    """With the tags that the ledger has, and those of files that the store had got unheard."""
    brought: list[Path]
    """Files that the ledger does not name, and that were fetched to be looked at."""

    def take_back(self) -> None:
        """Leave no file in the working copy that does not belong there: the store has it."""
        for path in self.brought:
            path.unlink(missing_ok=True)


def require_ledger(folder: OutputFolder) -> None:
    """Refuse a place that holds answers of which this machine has no ledger.

    Raises:
        OutputError: there are some; says how a ledger is made of them.
        StorageError: the store cannot be reached.
    """
    if folder.ledger.exists() or not (listed := folder.store.listed()):
        return
    names = [f"{name}: this machine has no ledger of it" for name in listed]
    raise refused(folder, names)


def fetch(folder: OutputFolder) -> Fetched:
    """Bring into the working copy what it lacks, so that it can be held against the ledger.

    Raises:
        OutputError: the store lost a file that was published, or has another one in its place.
        StorageError: the store cannot be reached, or the disk refused.
    """
    uploads = Uploads.of(folder)
    listed = _listed(folder, uploads.known)
    faults = [f"{name}: is missing in the store" for name in uploads.known if name not in listed]
    brought: list[Path] = []
    for name, each in listed.items():
        path, known = folder.root / name, uploads.known.get(name)
        if known is not None and known.e_tag == each.e_tag and path.exists():
            continue
        if not path.exists():
            folder.store.fetch(path)
            if known is None:
                brought.append(path)
        if name.startswith("runs/"):
            continue  # rewritten all the time, and decides nothing
        if (tag := folder.store.same(path, each)) is not None:
            uploads.adopt(path, tag)  # killed after the store took it, or its answer was lost
        elif known is None:
            files.set_aside([path], folder.root)
            folder.store.fetch(path)
            brought.append(path)
        else:
            faults.append(f"{name}: is not the file that was published")
    fetched = Fetched(listed, uploads, brought)
    if faults:
        fetched.take_back()
        raise refused(folder, faults)
    return fetched


def settle(folder: OutputFolder, fetched: Fetched, compared: Compared) -> None:
    """Give the store what was about to be published when a process ended, and remove what was never published.

    Args:
        folder: whose files and ledger belong together.
        fetched: what was in the store.
        compared: what the ledger is to learn of the files.

    Raises:
        StorageError: the store cannot be reached, refuses, or was written by somebody else meanwhile.
    """
    uploads = fetched.uploads
    with PublishedReader(folder.ledger) as reader:
        named = {folder.part(part) for part in reader.parts()}
        named |= {folder.calls_part(*key) for key in reader.call_parts()}
    for name in fetched.listed:
        if not name.startswith("runs/") and folder.root / name not in named:
            uploads.remove(folder.root / name)
    for part in compared.parts:
        path = folder.part(part)
        name = path.relative_to(folder.root).as_posix()
        listed, known = fetched.listed.get(name), uploads.known.get(name)
        if listed is not None and known is not None and folder.store.same(path, listed) is None:
            uploads.put(path, "publish.results_put")
    for path in run_files(folder):
        if path.relative_to(folder.root).as_posix() not in fetched.listed:
            folder.store.send(path)


def fetch_all(folder: OutputFolder) -> None:
    """Make the working copy what the store is; what only the copy has is set aside.

    Raises:
        OutputError: there is nothing in the store.
        StorageError: the store cannot be reached, or the disk refused.
    """
    if not folder.store.elsewhere:
        return
    listed = _listed(folder, [_name(folder, path) for path in _published(folder)])
    if not listed and not folder.ledger.exists():
        raise OutputError(f"{folder.text}: is no output folder: it has no results, no calls and no runs.")
    files.set_aside([path for path in _published(folder) if _name(folder, path) not in listed], folder.root)
    for name, each in listed.items():
        path = folder.root / name
        if path.exists() and folder.store.same(path, each) is None:
            files.set_aside([path], folder.root)
        if not path.exists():
            folder.store.fetch(path)


def send_all(folder: OutputFolder) -> dict[str, str | None]:
    """Make the store what the working copy is, after a `rebuild`; the tags for the new ledger.

    What was set aside goes to `.strays` in the store, too, before it is removed: it may be all that is left.

    Raises:
        StorageError: the store cannot be reached, refuses, or was written by somebody else meanwhile.
    """
    if not folder.store.elsewhere:
        return {}
    tags: dict[str, str | None] = {}
    listed = folder.store.listed()
    here = {_name(folder, path): path for path in _published(folder)}
    for name, path in here.items():
        each = listed.get(name)
        tag = None if each is None else folder.store.same(path, each)
        if tag is None:
            old = None if each is None else folder.store.tag(path)
            tag = folder.store.put(path, old)
        tags[name] = tag
    for path in sorted(folder.strays.rglob("*.parquet")):
        folder.store.send(path)
    for name in listed.keys() - here.keys():
        folder.store.remove(folder.root / name)
    return {name: tag for name, tag in tags.items() if not name.startswith("runs/")}


def _listed(folder: OutputFolder, known: Iterable[str]) -> dict[str, Listed]:
    """What is in the store; what is known to be there is looked for one by one where the list has not got it.

    The lists of some stores come some time after what was written, and what is missing there would be bought again.
    """
    listed = folder.store.listed()
    for name in known:
        if name not in listed and (found := folder.store.look(folder.root / name)) is not None:
            listed[name] = found
    return listed


def _published(folder: OutputFolder) -> list[Path]:
    return [*parquet_files(folder.results), *parquet_files(folder.calls), *run_files(folder)]


def _name(folder: OutputFolder, path: Path) -> str:
    return path.relative_to(folder.root).as_posix()
