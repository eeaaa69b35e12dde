"""Random nights over one output folder: the same events in any order, the same promises after each."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path
from typing import get_args

import pytest

from batch.core import failpoints
from tests.simulator.conftest import Start, start
from tests.support.longer import longer
from tests.system.nights.house import CONCURRENCY, SCENARIO, Form, House, interrupt, interrupt_twice, kill, terminate

__all__ = ["start"]

NIGHTS = 12
TEMPLATES = ("{{ text }}", "Once more: {{ text }}", "And now: {{ text }}")
POINTS = [
    name for name in failpoints.NAMES if not name.startswith(("tool.", "prune.")) and name != "answered.committed"
]
EVENTS = (
    ["calm"] * 4 + ["failpoint"] * 3 + ["kill"] * 3 + ["ctrl-c", "term", "ctrl-c twice", "replace", "replace, kill"]
)


class Walk:
    """One house and the chance that decides what happens to it.

    Attributes:
        open: keys of nights that did not end, which the next one may still bring home.
        log: what happened, for whoever reads a failure.
    """

    def __init__(self, house: House, chance: random.Random) -> None:
        self.house = house
        self.chance = chance
        self.open: set[str] = set()
        self.log: list[str] = []

    def change_source(self) -> None:
        """New rows, edits, edits taken back, other owners, rows that fail, a day's file that is thrown away."""
        house, chance = self.house, self.chance
        day = f"day-{len(self.log):02d}" if chance.random() < 0.8 or not house.days else max(house.days)
        house.add(day, chance.choice((0, 3, 25, 70)))
        for kind in ("flaky", "forbidden"):
            if chance.random() < 0.3:
                house.add(day, chance.randint(1, 2), kind=kind)
        house.days = {name: texts for name, texts in house.days.items() if texts}
        keys = list(house.source())
        if keys and chance.random() < 0.6:
            edited = chance.sample(keys, min(len(keys), chance.randint(1, 15)))
            house.edit(edited, kind=chance.choice(("plain", "plain", "plain", "forbidden")))
        if keys and chance.random() < 0.6:
            owned = chance.sample(keys, min(len(keys), chance.randint(1, 40)))
            house.owners.update({key: chance.choice(("ann", "bob", "cid")) for key in owned})
        rows = house.table()
        stands = {row["id"]: row["text"] for row in rows}
        if chance.random() < 0.4:
            for texts in house.days.values():
                texts.update({key: stands[key] for key in texts if key in stands and chance.random() < 0.3})
        settled = {row["id"] for row in rows if not row["retryable"]}
        gone = [name for name, texts in house.days.items() if texts.keys() <= settled]
        if not self.open and len(gone) > 2 and chance.random() < 0.3:
            del house.days[chance.choice(gone)]
        if not house.days:
            house.add(day, 5)
        house.put()

    def night(self) -> None:
        """Something changes, the command is started, something happens to it, and everything is checked."""
        house, chance = self.house, self.chance
        self.change_source()
        house.lane = chance.choice(("sync", "task")) if chance.random() < 0.3 else house.lane
        house.user = chance.choice(TEMPLATES) if chance.random() < 0.15 else house.user
        house.output["rows_per_part"] = chance.choice((7, 50, 1_000))
        house.output["publish_every_s"] = chance.choice((0.02, 60))
        house.later(hours=chance.choice((0, 1, 24, 60)))
        work_id, steady = house.work_id(), not self.open
        event = chance.choice(EVENTS) if len(work_id) > 4 else "calm"
        after = chance.randint(1, len(work_id)) if work_id else 0
        self.log.append(
            f"{event} after {after} of {len(work_id)}, lane {house.lane}, {house.user!r}, {house.now:%d %H:%M}"
        )

        def replace(process: subprocess.Popen[str]) -> None:
            edited = chance.sample(list(house.source()), 5)
            house.edit(edited)
            self.open.update(edited)  # asked this night, where their file had not been read
            house.add(max(house.days), 10)
            house.put()
            if event == "replace, kill":
                kill(process)

        does = {"kill": kill, "ctrl-c": interrupt, "term": terminate, "ctrl-c twice": interrupt_twice}
        if event == "calm":
            night = house.night()
        elif event == "failpoint":
            point = f"{chance.choice(POINTS)}:{chance.choice((1, 1, 2, 5))}"
            self.log[-1] += f" at {point}"
            night = house.night(failpoint=point)
        else:
            night = house.night(after=after, then=does.get(event, replace))
        self.log[-1] += f": {night.code}"
        if "kill" in event or event in ("failpoint", "ctrl-c twice"):
            house.risk += CONCURRENCY
        assert night.code in {
            "calm": (0, 1),
            "failpoint": (0, 1, -9),
            "kill": (0, 1, -9),
            "replace": (0, 1),
            "replace, kill": (0, 1, -9),
            "ctrl-c twice": (0, 1, 4, -2),  # the second may come when all is told and the interpreter ends
        }.get(event, (0, 1, 4)), night.said
        self.check(night.code, work_id, replaced="replace" in event and night.disturbed, steady=steady)

    def check(self, code: int, work_id: set[str], *, replaced: bool, steady: bool) -> None:
        """After one night."""
        house = self.house
        may_change = work_id | self.open
        if code not in (0, 1) or replaced:
            house.check(may_change=may_change | house.work_id())
            self.open = may_change | house.work_id()
            return
        house.check_end(work_id=may_change, order=steady)
        last = house.runs()[-1]
        assert code == (1 if work_id and last["totals"]["rows_failed"] else 0)
        assert last["exit_code"] == code or not work_id
        if steady:
            assert {
                call["row_id"] for call in house.book() if last["run"] in call["filename"]
            } == work_id or not work_id
        self.open = set()
        if not house.work_id():
            if not steady:  # it was gone on with under other settings
                self.look_again()
            house.check_nothing_to_do()
            assert house.status()["gone"]["rows"] == len(house.gone())
            if self.chance.random() < 0.4:
                house.prune()
                self.log[-1] += ", pruned"
                self.look_again()

    def look_again(self) -> None:
        """The command that reads the whole source once more, and asks nothing."""
        requests = len(self.house.books())
        assert self.house.night().code == 0
        assert len(self.house.books()) == requests


@pytest.mark.parametrize("seed", [1, *longer(range(2, 6))])
def test_random_nights_lose_nothing_and_pay_nothing_twice(seed: int, tmp_path: Path, start: Start) -> None:
    """Ours: promises 1, 2, 3 and 5 under anything that happens to a nightly job, in any order."""
    chance = random.Random(seed)
    form: Form = chance.choice(get_args(Form))
    walk = Walk(House(tmp_path / "job", start(SCENARIO), form=form, lane=chance.choice(("sync", "task"))), chance)
    try:
        for _ in range(NIGHTS):
            walk.night()
        for _ in range(4):
            if not (work_id := walk.house.work_id()) and not walk.open:
                break
            walk.check(walk.house.night().code, work_id, replaced=False, steady=False)
        assert walk.house.work_id() == set()
        walk.house.check_nothing_to_do(cron=True)
        walk.house.check_bill()
    except BaseException:
        print(f"{form}, seed {seed}", *walk.log, sep="\n")
        raise
