"""The way to an object store: the package that speaks to it, credentials and endpoint, and words for what it refuses.

Owns the connection to S3, Google Cloud Storage and Azure Blob Storage by `obstore`, which is an extra and loaded when
it is first needed, and what a person is told when a request fails. Credentials come from the usual variables and are
masked in every text. It does not know which requests are made (`objects`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final

from batch.core import places, redaction
from batch.core.errors import OutputError, StorageError
from batch.core.places import Place

WRITTEN: Final = "written"
"""What is done to an object under a condition."""
_CONNECT_S: Final = 5
_REQUEST_S: Final = 120
_IDLE_S: Final = 5
"""An idle connection is closed before a store does it, which would be found by a request that fails."""
_SECRETS: Final = (
    "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_SAS_KEY",
    "AZURE_STORAGE_SAS_TOKEN", "AZURE_CLIENT_SECRET", "GOOGLE_SERVICE_ACCOUNT_KEY",
)  # fmt: skip
_UNDER_WAY: Final = ("ConditionalRequestConflict", "OperationAborted")
"""Codes of S3 for a write that met another one of the same object."""
_CREDENTIALS: Final = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}


class Taken(Exception):
    """What a write expected to find was not there: somebody wrote first, or this very write did, unheard."""


class StoreRefused(StorageError):
    """The store does not let us: no bucket, no rights, no credentials. Trying again does not help."""


def loaded(place: Place) -> Any:
    """The client, which is not part of every installation.

    Raises:
        OutputError: it is not installed.
    """
    try:
        import obstore  # noqa: PLC0415 - an extra
    except ImportError as exc:
        raise OutputError(
            f"{place.text}: output in an object store needs the extra `stores`, which is not installed. Run: "
            "pip install 'promptmill[stores]'"
        ) from exc
    return obstore


def connected(place: Place, environ: Mapping[str, str]) -> Any:
    """The client of a bucket, with what the usual variables say of credentials and endpoint.

    Args:
        place: in the bucket.
        environ: usually `os.environ`.
    """
    for variable in _SECRETS:
        if secret := environ.get(variable):
            redaction.hide(secret)
    from obstore import store  # noqa: PLC0415 - an extra

    endpoint = places.endpoint_of(place.scheme, environ)
    how: dict[str, Any] = {
        "client_options": {
            "allow_http": bool(endpoint and endpoint.startswith("http://")),
            "connect_timeout": timedelta(seconds=_CONNECT_S),
            "timeout": timedelta(seconds=_REQUEST_S),
            "pool_idle_timeout": timedelta(seconds=_IDLE_S),
        },
        # Tries are ours to count, and to tell of: of one that was made again unseen, a `Taken` could be its own.
        "retry_config": {"max_retries": 0, "retry_timeout": timedelta(seconds=_REQUEST_S)},
    }
    if place.scheme == "s3":
        region = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or "us-east-1"
        more: dict[str, Any] = {"region": region} | ({"endpoint": endpoint} if endpoint else {})
        return store.S3Store(place.bucket, **more, **how)
    if place.scheme == "gs":
        # An emulator has no accounts, and is told to the client as one.
        nobody = {
            "gcs_base_url": endpoint,
            "disable_oauth": True,
            "client_email": "",
            "private_key": "",
            "private_key_id": "",
        }
        emulated: dict[str, Any] = {"service_account_key": json.dumps(nobody)} if endpoint else {}
        return store.GCSStore(place.bucket, **emulated, **how)
    own: dict[str, Any] = {"endpoint": endpoint} if endpoint else {}
    return store.AzureStore(place.bucket, **own, **how)


def nowhere(place: Place, environ: Mapping[str, str]) -> StoreRefused:
    """What is said when even a new object, or a list, is "not found".

    Args:
        place: in the bucket.
        environ: usually `os.environ`.
    """
    named = next((name for name in places.ENDPOINTS[place.scheme] if environ.get(name)), None)
    where = "" if named is None else f", or what answers at the address in {named} is no object store"
    look = "Look at the name" if named is None else f"Look at the name and at {named}"
    return StoreRefused(f"{place.text}: 404 Not Found: there is no bucket {place.bucket!r}{where}. {look}.")


def passing(exc: BaseException, *, conditional: bool) -> bool:
    """Whether a conflict says nothing of what is there, and the same write may be made again.

    S3 answers 409 while another write of the same object is under way, even one of ours whose answer did not come; and
    a write without a condition has nothing to conflict with.

    Args:
        exc: what the client raised.
        conditional: whether the write had a condition.
    """
    return not conditional or any(code in str(exc) for code in _UNDER_WAY)


def reason(exc: BaseException) -> str:
    """Why a request failed, in a few words: no address and no header of it."""
    text = str(exc)
    code = re.search(r"<Code>(\w+)</Code>", text)
    status = re.search(r"status code: (\d{3}(?: [A-Za-z]+)*)", text)
    system = re.search(r'(?:message|error): "([^"]{3,120})"', text)
    found = [match[1] for match in (code, status, system) if match is not None][:2]
    said = " ".join((text.splitlines() or [""])[0].split()).rpartition(" - ")[2][:120]
    return redaction.redact(", ".join(found) or said or type(exc).__name__)


@contextmanager
def told(place: Place, verb: str, name: str) -> Iterator[None]:
    """Turn what the client says into our own words.

    Args:
        place: which store.
        verb: what was to be done with an object: `written`.
        name: of the object, below the place.

    Raises:
        Taken: the condition of a write did not hold.
        FileNotFoundError: there is no such object.
        StorageError: anything else.
    """
    from obstore import exceptions  # noqa: PLC0415 - an extra

    try:
        yield
    except (exceptions.AlreadyExistsError, exceptions.PreconditionError) as exc:
        if verb == WRITTEN:
            raise Taken from None
        raise _failed(place, verb, name, exc) from exc  # only a write has a condition: it met another request
    except FileNotFoundError as exc:
        if "NoSuchBucket" in str(exc) or "ContainerNotFound" in str(exc) or "bucket does not exist" in str(exc):
            raise StoreRefused(
                f"{place.text}: there is no bucket {place.bucket!r}. Make it, or give another place."
            ) from exc
        raise
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as exc:
        raise StoreRefused(
            f"{place.text}/{name}: cannot be {verb}: {reason(exc)}. The credentials in "
            f"{_CREDENTIALS[place.scheme]} need the right to list, read, write and remove objects there."
        ) from exc
    except (exceptions.BaseError, OSError, ValueError) as exc:
        if "169.254.169.254" in str(exc) or "metadata.google.internal" in str(exc):
            raise StoreRefused(f"{place.text}: there are no credentials. Set {_CREDENTIALS[place.scheme]}.") from exc
        raise _failed(place, verb, name, exc) from exc


def _failed(place: Place, verb: str, name: str, exc: BaseException) -> StorageError:
    return StorageError(
        f"{place.text}/{name}: cannot be {verb}: {reason(exc)}. Look to the network and the store, then run the same "
        "command again: what was published is whole, and no answer is bought twice."
    )
