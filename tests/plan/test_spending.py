"""`batch.plan.spending`: what rows will take lies in its range: by answers, by other jobs, or by a guess that says so."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from batch.job.job import Job
from batch.plan import spending
from batch.plan.history import History, OfModel, RowCalls
from batch.plan.sizes import RowSize
from batch.plan.spending import Known, Spending
from batch.plan.survey import Load
from batch.tokens import measure
from batch.tokens.calibration import Answers, Notes, Shape
from batch.tokens.model import Learned, TokenModel
from tests.support.estimated import BilledRow, job
from tests.support.jobtext import SOUND, load

SIZE = measure.of_request([{"role": "user", "content": "Where is my parcel, please?"}])


@pytest.fixture
def plain(tmp_path: Path) -> Job:
    """A job that asks for text."""
    return load(tmp_path, SOUND)


def loads(sizes: Sequence[RowSize], model: TokenModel) -> list[Load]:
    """The sizes of some rows."""
    found = Load()
    for size in sizes:
        found.add(size, model.likely(size.first))
    return [found]


def by_answers(plain: Job, asked: Sequence[BilledRow], rest: Sequence[BilledRow], shape: Shape) -> Spending:
    """What is said of some rows after others of the job were answered."""
    learned = Learned()
    for row in asked:
        assert row.calls.first is not None
        learned.learn(row.first, row.calls.first)
    tokens = TokenModel(learned, alike=len(asked) >= 30)
    history = History(models={"m": OfModel([row.calls for row in asked], len(asked))}, drawn=True)
    sizes = [RowSize(row.first) for row in rest]
    return spending.begun(plain, "m", loads(sizes, tokens), Known(history, Notes(), tokens, "answers"), shape)


def test_in_19_of_20_jobs_the_tokens_lie_in_the_stated_range(plain: Job) -> None:
    """200 jobs by seed, all that the simulator's model bills: text, labels and tools; 10 to 24 of some 40 rows known."""
    inside = {"prompt": 0, "completion": 0, "total": 0, "calls": 0}
    widths = []
    for seed in range(200):
        chance = random.Random(f"estimate {seed}")
        asked = chance.randrange(10, 25)
        found = job(seed, asked + chance.randrange(15, 30))
        chance.shuffle(found.rows)
        rest = found.rows[asked:]
        said = by_answers(plain, found.rows[:asked], rest, found.shape)
        truth = {
            "prompt": sum(row.calls.prompt for row in rest),
            "completion": sum(row.calls.completion for row in rest),
            "calls": sum(row.calls.calls for row in rest),
        }
        truth["total"] = truth["prompt"] + truth["completion"]
        ranges = {
            "prompt": said.prompt,
            "completion": said.completion,
            "calls": said.calls,
            "total": said.prompt + said.completion,
        }
        for name, number in truth.items():
            inside[name] += ranges[name].least - 0.5 <= number <= ranges[name].most + 0.5
        widths.append(ranges["total"].width)
    assert inside["total"] >= 190, inside
    assert min(inside.values()) >= 186, inside
    assert sorted(widths)[100] < 0.25  # it says something


def test_the_range_narrows_with_the_sample(plain: Job) -> None:
    """What --sample is for."""
    found = job(2, 300)
    rest = found.rows[150:]
    few, many = (by_answers(plain, found.rows[:number], rest, found.shape) for number in (10, 150))
    assert many.completion.width < few.completion.width / 2
    assert many.prompt.width < few.prompt.width


def test_of_few_answers_nothing_is_told_and_of_another_job_more_is_allowed_for(plain: Job) -> None:
    """Four rows are an accident; the answers of the job as it was last week may be longer or shorter."""
    tokens = TokenModel()
    sizes = [RowSize(SIZE)] * 100
    rows = [RowCalls("m", 20, 20, 10 + number, 1) for number in range(4)]

    def said(number: int, *, alike: bool = True, drawn: bool = False) -> Spending:
        history = History(models={"m": OfModel((rows * 10)[:number], number)}, alike=alike, drawn=drawn)
        return spending.begun(plain, "m", loads(sizes, tokens), Known(history, Notes(), tokens, "guess"), "text")

    assert said(4).basis == "guess"
    assert (said(40).basis, said(40).answers) == ("answers", 40)
    assert said(40).completion.likely == pytest.approx(1_150)
    assert said(40, drawn=True).completion.width < said(40).completion.width < said(40, alike=False).completion.width


