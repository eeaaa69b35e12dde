"""What a power cut would leave: for every file the bytes of its last sync, for every folder the names of its last sync.

The live files lie on the real disk; beside them this keeps what is durable. A cut writes that into `survived`. With
`torn_cut` what was not synced survives in part, by the fault's own number: folders show their new names or their old
ones, and of each unsynced write to the ledger any 512-byte sectors, later writes without earlier ones.
"""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tests.system.faults.disk import Disk

SECTOR: Final = 512


class _Node:
    """One file, whatever it is called."""

    def __init__(self, synced: bytes = b"") -> None:
        self.synced = bytearray(synced)
        self.pending: list[tuple[int, bytes | None]] = []
        """Writes (offset, data) and truncations (size, None) of the ledger since the last sync."""

    def settle(self) -> None:
        for offset, data in self.pending:
            _apply(self.synced, offset, data)
        self.pending.clear()

    def torn(self, chance: random.Random) -> bytes:
        left = bytearray(self.synced)
        for offset, data in self.pending:
            if data is None:
                if chance.random() < 0.5:
                    _apply(left, offset, None)
                continue
            for start in range(0, len(data), SECTOR):
                if chance.random() < 0.5:
                    _apply(left, offset + start, data[start : start + SECTOR])
        return bytes(left)


def _apply(content: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        del content[offset:]
        return
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


class Shadow:
    """What is durable of one disk. Every method is called under the lock of the disk, right after the real thing."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self.survived = Path(f"{disk.root}.survived")
        self._live: dict[str, _Node | None] = {}
        """By path; None is a folder."""
        self._names: dict[str, dict[str, _Node | None]] = {}
        """By folder, the names of its last sync."""
        self._look(disk.root)

    def _look(self, folder: str) -> None:
        """What is there at the beginning has long been durable."""
        self._live[folder] = None
        names = self._names.setdefault(folder, {})
        for found in os.scandir(folder) if Path(folder).is_dir() else ():
            if found.is_dir():
                names[found.name] = None
                self._look(found.path)
            elif not found.name.endswith("-shm"):
                names[found.name] = self._live[found.path] = _Node(Path(found.path).read_bytes())

    # -- files and names --------------------------------------------------------------------------------------------

    def made(self, path: str, *, emptied: bool) -> None:
        if emptied or path not in self._live:
            self._live[path] = _Node()

    def made_folder(self, path: str) -> None:
        self._live[path] = None
        self._names[path] = {}

    def file_synced(self, path: str) -> None:
        node = self._live[path]
        assert node is not None
        node.synced[:] = Path(path).read_bytes()

    def folder_synced(self, path: str) -> None:
        self._names[path] = self._children(path)

    def renamed(self, source: str, target: str) -> None:
        self._live[target] = self._live.pop(source)

    def removed(self, path: str, *, synced: bool) -> None:
        self._live.pop(path, None)
        if synced:
            self.folder_synced(path.rpartition("/")[0])

    # -- the ledger -------------------------------------------------------------------------------------------------

    def opened(self, path: str) -> None:
        if path not in self._live:
            self._live[path] = _Node()

    def wrote(self, path: str, offset: int, data: bytes) -> None:
        self._node(path).pending.append((offset, data))

    def truncated(self, path: str, size: int) -> None:
        self._node(path).pending.append((size, None))

    def ledger_synced(self, path: str) -> None:
        self._node(path).settle()
        # SQLite syncs the folder with the first sync of a new log; the names it is about to rely on are durable then.
        folder, _, name = path.rpartition("/")
        if name not in self._names[folder]:
            self.folder_synced(folder)

    def _node(self, path: str) -> _Node:
        node = self._live.setdefault(path, _Node())
        assert node is not None
        return node

    # -- the cut ----------------------------------------------------------------------------------------------------

    def cut(self) -> None:
        """Write down what survives."""
        fault = self._disk.fault
        assert fault is not None
        chance = random.Random(f"{fault}") if fault.how == "torn_cut" else None
        self._write(self._disk.root, self.survived, chance)

    def _write(self, folder: str, target: Path, chance: random.Random | None) -> None:
        target.mkdir()
        names = self._names[folder]
        if chance is not None and chance.random() < 0.5:
            names = self._children(folder)
        for name, node in names.items():
            if node is None:
                self._write(f"{folder}/{name}", target / name, chance)
            else:
                (target / name).write_bytes(node.torn(chance) if chance is not None else bytes(node.synced))

    def _children(self, folder: str) -> dict[str, _Node | None]:
        inside = ((*path.rpartition("/"), node) for path, node in self._live.items())
        return {name: node for parent, _, name, node in inside if parent == folder}
