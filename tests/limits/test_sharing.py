"""`batch.limits.sharing`: which budgets a run joins, and what it says where it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from batch.core.clock import HandClock
from batch.limits import poolfile
from batch.limits.limiter import Limiter
from batch.limits.sharing import Sharing


def joined(folder: Path | None, clock: HandClock, key: str = "key") -> tuple[Sharing, Limiter]:
    limiter = Limiter(clock, concurrency=4, requests_per_minute=60.0)
    sharing = Sharing(folder, clock, job="a job")
    for name in ("m", "n"):
        sharing.join(limiter.model(name), ("http://x/v1", key, name), job_rates=limiter.rates, concurrency=None)
    return sharing, limiter


def test_jobs_of_one_key_share_and_those_of_another_do_not(tmp_path: Path) -> None:
    clock = HandClock()
    one, _ = joined(tmp_path, clock)
    other, _ = joined(tmp_path, clock, key="another")
    third, _ = joined(tmp_path, clock)
    clock.advance(0.6)
    for sharing in (one, other, third):
        for budget in sharing.budgets:
            budget.keep()
    assert (one.others, other.others, third.others) == (1, 0, 1)
    third.leave()
    clock.advance(0.6)
    for budget in one.budgets:
        budget.keep()
    assert one.others == 0


def test_it_leaves_no_member_behind(tmp_path: Path) -> None:
    sharing, _ = joined(tmp_path, HandClock())
    sharing.leave()
    assert not list(tmp_path.rglob("*.member"))


@pytest.mark.parametrize("where", ["nowhere", "a file", "another machine"])
def test_where_the_folder_cannot_be_used_it_says_so_once_and_goes_on_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    folder: Path | None = None if where == "nowhere" else tmp_path / "state"
    if where == "a file":
        (tmp_path / "state").write_text("no folder")
    if where == "another machine":
        monkeypatch.setattr(poolfile, "remote", lambda _: "nfs4")
    sharing, limiter = joined(folder, HandClock())
    assert sharing.others is None
    assert limiter.model("m").wait(None) == 0
    (told,) = (text for text in caplog.messages if "limits_not_shared" in text)
    assert {"nowhere": "names no place", "a file": "Not a directory", "another machine": "nfs4"}[where] in told
