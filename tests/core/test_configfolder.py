"""Where the config folder is."""

from __future__ import annotations

from pathlib import Path

import pytest

from batch.core import configfolder


@pytest.mark.parametrize(
    ("environ", "place"),
    [
        ({"PROMPTMILL_CONFIG": "/srv/mill", "XDG_CONFIG_HOME": "/xdg", "HOME": "/home/a"}, "/srv/mill"),
        ({"XDG_CONFIG_HOME": "/xdg", "HOME": "/home/a"}, "/xdg/promptmill"),
        ({"XDG_CONFIG_HOME": "relative", "HOME": "/home/a"}, "/home/a/.config/promptmill"),
        ({"PROMPTMILL_CONFIG": "", "HOME": "/home/a"}, "/home/a/.config/promptmill"),
    ],
)
def test_it_is_where_the_environment_says(environ: dict[str, str], place: str) -> None:
    """Our own variable first, then the XDG one, which must be absolute, then the home."""
    assert configfolder.folder(environ) == Path(place)


def test_without_a_home_there_is_none() -> None:
    """A service without a home has no config, and that is no error."""
    assert configfolder.folder({}) is None
