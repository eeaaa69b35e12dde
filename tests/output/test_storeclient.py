"""`batch.output.storeclient`: what a person is told when an object store refuses."""

from __future__ import annotations

import pytest
from obstore import exceptions

from batch.core.errors import StorageError
from batch.core.places import Place
from batch.output import storeclient
from batch.output.storeclient import StoreRefused, Taken

PLACE = Place("s3", "jobs", "out")


@pytest.mark.parametrize(
    ("raised", "told", "words"),
    [
        (exceptions.AlreadyExistsError("<Code>OperationAborted</Code>"), StorageError, "read: OperationAborted."),
        (FileNotFoundError("<Code>NoSuchBucket</Code>"), StoreRefused, "there is no bucket 'jobs'"),
        (exceptions.PermissionDeniedError("<Code>AccessDenied</Code>"), StoreRefused, "AWS_ACCESS_KEY_ID and AWS_SEC"),
        (exceptions.GenericError("http://169.254.169.254/latest"), StoreRefused, "there are no credentials. Set AWS"),
        (exceptions.GenericError("<Code>SlowDown</Code>"), StorageError, "s3://jobs/out/a: cannot be read: SlowDown."),
        (OSError("broken pipe"), StorageError, "run the same command again"),
    ],
)
def test_each_fault_is_told_as_what_it_is(raised: Exception, told: type[Exception], words: str) -> None:
    with pytest.raises(told) as found, storeclient.told(PLACE, "read", "a"):
        raise raised
    assert type(found.value) is told
    assert words in str(found.value)


@pytest.mark.parametrize("raised", [exceptions.AlreadyExistsError("x"), exceptions.PreconditionError("x")])
def test_a_write_whose_condition_did_not_hold_is_told_as_that(raised: Exception) -> None:
    with pytest.raises(Taken), storeclient.told(PLACE, "written", "a"):
        raise raised


def test_an_object_that_is_not_there_is_left_to_the_caller() -> None:
    with pytest.raises(FileNotFoundError), storeclient.told(PLACE, "read", "a"):
        raise FileNotFoundError("<Code>NoSuchKey</Code>")


def test_a_bucket_that_is_nowhere_is_looked_for_where_the_environment_says() -> None:
    assert str(storeclient.nowhere(PLACE, {})).endswith("there is no bucket 'jobs'. Look at the name.")
    said = str(storeclient.nowhere(PLACE, {"AWS_ENDPOINT_URL": "http://user:pass@host"}))
    assert said.endswith("Look at the name and at AWS_ENDPOINT_URL.")
    assert "pass" not in said


def test_a_reason_has_no_address_and_no_header() -> None:
    text = (
        "Error performing PUT http://h/b?X-Amz-Signature=abc in 1s - Server returned non-2xx status code: 403 Forbidden"
    )
    assert storeclient.reason(exceptions.GenericError(text)) == "403 Forbidden"
