"""`batch.submit.targets`: which address an id in the ledger belongs to, whatever became of the job's addresses."""

from __future__ import annotations

import pytest

from batch.money.prices import Prices
from batch.providers import registry
from batch.submit.evidence import Evidence
from batch.submit.targets import Target, stored_parts, target_at


def target(base_url: str, name: str | None = None, *, key: str = "id123456.secret456789") -> Target:
    dialect, _ = registry.dialect("glm", base_url=base_url, key=key)
    evidence = Evidence(base_url, key.encode(), kept=None, keep=lambda _: None)
    return Target(dialect, base_url, Prices.load(), evidence, name=name)


ONE = target("http://one/v4", "first")
SAME_PLACE = target("http://one/v4", "second", key="id123457.secret456780")
OTHER = target("http://two/v4", "third")
TARGETS = {one.name: one for one in (ONE, SAME_PLACE, OTHER)}


@pytest.mark.parametrize(
    ("base_url", "name", "stored"),
    [("http://x/v4", None, "http://x/v4"), ("http://x/v4", "gpu-1", "http://x/v4#gpu-1")],
)
def test_an_address_is_read_back_from_the_ledger_as_it_was(base_url: str, name: str | None, stored: str) -> None:
    """Of a job with one address the ledger has the address alone, as older versions wrote it."""
    assert target(base_url, name).stored == stored
    assert stored_parts(stored) == (base_url, name)


def test_an_id_is_asked_for_at_the_address_and_with_the_key_it_was_made_with() -> None:
    """Two addresses may differ by their keys alone: the name tells them apart."""
    for each in TARGETS.values():
        assert target_at(each.stored, TARGETS, ONE) is each
    assert target_at(None, TARGETS, OTHER) is OTHER, "where nothing was written down"


def test_the_book_tells_an_address_by_its_name_alone() -> None:
    """One that the job has no more is looked for at the usual one: it may be that under another name."""
    assert target_at("#second", TARGETS, ONE) is SAME_PLACE
    assert target_at("#gone", TARGETS, OTHER).base_url == OTHER.base_url


def test_a_name_that_was_given_to_another_address_since_does_not_send_an_id_there() -> None:
    """The address decides: at another one nobody knows the id."""
    found = target_at("http://two/v4#first", TARGETS, ONE)
    assert (found.base_url, found.name, found.dialect) == ("http://two/v4", "first", OTHER.dialect)


def test_an_address_that_the_job_has_no_more_is_asked_all_the_same() -> None:
    """With what is known of the usual one, for an id is asked for where it was made."""
    found = target_at("http://gone/v4", TARGETS, ONE)
    assert (found.base_url, found.name) == ("http://gone/v4", None)
    assert found.dialect is ONE.dialect
    assert found.prices is ONE.prices
