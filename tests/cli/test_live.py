"""`batch.cli.live`: what is shown of a run while it is at work, on a terminal of any width and without one."""

from __future__ import annotations

import io
import time
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from batch.cli import live
from batch.cli.live import ECHO, Plain, Rich
from batch.ledger.totals import Totals
from batch.run import progress
from tests.run.test_progress import snapshot

WHY = "the provider, which has not answered for 12 s: no connection to 127.0.0.1:8311: Connection refused"


class Screen:
    """A terminal that keeps what it was sent, and the lines that it shows in the end."""

    def __init__(self, width: int) -> None:
        self.file = io.StringIO()
        self.console = Console(
            file=self.file, force_terminal=True, width=width, color_system=None, legacy_windows=False
        )
        self.show = Rich(self.console)

    def lines(self, **fields: Any) -> list[str]:
        """What the live lines say after this snapshot."""
        self.file.truncate(0)
        self.show(snapshot(**fields))
        shown = self.file.getvalue().rpartition("\x1b[2K")[2]
        return [line.strip("\r") for line in shown.replace("\x1b[?25l", "").splitlines()]


def busy(**more: Any) -> dict[str, Any]:
    """A run of some size."""
    totals = Totals(
        rows_ok=4_000, calls=5_000, prompt_tokens=3_000_000, total_tokens=4_000_000, units={"CNY": 400 * 10**12}
    )
    return {"done": 4_000, "expected": 10_000, "totals": totals, "rate": 93.4, "left_s": 64.0, "in_flight": 50, **more}


@pytest.mark.parametrize("width", [60, 80, 100])
def test_a_narrow_terminal_has_two_lines_and_loses_nothing_of_what_happens_now(width: int) -> None:
    """FIELD 49: at 80 columns "in flight" and what the run waits for were cut away."""
    first, *more = Screen(width).lines(**busy(waits_for=WHY, waiting_tasks=0))
    whole = ["4,000/10,000 rows (40 %)", "93.4 rows/s", "left 1 min 04 s", "4,000,000 tokens", "400.00 CNY"]
    assert first.split(" · ") == whole[: len(first.split(" · "))], "no amount is cut in two"
    assert " ".join(more) == f"50 in flight · waits for {WHY}"
    assert all(cell_len(line) <= width - ECHO for line in (first, *more)), "^C of the terminal fits behind"


def test_a_wide_terminal_has_one_line_until_what_it_waits_for_is_too_long() -> None:
    """FIELD 49: and from then on two, so that nothing jumps."""
    screen = Screen(160)
    assert len(screen.lines(**busy())) == 1
    assert len(screen.lines(**busy(waits_for=WHY))) == 2
    assert len(screen.lines(**busy())) == 2


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"waiting_tasks": 1}, "1 task waiting"),
        ({"waiting_tasks": 1_200}, "1,200 tasks waiting"),
        ({"waiting_tasks": 0, "waiting_rows": 1}, "1 row to be tried again"),
        ({"waiting_tasks": 0, "waiting_rows": 7}, "7 rows to be tried again"),
    ],
)
def test_one_is_told_as_one_and_rows_in_back_off_as_rows(fields: dict[str, Any], said: str) -> None:
    """FIELD 48: "1 tasks waiting", also where no task is."""
    [line] = Screen(200).lines(**fields)
    assert line.endswith(f"2 in flight · {said}")


def told(screen: Screen, **fields: Any) -> str:
    """The sentences that stand above the live lines."""
    screen.lines(**fields)
    return " ".join(screen.file.getvalue().split())


def test_a_stop_says_what_happens_now_and_what_a_second_one_does() -> None:
    """FIELD 49: 10 tasks were "10 calls in flight may finish"; how many stay was not told."""
    screen = Screen(80)
    screen.lines(in_flight=12, waiting_tasks=10)
    said = told(screen, state="stopping", in_flight=12, waiting_tasks=10)
    assert (
        "stopping: nothing more is sent, 2 calls in flight may finish (30 s at most). Ctrl-C again cuts them: " in said
    )
    assert "10 tasks stay with the provider: the same command collects them." in said
    assert "stay" not in told(screen, state="stopping", in_flight=11, waiting_tasks=10), "once"
    assert "11 tasks stay with" in told(screen, state="interrupted", in_flight=0, waiting_tasks=11), (
        "one was taken since"
    )


def test_tasks_that_stay_with_the_provider_are_not_told_as_calls_in_flight() -> None:
    """The last line of a stopped run said "8 in flight", and no call was."""
    screen = Screen(80)
    screen.lines(in_flight=8, waiting_tasks=8)
    assert "in flight" not in screen.lines(state="stopping", in_flight=8, waiting_tasks=8)[-1]
    assert "2 in flight" in screen.lines(state="stopping", in_flight=10, waiting_tasks=8)[-1]


def test_a_stop_with_nothing_in_flight_asks_for_no_second_one() -> None:
    """FIELD 49: "0 calls in flight may finish (30 s at most)"."""
    screen = Screen(80)
    screen.lines()
    said = told(screen, state="stopping", in_flight=1, waiting_tasks=1)
    assert "stopping: nothing more is sent, and no call is in flight. 1 task stays with the provider: the same" in said
    assert "Ctrl-C" not in said


def test_on_a_terminal_something_stands_there_at_once_and_goes_with_the_command() -> None:
    """FIELD 49: seconds of nothing, while a large input was looked at."""
    screen = Screen(80)
    with screen.show:
        screen.show.starting("label")
        assert "label: looking at the job" in screen.file.getvalue()
    assert screen.file.getvalue().endswith(("\x1b[2K", "\x1b[?25h"))


def test_without_a_terminal_a_start_is_told_only_when_it_takes_long(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """FIELD 49: a command of cron with nothing to do stays silent, so that its mail is worth reading."""
    monkeypatch.setattr(live, "QUICK_S", 60.0)
    with Plain() as quick:
        quick.starting("quick")
        timer = quick._start
    assert timer is not None
    timer.join(30)
    assert not timer.is_alive(), "nobody waits for what will not be told"
    monkeypatch.setattr(live, "QUICK_S", 0.1)
    with Plain() as slow:
        slow.starting("slow")
        deadline, said = time.monotonic() + 60, ""
        while "looking" not in said:
            assert time.monotonic() < deadline
            time.sleep(0.01)
            said += capsys.readouterr().err
    assert "slow: looking at the job" in said
    assert "quick" not in said


def test_a_run_that_leaves_its_batches_is_not_taken_for_one_that_waits_for_another(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Both are called waiting; only the second waits for a process to end."""
    for said in (snapshot(state="waiting", done=0, expected=40), progress.waiting("process 12")):
        with Plain() as show:
            show(said)
    first, second = capsys.readouterr().err.splitlines()
    assert "0/40 rows (0 %) · waiting" in first
    assert "another run (process 12) is at work in the output folder" in second
