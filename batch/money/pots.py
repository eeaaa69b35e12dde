"""Pots that several processes spend from: an amount for one day, a prepaid pack of tokens.

Owns the file in the state folder and its one promise: what was spent from a pot and what is set aside in it together
never exceed it. A run sets a *slice* aside before it spends, which is written down first, so a process that is killed
leaves its slice behind: nobody else gets it until somebody knows what of it was used. Amounts are whole numbers, of
10⁻¹² of a currency's unit or of tokens. It does not know what they are spent on, nor what a run has used.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from batch.core.errors import StorageError
from batch.core.statefolder import StateFile

FILE: Final = "spend.json"
SHARE: Final = 16
"""A run sets aside a sixteenth of what is left at a time, so that others find something, too."""
CALLS: Final = 8
"""But enough for so many calls like the one that needs it, so that the file is not written for each."""
KEPT: Final = 400
"""Pots that are remembered: one a day and currency, one a pack."""


T = TypeVar("T")


class Held(msgspec.Struct):
    """What one run has set aside in a pot.

    Attributes:
        folder: its output folder.
        run: its name.
        amount: how much, what it used of it included.
        base: what the run had used before it set anything aside.
    """

    folder: str
    run: str
    amount: int
    base: int = 0


class Pot(msgspec.Struct):
    """One pot: what was spent from it for good, and what runs have set aside."""

    spent: int = 0
    held: list[Held] = []

    @property
    def taken(self) -> int:
        """What nobody else can have."""
        return self.spent + sum(entry.amount for entry in self.held)

    def of(self, folder: str, run: str) -> Held | None:
        """What a run has set aside."""
        return next((entry for entry in self.held if (entry.folder, entry.run) == (folder, run)), None)


class PotBook:
    """The file with all pots of one user, seen by one output folder.

    Every method locks the file, so call it in a thread.

    Args:
        path: the state folder.
        folder: the output folder, whose lock this process holds: its runs are nobody else's.
    """

    def __init__(self, path: Path, folder: Path) -> None:
        self._file = StateFile(path / FILE)
        self._folder = str(folder)

    def extend(self, name: str, run: str, *, limit: int, need: int, want: int, base: int = 0) -> tuple[int, int]:
        """Set more aside for a run, if there is so much.

        Args:
            name: of the pot.
            run: whose slice it is.
            limit: how much there may be in the pot altogether.
            need: how much more is needed; with less left, nothing is set aside.
            want: how much more would be better.
            base: what the run had used before; kept with its first slice.

        Returns:
            How much the run has set aside now, and how much others have or spent.

        Raises:
            StorageError: the file cannot be read or written.
        """

        def change(pots: dict[str, Pot]) -> tuple[int, int]:
            pot = pots.setdefault(name, Pot())
            left = limit - pot.taken
            entry = pot.of(self._folder, run)
            if left >= need > 0:
                if entry is None:
                    entry = Held(self._folder, run, 0, base)
                    pot.held.append(entry)
                entry.amount += min(left, max(need, want, left // SHARE))
            mine = entry.amount if entry is not None else 0
            return mine, pot.taken - mine

        return self._changed(change)

    def open(
        self, run: str, used: Callable[[str, Mapping[str, Held]], Mapping[str, int]], fresh: Mapping[str, Held]
    ) -> dict[str, tuple[Held, int]]:
        """Settle what earlier runs of the folder left set aside, and take up what this run has.

        Args:
            run: the run that begins or goes on.
            used: for a run and by pot what it has set aside: by pot, what it used of that.
            fresh: by pot, what calls that are under way already can come to, and what the run had used before; set
                aside where the run has nothing there yet.

        Returns:
            By pot, what this run has set aside now, and what it used of that.

        Raises:
            StorageError: the file cannot be read or written.
        """

        def change(pots: dict[str, Pot]) -> dict[str, tuple[Held, int]]:
            runs: dict[str, dict[str, Held]] = {run: {}}
            for name, pot in pots.items():
                for entry in pot.held:
                    if entry.folder == self._folder:
                        runs.setdefault(entry.run, {})[name] = entry
            found: dict[str, tuple[Held, int]] = {}
            for other, entries in runs.items():
                amounts = used(other, entries) if entries else {}
                for name, entry in entries.items():
                    if other == run:
                        under_way = fresh[name].amount if name in fresh else 0
                        entry.amount = max(entry.amount, amounts[name] + under_way)
                        found[name] = entry, amounts[name]
                    else:
                        pots[name].held.remove(entry)
                        pots[name].spent += amounts[name]
            for name, one in fresh.items():
                if name not in found and one.amount > 0:
                    found[name] = Held(self._folder, run, one.amount, one.base), 0
                    pots.setdefault(name, Pot()).held.append(found[name][0])
            return found

        return self._changed(change)

    def let_go(self, name: str, run: str, kept: int) -> None:
        """Leave a run no more set aside in a pot than this; nothing of the rest was used.

        Args:
            name: of the pot.
            run: whose slice it is.
            kept: the most that stays.

        Raises:
            StorageError: the file cannot be read or written.
        """

        def change(pots: dict[str, Pot]) -> None:
            entry = pots.setdefault(name, Pot()).of(self._folder, run)
            if entry is not None:
                entry.amount = min(entry.amount, kept)

        self._changed(change)

    def settle(self, run: str, used: Mapping[str, int], still: Mapping[str, int]) -> None:
        """Give back what a run has set aside and did not use.

        Args:
            run: which one.
            used: by pot, what it used for good since it set something aside.
            still: by pot, what calls that outlive the run can come to: tasks left with the provider.

        Raises:
            StorageError: the file cannot be read or written.
        """

        def change(pots: dict[str, Pot]) -> None:
            for name, amount in used.items():
                pot = pots.setdefault(name, Pot())
                entry = pot.of(self._folder, run)
                if still.get(name, 0) > 0:
                    if entry is None:
                        entry = Held(self._folder, run, 0)
                        pot.held.append(entry)
                    entry.amount = amount + still[name]
                    continue
                if entry is not None:
                    pot.held.remove(entry)
                pot.spent += amount

        self._changed(change)

    def taken(self, names: Iterable[str]) -> dict[str, int]:
        """By pot, what was spent or is set aside, by whomever.

        Raises:
            StorageError: the file cannot be read.
        """
        pots = self._read()
        return {name: pots[name].taken if name in pots else 0 for name in names}

    def _changed(self, change: Callable[[dict[str, Pot]], T]) -> T:
        with self._file.locked():
            pots = self._read()
            before = _built_in(pots)
            result = change(pots)
            after = _built_in(pots)
            for name in [name for name in after if after[name] != before.get(name)]:
                pots[name] = pots.pop(name)
            while (
                len(pots) > KEPT
            ):  # those first that nobody changed for longest; one that somebody holds a part of stays
                gone = next((name for name, pot in pots.items() if not pot.held), None)
                if gone is None:
                    break
                del pots[gone]
            if after != before:
                self._file.write(_written(pots))
        return result

    def _read(self) -> dict[str, Pot]:
        data = self._file.read()
        if data is None:
            return {}
        try:
            # Amounts may be larger than 64 bits, which `msgspec` would read as floats.
            return msgspec.convert(json.loads(data)["pots"], dict[str, Pot])
        except (ValueError, KeyError, TypeError) as exc:
            raise StorageError(
                f"{self._file.path}: is damaged, so it is not known what was spent today: {exc}. Put it back from a "
                "copy, or take it away: then the day begins anew with nothing spent."
            ) from exc


def _built_in(pots: Mapping[str, Pot]) -> dict[str, Any]:
    """The pots as they stand, of values that nobody changes any more."""
    return {name: msgspec.to_builtins(pot) for name, pot in pots.items()}


def _written(pots: Mapping[str, Pot]) -> bytes:
    document = {"version": 1, "pots": _built_in(pots)}
    return json.dumps(document, indent=1).encode()
