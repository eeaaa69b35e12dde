"""`batch.core.errors`: every exit code has one meaning, and a faulty job tells everything in one go."""

from typing import get_args

import anyio
import pytest

from batch.core import errors


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.BatchError("x"), 70),
        (errors.RefusedToStart("x"), 2),
        (errors.JobError(["x"]), 2),
        (errors.InputError("x"), 2),
        (errors.OutputError("x"), 2),
        (errors.StorageError("x"), 5),
        (errors.BudgetReached("x"), 3),
        (errors.ProviderStop("x"), 6),
        (errors.SystematicFailure("x"), 1),
        (errors.WireError("x", kind="timeout", sent=True), 70),
    ],
)
def test_every_error_ends_with_the_exit_code_of_its_class(error: errors.BatchError, code: int) -> None:
    """Exit codes are a promise to cron jobs."""
    assert error.exit_code == code
    assert isinstance(error, errors.BatchError)


def test_exit_codes_are_all_different() -> None:
    """0 1 2 3 4 5 6 7 70, each with one meaning."""
    codes = {name: getattr(errors, name) for name in vars(errors) if name.startswith("EXIT_")}
    assert sorted(codes.values()) == [0, 1, 2, 3, 4, 5, 6, 7, 70]


def test_a_job_error_tells_every_fault_on_a_line_of_its_own() -> None:
    """Every bad section is reported in one go."""
    error = errors.JobError(["a.b: one", "c: two"], where="jobs/x/job.toml")
    assert str(error) == "jobs/x/job.toml: 2 faults\n  a.b: one\n  c: two"
    assert error.faults == ["a.b: one", "c: two"]
    assert str(errors.JobError(["only"])).startswith("job.toml: 1 fault\n")


def test_the_faults_of_a_job_error_are_its_own() -> None:
    """A list that goes on growing elsewhere must not change what was raised."""
    faults = ["one"]
    error = errors.JobError(faults)
    faults.append("two")
    assert error.faults == ["one"]


def test_failure_kinds_are_a_closed_set_of_plain_words() -> None:
    """They are stored in `error_kind` and grouped by; a renamed one would split every table."""
    kinds = get_args(errors.FailureKind)
    assert len(kinds) == len(set(kinds)) == 20
    assert all(kind.replace("_", "").isalpha() and kind.islower() for kind in kinds)


def test_of_several_exceptions_at_once_the_caller_gets_the_one_raised_on_purpose() -> None:
    """FIELD 46. A group says who waited for whom; the caller wants to know what happened, and what else did."""

    @errors.ungrouped
    async def falling(*fallen: Exception) -> None:
        raise ExceptionGroup("tasks", [ExceptionGroup("inner", list(fallen)), LookupError("c")])

    refused = errors.RefusedToStart("b")
    with pytest.raises(errors.RefusedToStart) as caught:
        anyio.run(falling, ValueError("a"), refused)
    assert caught.value is refused
    assert refused.__notes__ == ["at the same time: ValueError: a", "at the same time: LookupError: c"]
    assert (refused.__context__, refused.__cause__) == (None, None)
    first = ValueError("a")
    with pytest.raises(ValueError, match="a") as other:
        anyio.run(falling, first)
    assert other.value is first


def test_what_each_kind_and_code_means_stands_beside_it() -> None:
    """FIELD 50. The words that `promptmill explain` and `--help` tell are for what there is, no more and no less."""
    assert list(errors.FAILURES) == list(get_args(errors.FailureKind))
    codes = {value for name, value in vars(errors).items() if name.startswith("EXIT_")}
    assert set(errors.EXITS) == codes
