"""`batch.tokens.calibration`: what answers taught is kept for later runs, and whatever is wrong with it stops nothing."""

from __future__ import annotations

import stat
import subprocess
import sys
from datetime import date
from pathlib import Path

import msgspec
import pytest

from batch.core.errors import StorageError
from batch.tokens import measure
from batch.tokens.calibration import FILE, Answers, Calibration, Notes, name_of
from batch.tokens.model import TokenModel
from tests.support.processes import ROOT

DAY = date(2026, 11, 29)
SIZE = measure.of_request([{"role": "user", "content": "Where is my parcel, please?"}])


def notes(answers: int, tokens: int = 20) -> Notes:
    """What so many answers to one and the same request taught."""
    found = Notes()
    for _ in range(answers):
        found.learned.learn(SIZE, tokens)
        found.of("text").add_call(tokens, 5, first=True)
    return found


def test_what_one_run_learned_the_next_one_knows(tmp_path: Path) -> None:
    """In a file that nobody else can read, in a folder that is made for it."""
    state = tmp_path / "state"
    Calibration.load(state).add({"glm/glm-4": notes(50)}, DAY)
    assert stat.S_IMODE((state / FILE).stat().st_mode) == 0o600
    kept = Calibration.load(state)
    assert kept.trouble is None
    known = kept.of("glm/glm-4")
    assert known is not None
    assert known.on == "2026-11-29"
    assert TokenModel(known.learned).likely(SIZE) == pytest.approx(20, abs=0.5)
    assert known.answers["text"] == Answers(50, 50, 1_000, 1_000, 250, 1_250)
    assert kept.of("glm/glm-4.7") is None


def test_what_is_learned_adds_up_and_old_answers_fade(tmp_path: Path) -> None:
    """A model of a month ago and one of today under the same name: today's answers soon count."""
    kept = Calibration.load(tmp_path)
    for _ in range(3):
        kept.add({"m": notes(3_000)}, DAY)
    found = kept.of("m")
    assert found is not None
    assert found.learned.answers == 5_000
    assert found.answers["text"].calls == pytest.approx(5_000)
    assert found.answers["text"].completion_tokens / found.answers["text"].calls == pytest.approx(5)


@pytest.mark.slow
def test_several_processes_that_add_at_once_lose_nothing(tmp_path: Path) -> None:
    """Twelve runs end in the same second."""
    program = (
        "import sys\nfrom pathlib import Path\nfrom tests.tokens.test_calibration import DAY, notes\n"
        "from batch.tokens.calibration import Calibration\n"
        "for number in range(20):\n    Calibration.load(Path(sys.argv[1])).add({'m': notes(1)}, DAY)\n"
    )
    started = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], cwd=ROOT) for _ in range(3)]
    assert [process.wait(60) for process in started] == [0, 0, 0]
    found = Calibration.load(tmp_path).of("m")
    assert found is not None
    assert found.learned.answers == 60


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b'{"form": 2, "models": {}}',
        b'{"form": 1, "models": {"m": {"learned": {"answers": 3, "products": [1], "tokens": [], "squares": 1}}}}',
        b'{"form": 1, "models": {"m": {"answers": {"text": 5}}}}',
        b"[" * 100_000,
    ],
)
def test_a_damaged_file_counts_as_empty_is_told_and_is_written_anew(content: bytes, tmp_path: Path) -> None:
    """Half a file, another version's, other numbers: an estimate begins anew, and nothing else happens."""
    (tmp_path / FILE).write_bytes(content)
    kept = Calibration.load(tmp_path)
    assert kept.of("m") is None
    assert kept.trouble is not None
    assert str(tmp_path / FILE) in kept.trouble
    kept.add({"m": notes(1)}, DAY)
    again = Calibration.load(tmp_path)
    assert again.trouble is None
    assert again.of("m") is not None


def test_a_file_that_cannot_be_read_counts_as_empty_and_a_place_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    """The run that meets it goes on; see `run.learning`."""
    (tmp_path / FILE).mkdir()
    kept = Calibration.load(tmp_path)
    assert kept.of("m") is None
    assert kept.trouble is not None
    with pytest.raises(StorageError, match="PROMPTMILL_STATE"):
        kept.add({"m": notes(1)}, DAY)


def test_without_a_state_folder_nothing_is_known_and_nothing_kept() -> None:
    """A program that is given an environment without a home folder writes nowhere."""
    kept = Calibration.load(None)
    kept.add({"m": notes(1)}, DAY)
    assert kept.of("m") is None
    assert kept.trouble is None


def test_models_that_were_asked_longest_ago_are_forgotten(tmp_path: Path) -> None:
    """A server that makes up model names does not fill the disk."""
    kept = Calibration.load(tmp_path)
    kept.add({"old": notes(1)}, date(2026, 1, 1))
    kept.add({f"m{number}": Notes() for number in range(500)}, DAY)
    assert kept.of("old") is None
    assert kept.of("m499") is not None


def test_no_text_of_anybody_is_kept(tmp_path: Path) -> None:
    """Counts and names of models."""
    Calibration.load(tmp_path).add({"m": notes(3)}, DAY)
    document = msgspec.json.decode((tmp_path / FILE).read_bytes())
    assert document["models"].keys() == {"m"}
    assert b"parcel" not in (tmp_path / FILE).read_bytes()


@pytest.mark.parametrize(
    ("base_url", "usual", "name"),
    [
        ("https://open.bigmodel.cn/api/paas/v4", "https://open.bigmodel.cn/api/paas/v4", "glm/m"),
        ("https://open.bigmodel.cn/other", "https://open.bigmodel.cn/api/paas/v4", "glm/m"),
        ("http://127.0.0.1:8311/v4", "https://open.bigmodel.cn/api/paas/v4", "glm@127.0.0.1/m"),
        ("http://10.0.0.7:8000/v1", None, "glm@10.0.0.7/m"),
    ],
)
def test_the_same_model_elsewhere_is_another_one(base_url: str, usual: str | None, name: str) -> None:
    """What the simulator counts says nothing of the service that it stands for."""
    assert name_of("glm", "m", base_url, usual) == name
