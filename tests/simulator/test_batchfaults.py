"""Faults of batches: what becomes of them that the documents do not promise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from tests.simulator.conftest import HandClock, Start
from tests.simulator.filed import DIALECTS, SLOW, Desk
from tests.simulator.struck import fault

Open = Callable[..., Desk]
SENT = [f"call-{n:06d}" for n in range(60)]


@pytest.fixture(params=DIALECTS)
def struck(request: pytest.FixtureRequest, start: Start, clock: HandClock) -> Open:
    """Opens a desk on which behaviour 62 strikes in one form."""
    return lambda form, **more: Desk(start(fault(62, form=form, **more) + SLOW, clock), request.param)


def test_62_fails_its_checks_with_the_numbers_of_lines(struck: Open, clock: HandClock) -> None:
    """Of a file that is in order, as far as anybody can see."""
    desk = struck("invalid", share=0.2)
    made = desk.made(desk.lines(60))
    clock.move(100)
    failed = desk.batch(made["id"])
    assert failed["status"] == "failed"
    numbers = [error["line"] for error in failed["errors"]["data"]]
    assert 1 < len(numbers) < 30
    assert numbers == sorted(set(numbers))
    assert desk.booked() == []


@pytest.mark.parametrize("ends", ["expired", "cancelled"])
def test_62_ends_part_way(struck: Open, clock: HandClock, ends: str) -> None:
    """By itself; what was done is delivered and billed, and nothing else."""
    desk = struck(ends, share=0.5)
    made = desk.made(desk.lines(60))
    clock.move(100)
    done = desk.batch(made["id"])
    assert done["status"] == ends
    answered = desk.ids(done["output_file_id"])
    assert 15 < len(answered) < 45
    assert sorted(record["client_call_id"] for record in desk.booked()) == sorted(answered)


def test_62_lacks_lines_that_were_done_and_billed(struck: Open, clock: HandClock) -> None:
    """They are in neither file, and were not delivered."""
    desk = struck("missing", share=0.3)
    made = desk.made(desk.lines(60))
    clock.move(100)
    done = desk.batch(made["id"])
    answered = desk.ids(done["output_file_id"])
    assert 20 < len(answered) < 58
    assert not done["error_file_id"]
    assert Counter(record["delivered"] for record in desk.booked()) == {True: len(answered), False: 60 - len(answered)}
    assert all(record["billed"] for record in desk.booked())


def test_62_has_lines_twice(struck: Open, clock: HandClock) -> None:
    """Billed once."""
    desk = struck("repeated", share=0.3)
    made = desk.made(desk.lines(60))
    clock.move(100)
    counts = Counter(desk.ids(desk.batch(made["id"])["output_file_id"]))
    assert set(counts) == set(SENT)
    assert set(counts.values()) == {1, 2}
    assert len(desk.booked()) == 60


def test_62_has_a_line_that_nobody_asked(struck: Open, clock: HandClock) -> None:
    """Beside all that were asked."""
    desk = struck("unknown")
    made = desk.made(desk.lines(60))
    clock.move(100)
    answered = desk.ids(desk.batch(made["id"])["output_file_id"])
    assert set(answered) - set(SENT) == {"nobody-asked-this"}
    assert len(answered) == 61


def test_62_has_errors_only(struck: Open, clock: HandClock) -> None:
    """Completed, and there is no file of answers."""
    desk = struck("errors_only")
    made = desk.made(desk.lines(60))
    clock.move(100)
    done = desk.batch(made["id"])
    assert (done["status"], done["output_file_id"] or None) == ("completed", None)
    assert sorted(desk.ids(done["error_file_id"])) == SENT
    assert not any(record["billed"] for record in desk.booked())


def test_62_names_its_files_late(struck: Open, clock: HandClock) -> None:
    """Completed, with all its lines counted, and a moment later there they are."""
    desk = struck("late_file")
    made = desk.made(desk.lines(60))
    clock.move(100)
    done = desk.batch(made["id"])
    assert (done["status"], done["output_file_id"] or None) == ("completed", None)
    assert done["request_counts"] == {"total": 60, "completed": 60, "failed": 0}
    clock.move(1.5)
    assert sorted(desk.ids(desk.batch(made["id"])["output_file_id"])) == SENT


def test_62_cuts_lines_in_half(struck: Open, clock: HandClock) -> None:
    """The lines around them are whole."""
    desk = struck("broken", share=0.3)
    made = desk.made(desk.lines(60))
    clock.move(100)
    file_id = desk.batch(made["id"])["output_file_id"]
    texts = desk.ask("GET", f"/files/{file_id}/content").content.splitlines()
    whole = [text for text in texts if text.endswith(b"}") and b'"custom_id"' in text]
    assert len(texts) == 60
    assert 20 < len(whole) < 58


def test_62_strikes_the_batch_whose_file_it_names(start: Start, clock: HandClock) -> None:
    """`rows` looks into the name of the file."""
    desk = Desk(start(fault(62, form="expired", rows=["second"]) + SLOW, clock), "glm")
    made = [desk.made(desk.lines(5), name=name) for name in ("first.jsonl", "second.jsonl")]
    clock.move(100)
    assert [desk.batch(batch["id"])["status"] for batch in made] == ["completed", "expired"]


def test_56_makes_the_batch_and_loses_the_answer(start: Start, clock: HandClock) -> None:
    """Whoever creates it again buys it twice; the list has it."""
    desk = Desk(start(fault(56, route="create", first=1) + SLOW, clock), "glm")
    file_id = desk.upload(desk.lines(2)).json()["id"]
    with pytest.raises(Exception, match="disconnected|reset|closed"):
        desk.create(file_id, metadata={"intent": "one"})
    (made,) = desk.ask("GET", "/batches").json()["data"]
    assert made["metadata"] == {"intent": "one"}
