"""A stage for runs whose input and output lie in an object store, and the checks that hold after any number of kills.

What is checked is read from the store, by another client than the one that writes there. Used by the tests of this
folder and by `scripts/stores`.
"""

from __future__ import annotations

import shutil
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from batch.core.places import Place
from batch.output import stores
from tests.support.seaweed import BUCKET, Remote
from tests.system.kills.stage import Stage


@dataclass
class StoreStage(Stage):
    """One job over questions in a store, with its output there."""

    store: Remote = field(kw_only=True)
    name: str = field(default_factory=lambda: f"stage-{uuid.uuid4().hex}")

    url_of_store: str = ""
    """What the command is told instead of the store's own address."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.root = f"{self.store.scheme}://{BUCKET}/{self.name}"
        self.place = f"{self.root}/out"
        self.state = self.folder / "state"
        job = self.folder / "job.toml"
        text = job.read_text(encoding="utf-8")
        text = text.replace('path = "rows.jsonl"', f'path = "{self.root}/in/*.jsonl"')
        job.write_text(text.replace('path = "out"', f'path = "{self.place}"'), encoding="utf-8")

    def write_input(self, rows: int) -> None:
        """As on a disk, then into the store."""
        super().write_input(rows)
        self.store.write(f"{self.name}/in/rows.jsonl", (self.folder / "rows.jsonl").read_bytes())

    @property
    def copy(self) -> Path:
        """The working copy."""
        name = stores.working_copy(Place(self.store.scheme, BUCKET, f"{self.name}/out")).name
        return self.state / stores.COPIES / name

    def environ(self) -> dict[str, str]:
        """The store's, and a state folder of this machine."""
        store = self.store.at(self.url_of_store) if self.url_of_store else self.store.environ
        return {**store, "PROMPTMILL_STATE": str(self.state)}

    def fetch(self) -> None:
        """Look at what is in the store: it and the working copy have the same tables."""
        self.store.copy(f"{self.name}/out", self.out)
        (self.out / "pending").mkdir()
        if self.copy.exists():
            for kept in (self.copy / "pending").iterdir():
                shutil.copy2(kept, self.out / "pending")
            for ledger in self.copy.glob("ledger.db*"):
                shutil.copy2(ledger, self.out)
            for table in ("results", "calls"):
                assert _files(self.out / table) == _files(self.copy / table), f"the store has another {table}"

    def lose_machine(self) -> None:
        """Everything but the store is gone."""
        shutil.rmtree(self.state)


def _files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.parquet"))}
