"""`batch.run.stops`: the sentences a run ends with."""

from __future__ import annotations

import pytest

from batch.core.records import NO_SUCH_PATH, Failure, Outcome, Sums
from batch.http.address import SPEAKS_HTTP, SPEAKS_TLS
from batch.run.stops import EARLY_FAILURES, LATER_FAILURES, Streak, or_without_batches, provider_stop, sentence


@pytest.mark.parametrize(
    ("said", "told"), [("no", "no."), ("no.", "no."), ("why?", "why?"), ("不存在。", "不存在。"), ("cut…", "cut…")]
)
def test_what_others_say_ends_with_one_full_stop(said: str, told: str) -> None:
    """FIELD 48: "model 'x' does not exist The job is at fault"."""
    assert sentence(said) == told


def test_row_after_row_is_told_in_sentences() -> None:
    """FIELD 48: the provider's message, then ours, each with an end."""
    failed = Outcome(
        status="failed",
        sums=Sums(calls=1),
        lane="sync",
        provider="glm",
        model_asked="glm-4",
        settled_at_us=1,
        error_kind="bad_request",
        error_code="1210",
        error_message="bad parameter",
        retryable=False,
    )
    streak = Streak()
    *none, fault = [streak.add(failed) for _ in range(EARLY_FAILURES)]
    assert set(none) == {None}
    assert "failed with bad_request/1210: bad parameter. The job is at fault" in str(fault)


def test_rows_that_a_kill_left_in_doubt_are_no_fault_of_the_job() -> None:
    """As many as there were slots may fail alike, one after the other; the run goes on."""
    doubted = Outcome(
        status="failed",
        sums=Sums(calls=2),
        lane="sync",
        provider="glm",
        model_asked="glm-4",
        settled_at_us=1,
        error_kind="tool",
        error_code="interrupted",
        error_message="it is not known whether it has run",
        retryable=False,
    )
    streak = Streak()
    assert {streak.add(doubted) for _ in range(LATER_FAILURES)} == {None}


def failure(**more: object) -> Failure:
    known = {"kind": "model", "message": "no such thing", "verdict": "stop", "http_status": 404}
    return Failure(**{**known, **more})  # type: ignore[arg-type]  # fields by name


@pytest.mark.parametrize(
    ("failed", "likelier", "advice"),
    [
        (failure(code="model_not_found"), "http://h/v1", "no such thing. Check model.name and what this key may use, then"),
        (failure(code="NotFoundError"), "http://h/v1", "may use, and whether that address is right (base_url is http://h), then"),
        (failure(kind="bad_request", code=NO_SUCH_PATH), "http://h/v1", "Correct base_url, perhaps to http://h/v1, then"),
        (failure(kind="bad_request", code=NO_SUCH_PATH), None, "Check base_url, which is http://h, and model.name, then"),
        (failure(kind="bad_request", wrong_address=True), None, "http://h does not answer as the provider does: no such"),
        (failure(kind="auth", http_status=403), "http://h/v1", "Check the key and its rights, then"),
    ],
)  # fmt: skip
def test_the_advice_of_a_stop_is_about_what_was_refused(failed: Failure, likelier: str | None, advice: str) -> None:
    """FIELD 47: "Check model.name" for a path that is not served."""
    said = str(provider_stop(failed, base_url="http://h", likelier=likelier))
    assert advice in said
    assert said.endswith("then run the same command again.")


@pytest.mark.parametrize("sign", [SPEAKS_HTTP, SPEAKS_TLS])
def test_where_the_scheme_is_wrong_no_other_path_is_advised(sign: str) -> None:
    """FIELD 47: "base_url must begin with http://", and then "perhaps to https://h/api/paas/v4"."""
    failed = failure(kind="transport", message=f"h:80: {sign}", wrong_address=True)
    said = str(provider_stop(failed, base_url="https://h/v1", likelier="https://h/api/paas/v4"))
    assert "perhaps" not in said
    assert "Correct base_url, then run" in said


@pytest.mark.parametrize(("status", "told"), [(403, True), (404, True), (401, False)])
def test_who_is_refused_batch_files_alone_is_told_the_way_without_them(status: int, told: bool) -> None:
    """A key without rights to batches may ask all the same; one that is not known may not."""
    failed = or_without_batches(failure(kind="auth", http_status=status))
    assert ("--lane sync asks the same rows without them" in str(provider_stop(failed, base_url="http://h"))) is told
