"""What stands in an input is never a bug of ours: a row's failure, or a refusal with place and way out."""

from __future__ import annotations

from pathlib import Path

import pytest

from batch.cli import main
from tests.simulator.conftest import Start, start
from tests.support.hostile import MORE, ROWS, WHOLE, Hostile
from tests.support.longer import longer

__all__ = ["start"]

KEY = "0123456789abcdef0123456789abcdef.Zq7kPw3mVx9tRb2c"


def test_there_are_sixty_of_them() -> None:
    """FIELD 38. Each of another kind."""
    names = [case.name for case in WHOLE + ROWS]
    assert len(set(names)) == len(names) >= 60


@pytest.mark.parametrize("case", [*WHOLE, *ROWS, *MORE], ids=lambda case: case.name)
def test_a_hostile_file_is_told_with_place_and_way_out(
    case: Hostile, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """FIELD 38. `check --full` reads as a run does: exit 2, or the rows that will fail; never 70."""
    monkeypatch.setenv("ZHIPUAI_API_KEY", KEY)
    code = main(["check", str(case.write(tmp_path)), "--full"])
    said = "".join(capsys.readouterr())
    assert code == case.code or (case.code < 0 and code in (0, 1, 2)), said
    assert [text for text in case.says if text not in said] == [], said


@pytest.mark.parametrize("case", [WHOLE[0], *ROWS[:2], *longer([*WHOLE[1:], *ROWS[2:]])], ids=lambda case: case.name)
def test_a_run_over_a_hostile_file_ends_as_its_check_said(
    case: Hostile, tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows that can be asked are asked; the command after it has nothing to do, or refuses as well."""
    monkeypatch.setenv("ZHIPUAI_API_KEY", KEY)
    sim = start("[latency]\nchat_ms = [0, 0]\n")
    url = f"model.base_url=http://127.0.0.1:{sim.port}/api/paas/v4"
    command = ["run", str(case.write(tmp_path)), "--progress", "none", "--set", url]
    assert main(command) == case.code
    assert main(command) == (case.code if case.code == 2 else 0)
    asked = sum(record["route"] == "chat" for record in sim.books())
    assert (asked > 0) is (case.code != 2)
