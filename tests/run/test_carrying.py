"""`batch.run.carrying`: what a batch file does next, step by step, and what follows where the provider refuses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import msgspec
import pytest

from batch.core.clock import HandClock
from batch.core.records import Failure
from batch.ledger import waves
from batch.ledger.waves import BUILT, CREATED, UPLOADED, WaveRow, WavesReader
from batch.ledger.writer import Ledger
from batch.providers.batch_files import Batch, BatchError
from batch.run.carrying import FULL_QUEUE_S, LOST_AFTER, UNWRITTEN_S, Carrier
from batch.run.overdue import LEFT_AFTER_S, BatchDeadline
from batch.run.wave_work import WaveWork
from tests.ledger.test_waves import calls
from tests.support.ledgers import admitted

UNHEARD = Failure(kind="transport", verdict="retry", sent=True, answered=False, message="no answer came")
BUSY = Failure(kind="rate_limit", verdict="retry", code="1302", message="slow down")
UNKNOWN = Failure(kind="task", verdict="retry", code="404", message="no such batch")
NO_KEY = Failure(kind="auth", verdict="stop", code="401", message="no such key")
WRONG = Failure(kind="bad_request", verdict="fail", code="400", message="this file is none")


def batch(status: str = "in_progress", **more: Any) -> Batch:
    """The batch as the provider tells of it; one that is completed has a file of answers."""
    answers = {"output_file_id": "answers", "completed": 3} if status == "completed" else {}
    return Batch(id="b", status=status, **{"total": 3, **answers, **more})


class Provider:
    """Answers every exchange with what a test has laid out for it, and notes which were made."""

    def __init__(self) -> None:
        self.says: dict[str, list[Any]] = {}
        self.asked: list[str] = []
        self.known: list[int] = []
        """For each exchange, the state that the ledger had of the wave when it was made."""
        self.state_now: Any = lambda: -1

    def __getattr__(self, name: str) -> Any:
        async def exchange(*_: object) -> Any:
            self.asked.append(name)
            self.known.append(self.state_now())
            return self.says[name].pop(0)

        return exchange

    def target(self, _: str) -> Any:
        return SimpleNamespace(evidence=SimpleNamespace(record_answer=lambda _: None))


class Stage:
    """One wave of three lines, the ledger that has it, and a carrier that carries it."""

    def __init__(self, folder: Path, ledger: Ledger, *, sends: bool = True, deadline_s: float | None = None) -> None:
        self.clock, self.provider, self.folder = HandClock(), Provider(), folder
        self.concluded: list[str] = []
        self.stopped: list[Failure] = []
        lines = SimpleNamespace(
            collect=self._collect,
            give_up=self._give_up,
            holds=SimpleNamespace(end=lambda _: None),
            conclusion=SimpleNamespace(stop=self.stopped.append),
        )
        self.gathering = SimpleNamespace(
            path=lambda number: folder / f"wave-{number:05d}.jsonl", quiet=lambda: True, empty=False, most_lines=50
        )
        context: Any = SimpleNamespace(clock=self.clock, ledger=ledger, limiter=SimpleNamespace(shut_for=lambda: 0.0))
        self.works: dict[int, WaveWork] = {}
        exchange: Any = self.provider
        lost: Any = SimpleNamespace(awaits_rows=lambda *_, **__: False, collected=lambda _: False)
        self.carrier = Carrier(
            context,
            lines,  # type: ignore[arg-type]  # as much of it as is asked for
            self.gathering,  # type: ignore[arg-type]  # likewise
            exchange,
            lost=lost,
            deadline=BatchDeadline(exchange, self.clock, deadline_s),
            works=self.works,
            state=SimpleNamespace(stopping=False),  # type: ignore[arg-type]  # likewise
            folder=folder,
            sends=sends,
        )

    def begins(self, wave: WaveRow, *, doubted: bool = False) -> WaveWork:
        """The wave as the ledger has it."""
        work = self.works[wave.wave] = WaveWork(wave, doubted=doubted)
        self.provider.state_now = lambda: self.state
        return work

    @property
    def state(self) -> int | None:
        """That of the wave in the ledger, as another process would find it; None once nothing more comes of it."""
        with WavesReader(self.folder / "ledger.db") as reader:
            return next((wave.state for wave in reader.waves()), None)

    async def step(self, work: WaveWork) -> float:
        """One step, and for how many seconds is waited then."""
        return await (self.carrier._send(work) if work.wave.state < CREATED else self.carrier._ask(work))

    async def _collect(self, _: WaveRow, found: Batch) -> None:
        self.concluded.append(f"answers of {found.status}")

    async def _give_up(self, _: WaveRow, failure: Failure) -> None:
        self.concluded.append(failure.code or failure.kind)


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    """With one wave, built of three of five rows."""
    path = admitted(tmp_path / "ledger.db", 5)
    async with Ledger(path) as made:
        yield made


async def begun(ledger: Ledger, folder: Path, *, doubted: bool = False, **how: Any) -> tuple[Stage, WaveWork]:
    stage = Stage(folder, ledger, **how)
    wave = WaveRow(
        wave=0,
        run="r",
        model="m",
        base_url="u",
        state=BUILT,
        lines=3,
        size=9,
        digest="d",
        made_at_us=stage.clock.now_us(),
    )
    await ledger.execute(waves.build(wave, calls(1, 3)))
    return stage, stage.begins(wave, doubted=doubted)


async def there(stage: Stage, work: WaveWork) -> None:
    """The wave is at the provider."""
    stage.provider.says = {"upload": ["file"], "create": [batch()]}
    assert await stage.step(work) == 0
    stage.provider.asked.clear()


async def test_each_step_is_durable_before_the_next_is_made(ledger: Ledger, tmp_path: Path) -> None:
    """So a kill anywhere leaves a wave that is taken up where it stood."""
    stage, work = await begun(ledger, tmp_path)
    stage.provider.says = {
        "upload": ["file"],
        "create": [batch()],
        "retrieve": [batch(), batch("completed")],
    }
    assert await stage.step(work) == 0
    assert await stage.step(work) > 0
    assert await stage.step(work) == 0
    assert stage.provider.asked == ["upload", "create", "retrieve", "retrieve"]
    assert stage.provider.known == [BUILT, UPLOADED, CREATED, CREATED]
    assert (stage.concluded, stage.state, stage.works) == (["answers of completed"], None, {})


@pytest.mark.parametrize("made", [True, False])
async def test_a_creation_that_was_not_heard_is_looked_for_before_it_is_made_again(
    made: bool, ledger: Ledger, tmp_path: Path
) -> None:
    """Made twice it would be paid twice."""
    stage, work = await begun(ledger, tmp_path)
    stage.provider.says = {
        "upload": ["file"],
        "create": [UNHEARD, batch()],
        "find": [BUSY, batch() if made else None],
    }
    assert await stage.step(work) > 0
    assert work.doubted
    assert await stage.step(work) > 0, "the list could not be read, so nothing is known"
    await stage.step(work)
    assert stage.provider.asked == ["upload", "create", "find", "find", *([] if made else ["create"])]
    assert (stage.state, work.doubted) == (CREATED, False)


async def test_a_creation_that_was_refused_was_not_made(ledger: Ledger, tmp_path: Path) -> None:
    """It is only tried again, later each time."""
    stage, work = await begun(ledger, tmp_path)
    stage.provider.says = {"upload": ["file"], "create": [BUSY, BUSY, batch()]}
    waits = [await stage.step(work) for _ in range(3)]
    assert waits[0] > 0
    assert waits[1] > 0
    assert stage.provider.asked == ["upload", "create", "create", "create"]


async def test_a_file_that_the_provider_lost_is_uploaded_again_some_times(ledger: Ledger, tmp_path: Path) -> None:
    """Where nothing makes batches at all that would never end."""
    stage, work = await begun(ledger, tmp_path)
    stage.provider.says = {"upload": ["file"] * LOST_AFTER, "create": [UNKNOWN] * LOST_AFTER}
    for number in range(LOST_AFTER):
        assert stage.stopped == [], number
        await stage.step(work)
        assert stage.state == BUILT
    assert [failure.code for failure in stage.stopped] == ["404"]


@pytest.mark.parametrize(("failure", "ends"), [(WRONG, ["400"]), (NO_KEY, [])])
async def test_a_file_that_is_refused_for_good_is_given_up_and_a_key_ends_the_run(
    failure: Failure, ends: list[str], ledger: Ledger, tmp_path: Path
) -> None:
    """The rows of a file may go another way; without a key nothing may."""
    stage, work = await begun(ledger, tmp_path)
    stage.provider.says = {"upload": [failure]}
    await stage.step(work)
    assert stage.concluded == ends
    assert bool(stage.stopped) is not bool(ends)
    assert stage.state == (None if ends else BUILT)


async def test_a_file_is_not_sent_when_the_lane_is_another_by_then(ledger: Ledger, tmp_path: Path) -> None:
    stage, work = await begun(ledger, tmp_path, sends=False)
    assert await stage.step(work) == 0
    assert (stage.provider.asked, stage.concluded) == ([], ["not_sent"])


async def test_a_batch_that_is_not_known_time_and_again_is_lost(ledger: Ledger, tmp_path: Path) -> None:
    """Once may be a mistake of theirs; what was done of it may be billed."""
    stage, work = await begun(ledger, tmp_path)
    await there(stage, work)
    stage.provider.says = {"retrieve": [UNKNOWN, UNKNOWN, batch(), *[UNKNOWN] * LOST_AFTER]}
    for _ in range(2 + 1 + LOST_AFTER):
        assert stage.concluded == []
        await stage.step(work)
    assert stage.concluded == ["batch_lost"]


async def test_answers_that_are_counted_are_waited_for_until_there_is_a_file_of_them(
    ledger: Ledger, tmp_path: Path
) -> None:
    """They were paid for; but not for ever."""
    stage, work = await begun(ledger, tmp_path)
    await there(stage, work)
    stage.provider.says = {"retrieve": [batch("completed", output_file_id=None)] * 4}
    waits = [await stage.step(work) for _ in range(3)]
    assert (tuple(waits), stage.concluded) == (UNWRITTEN_S, [])
    await stage.step(work)
    assert stage.concluded == ["answers of completed"]


@pytest.mark.parametrize("others", [True, False])
async def test_a_queue_without_room_is_waited_for_unless_nothing_is_in_it(
    others: bool, ledger: Ledger, tmp_path: Path
) -> None:
    """A file that does not even fit alone is taken apart, and the next ones are half as long."""
    stage, work = await begun(ledger, tmp_path)
    await there(stage, work)
    if others:
        stage.works[1] = WaveWork(msgspec.structs.replace(work.wave, wave=1), doubted=False)
    full = [BatchError(code="token_limit_exceeded", message="no room")]
    stage.provider.says = {"retrieve": [batch("failed", errors=full)]}
    wait_s = await stage.step(work)
    if others:
        assert (wait_s, stage.state, stage.concluded) == (FULL_QUEUE_S, UPLOADED, [])
    else:
        assert (wait_s, stage.concluded) == (0, ["token_limit_exceeded"])
        assert stage.gathering.most_lines == 1


async def test_a_batch_over_its_time_is_cancelled_once_and_waited_for(ledger: Ledger, tmp_path: Path) -> None:
    """Whether it ended at once is known for those who do not wait; what it has done is collected."""
    stage, work = await begun(ledger, tmp_path, deadline_s=3_600)
    await there(stage, work)
    stage.clock.advance(3_601)
    stage.provider.says = {
        "retrieve": [batch(), batch("cancelling"), batch("cancelling"), batch("cancelled", output_file_id="some")],
        "cancel": [batch("cancelling")],
    }
    told = []
    for seconds in (1.0, LEFT_AFTER_S, 0.0):
        await stage.step(work)
        told.append((work.asked, work.lingers))
        stage.clock.advance(seconds)
    assert told == [(False, False), (False, False), (True, True)]
    await stage.step(work)
    assert stage.provider.asked.count("cancel") == 1
    assert (stage.concluded, work.lingers) == (["answers of cancelled"], False)


async def test_a_batch_that_cannot_be_cancelled_keeps_nobody_who_does_not_wait(ledger: Ledger, tmp_path: Path) -> None:
    """It is tried again, and by the next command, too."""
    stage, work = await begun(ledger, tmp_path, deadline_s=3_600)
    await there(stage, work)
    stage.clock.advance(3_601)
    stage.provider.says = {"retrieve": [batch()] * 100, "cancel": [BUSY] * 100}
    began = stage.clock.monotonic()
    while not work.lingers:
        assert not work.asked
        stage.clock.advance(await stage.step(work))
    assert work.asked
    assert LEFT_AFTER_S <= stage.clock.monotonic() - began <= 4 * LEFT_AFTER_S
    assert stage.provider.asked.count("cancel") > 3


async def test_a_run_that_stops_leaves_its_waves_as_they_are(ledger: Ledger, tmp_path: Path) -> None:
    """The next one takes them up."""
    stage, work = await begun(ledger, tmp_path)
    stage.provider.says = {"upload": ["file"], "create": [batch()], "retrieve": [batch()] * 100}
    async with anyio.create_task_group() as group:
        group.start_soon(stage.carrier.carry, work)
        while "retrieve" not in stage.provider.asked:
            await anyio.lowlevel.checkpoint()
        stage.carrier._state.stopping = True
        stage.clock.advance(60)
    assert (stage.state, stage.concluded, list(stage.works)) == (CREATED, [], [0])
