"""What a worker process sees of the environment: what it needs, what the job names, and never a key."""

from __future__ import annotations

import pytest

from batch.core import redaction
from batch.tools.confinement import BASICS, Confinement, visible

SECRET = "Zq7kPw3mVx9tRb2c"


def test_it_sees_the_basic_variables_and_the_named_ones() -> None:
    """Nothing else, and nothing that is not set."""
    environ = {
        "PATH": "/bin",
        "HOME": "/h",
        "DATABASE_URL": "db",
        "AWS_PROFILE": "x",
        "PYTHONPATH": "y",
        "LD_PRELOAD": "z",
    }
    assert dict(visible(environ, ["DATABASE_URL", "NOT_SET"], keys=())) == {
        "PATH": "/bin",
        "HOME": "/h",
        "DATABASE_URL": "db",
    }
    assert dict(visible(dict.fromkeys(BASICS, "x"), (), keys=())) == dict.fromkeys(BASICS, "x")


def test_a_key_is_left_out_by_its_name_and_by_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that stands in a variable of another name, or inside of an address."""
    monkeypatch.setattr(redaction, "process", redaction.Masker())
    redaction.hide(SECRET)
    environ = {"ZAI_API_KEY": "other", "COPY": SECRET, "URL": f"https://u:{SECRET}@h/", "TZ": SECRET, "FINE": "fine"}
    assert dict(visible(environ, environ, keys={"ZAI_API_KEY"})) == {"FINE": "fine"}


def test_its_repr_shows_none_of_it() -> None:
    """A traceback with locals prints it."""
    from pathlib import Path

    confinement = Confinement(folder=Path("/"), environment=visible({"PATH": "hidden"}, (), keys=()))
    assert "hidden" not in repr(confinement)
