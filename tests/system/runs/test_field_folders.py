"""An output folder belongs to one job: another is refused, a renamed or moved one is not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from batch.core.errors import OutputError
from batch.job.job import Job
from batch.plan.preflight import check_job
from tests.system.runs.conftest import Make, Mill


def named(mill: Mill, name: str) -> Mill:
    """The same job under another name."""

    class Named(Mill):
        def save(self) -> Path:
            folder = super().save()
            text = (folder / "job.toml").read_text("utf-8")
            (folder / "job.toml").write_text(text.replace('name = "whole"', f'name = "{name}"'), "utf-8")
            return folder

    mill.__class__ = Named
    return mill


def test_the_folder_of_another_job_is_refused_by_name(make: Make) -> None:
    """FIELD 48: the second job closed the first one's run, and their rows stood in one table and changed in turns."""
    first = make()
    first.questions(3)
    assert first.run().exit_code == 0
    second = named(make(sim=first.sim, name="second"), "second")
    second.questions(3, first=10)
    second.out = first.out
    refusal = f"{first.out}: this folder belongs to job 'whole' ({first.folder}), and this is job 'second'."
    with pytest.raises(OutputError, match=f"^{re.escape(refusal)}"):
        second.run()
    with pytest.raises(OutputError, match="belongs to job 'whole'"):
        check_job(Job.load(second.save()), second.environ)
    assert len(first.books()) == 3
    assert first.run().state == "nothing_to_do"


def test_a_job_that_was_only_renamed_goes_on_and_may_change_then(mill: Mill) -> None:
    """FIELD 48: a new name costs nothing; name and question at once could be another job."""
    mill.questions(3)
    assert mill.run().exit_code == 0
    renamed = named(mill, "renamed")
    renamed.user = "B: {{ question }}"
    with pytest.raises(OutputError, match="change the name alone, run it, then the rest"):
        renamed.run()
    renamed.user = "{{ question }}"
    assert renamed.run().totals.calls == 0
    renamed.user = "B: {{ question }}"
    assert renamed.run().totals.rows == 3


def test_a_job_that_was_moved_with_its_folder_goes_on(make: Make, tmp_path: Path) -> None:
    """FIELD 48: the name of a job without one is its folder's."""
    mill = make()
    mill.questions(3)
    assert mill.run().exit_code == 0
    there = mill.folder.rename(tmp_path / "elsewhere")
    moved = named(mill, "elsewhere")
    moved.folder, moved.out = there, there / "out"
    assert moved.run().exit_code == 0
    assert len(moved.books()) == 3, "its rows are known by their content"
