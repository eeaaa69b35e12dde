"""`batch.labels.tries`: what follows an answer without a label, and when it is tried again in a later run."""

from __future__ import annotations

import pytest

from batch.core.labelling import Labelling
from batch.labels.answers import Code, Invalid
from batch.labels.asking import Asking
from batch.labels.schema import LabelSchema
from batch.labels.tries import LabelRules, Tries, more_allowed

ASKING = Asking(labels=LabelSchema.of_names(["a", "b"]))


def followed(codes: list[Code], rules: LabelRules, *, model: str = "small") -> list[str]:
    """What follows each of these answers."""
    tries, found = Tries(), []
    for code in codes:
        wrong = Invalid(code, "no")
        then = tries.then(wrong, rules, model_asked=tries.escalated or model)
        found.append(then)
        if not then:
            break
        tries = tries.after(then, wrong, messages=3)
    return found


def test_a_model_is_asked_again_so_often_then_the_other_one_once() -> None:
    """Then the row fails."""
    rules = LabelRules(ASKING, 2, "large")
    assert followed(["outside"] * 5, rules) == ["reask", "reask", "escalate large", ""]
    assert followed(["outside"], LabelRules(ASKING, 0, "large")) == ["escalate large"]
    assert followed(["outside"] * 2, LabelRules(ASKING, 0)) == [""]
    assert followed(["outside"] * 4, rules, model="large") == ["reask", "reask", ""], "it was asked already"


def test_a_second_answer_in_a_row_that_is_cut_off_is_the_last_of_its_model() -> None:
    """A third would cost as much; another model may say less."""
    rules = LabelRules(ASKING, 5, "large")
    assert followed(["truncated"] * 4, rules) == ["reask", "escalate large", ""]
    assert followed(["truncated", "outside", "truncated", "truncated"], rules)[-1] == "escalate large"


@pytest.mark.parametrize(
    ("known", "reasks", "escalate", "again"),
    [
        (Labelling(2, None, True), 2, None, False),
        (Labelling(2, None, True), 1, None, False),
        (Labelling(2, None, True), 3, None, True),
        (Labelling(2, None, True), 2, "large", True),
        (Labelling(2, "large", True), 2, "large", False),
        (Labelling(2, "large", True), 2, "larger", True),
        (Labelling(2, "large", True), 2, None, False),
        (Labelling(2, None, False), 9, "large", False),
    ],
)
def test_a_row_that_failed_is_tried_again_where_the_job_allows_more(
    known: Labelling, reasks: int, escalate: str | None, again: bool
) -> None:
    """More re-asks than it had, or a model it was not asked of; never a row that has its label."""
    assert more_allowed(known, reasks=reasks, escalate=escalate) == again


def test_what_the_job_allowed_counts_as_tried() -> None:
    """A row that failed early, cut off twice, is not bought again by the same job."""
    rules = LabelRules(ASKING, 5, "large")
    assert Tries(reasks=1, escalated="large").done(rules, invalid=True) == Labelling(5, "large", True)