@pytest.mark.parametrize(
    ("lines", "shape", "most"),
    [
        ("", "text", 1_500),
        ("parameters = { max_tokens = 64 }", "text", 64),
        ("parameters = { max_completion_tokens = 900 }", "text", 900),
        ("parameters = { max_tokens = 16 }\n[labels]\nnames = ['a', 'b']", "labels", 1.2 * 16),
    ],
)
def test_before_any_answer_the_length_is_a_guess_within_max_tokens(
    lines: str, shape: Shape, most: float, tmp_path: Path
) -> None:
    """And called one."""
    tokens = TokenModel()
    known = Known(History(), Notes(), tokens, "guess")
    said = spending.begun(load(tmp_path, SOUND + lines), "m", loads([RowSize(SIZE)] * 10, tokens), known, shape)
    assert said.basis == said.prompt_basis == "guess"
    assert said.completion.most == pytest.approx(10 * most)
    assert 0 < said.completion.least < said.completion.likely < said.completion.most


def test_other_jobs_of_the_model_tell_more_than_a_guess(plain: Job) -> None:
    """How long its labels are, and how many calls its rows with tools take."""
    tokens = TokenModel()
    notes = Notes(answers={"tools": Answers(300, 100, 30_000, 100_000, 6_000, 150_000)})
    known = Known(History(), notes, tokens, "learned")
    said = spending.begun(plain, "m", loads([RowSize(SIZE)] * 10, tokens), known, "tools")
    assert (said.basis, said.answers) == ("learned", 300)
    assert said.calls.likely == pytest.approx(30)
    assert said.completion.likely == pytest.approx(600)
    assert spending.begun(plain, "m", loads([RowSize(SIZE)], tokens), known, "text").basis == "guess"


def test_what_the_user_says_next_is_counted_with_all_that_came_before(plain: Job) -> None:
    """Three turns send the first message three times, and each answer again in all turns behind it."""
    tokens = TokenModel()
    known = Known(History(), Notes(), tokens, "guess")
    later = measure.total([SIZE, SIZE])
    one = spending.begun(plain, "m", loads([RowSize(SIZE)], tokens), known, "text")
    three = spending.begun(plain, "m", loads([RowSize(SIZE, later, 3, 3)], tokens), known, "text")
    assert three.calls.likely == 3 * one.calls.likely
    assert three.prompt.likely == pytest.approx(3 * one.prompt.likely + 3 * one.completion.likely, rel=0.01)


def test_the_model_that_is_asked_in_the_end_is_counted(tmp_path: Path) -> None:
    """By how often it was, by the rule of three where it never was, and by a guess before any answer."""
    text = SOUND + "[labels]\nnames = ['a', 'b']\nescalate = 'big'\n"
    wanted, tokens = load(tmp_path, text), TokenModel()
    rows = [RowCalls("m", 20, 20, 3, 1)] * 50
    known = Known(History(), Notes(), tokens, "guess")
    begun = [spending.begun(wanted, "m", loads([RowSize(SIZE)] * 1_000, tokens), known, "labels")]
    beside = OfModel(beside=Answers(5, 5, 300, 300, 20, 80))
    often = spending.in_the_end(wanted, "big", begun, History(models={"m": OfModel(rows, 50), "big": beside}))
    assert often.calls.likely == pytest.approx(100)
    assert often.prompt.likely == pytest.approx(6_000)
    assert often.calls.least < 50
    assert often.calls.most > 150
    never = spending.in_the_end(wanted, "big", begun, History(models={"m": OfModel(rows, 50)}))
    assert never.calls.likely == 0
    assert never.calls.most == pytest.approx(60)
    guessed = spending.in_the_end(wanted, "big", begun, History())
    assert guessed.basis == "guess"
    assert 0 < guessed.calls.likely < guessed.calls.most
    assert guessed.prompt.most > 0
