"""Files of variables: their form, and errors that show nothing of what is in them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.cli import envfile
from batch.core.errors import RefusedToStart

SECRET = "Zq7kPw3mVx9tRb2c"


def values(tmp_path: Path, text: str | bytes) -> dict[str, str]:
    file = tmp_path / "some.env"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return {name: value for name, value, _ in envfile.read(file)}


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=b", "b"),
        ("export A=b", "b"),
        ("  A = b c  ", "b c"),
        ("A=", ""),
        ("A=b # comment", "b"),
        ("A=b#c", "b#c"),
        ("A=#c", ""),
        ("A='b # \"c\" $D \\n'", 'b # "c" $D \\n'),
        ('A="b # c" # comment', "b # c"),
        ('A="b\\n\\t\\"\\\\c"', 'b\n\t"\\c'),
        ('A="b\nc"', "b\nc"),
        ("A=$HOME/x", "$HOME/x"),
        ("A=postgres://u:p@h/d?x=1", "postgres://u:p@h/d?x=1"),
        ("A=问候", "问候"),
        ("A='b'# comment", "b"),
    ],
)
def test_a_line_is_read_as_it_is_meant(line: str, value: str, tmp_path: Path) -> None:
    """Quotes, comments, export, blanks; nothing is expanded."""
    assert values(tmp_path, line) == {"A": value}
    assert values(tmp_path, f"# first\n\n{line}\nB=2\n") == {"A": value, "B": "2"}


def test_a_file_from_windows_is_read_as_any_other(tmp_path: Path) -> None:
    """A byte order mark and CRLF, in values of several lines too."""
    assert values(tmp_path, b'\xef\xbb\xbfA="b\r\nc"\r\nexport D=e\r\n') == {"A": "b\nc", "D": "e"}


def test_a_name_that_stands_twice_has_its_last_value(tmp_path: Path) -> None:
    """As in a shell."""
    file = tmp_path / "some.env"
    file.write_text("A=1\nB=2\nA=3\n")
    assert sorted(envfile.read(file)) == [("A", "3", 3), ("B", "2", 2)]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"A=1\n{SECRET}\n", 2),
        (f"1A={SECRET}", 1),
        (f'A="{SECRET}', 1),
        (f"A='{SECRET}\n'", 1),
        (f"A='b' {SECRET}", 1),
        (f"A=\0{SECRET}", 1),
        (f"\n\nset A {SECRET}", 3),
        (b"A=1\nB=\xff" + SECRET.encode(), 2),
    ],
)
def test_a_line_that_is_wrong_is_named_by_its_number_and_never_shown(
    text: str | bytes, line: int, tmp_path: Path
) -> None:
    """Most such lines have a key in them."""
    with pytest.raises(RefusedToStart, match=rf"some\.env, line {line}: .*") as caught:
        values(tmp_path, text)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


def test_what_is_no_file_of_variables_is_refused_with_the_way_out(tmp_path: Path) -> None:
    """A name that is misspelt, a folder, a video."""
    (tmp_path / "large").write_bytes(b"A" * (envfile.MOST_BYTES + 1))
    for name, said in (("nix", "no such file"), (".", "is a folder"), ("large", "larger than 1 MB")):
        with pytest.raises(RefusedToStart, match=rf"^--env-file .*{re.escape(name)}.*{said}"):
            envfile.read(tmp_path / name if name != "." else Path())


@given(st.text(st.characters(min_codepoint=1, max_codepoint=0x2FFF, exclude_characters="\r'"), max_size=40))
def test_any_value_in_single_quotes_comes_back_whole(tmp_path_factory: pytest.TempPathFactory, value: str) -> None:
    """But for line breaks, which go into double quotes."""
    value = value.replace("\n", " ")
    folder = tmp_path_factory.mktemp("env")
    assert values(folder, f"A='{value}'") == {"A": value}
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    assert values(folder, f'A="{escaped}"') == {"A": value}


@pytest.mark.slow
def test_the_same_file_says_the_same_to_a_shell(tmp_path: Path) -> None:
    """Who sources it today may go on doing so, as long as no value has a $ or a backquote."""
    text = "# c\nexport A='b c'\nD=\"e # f\"\nG=h # i\nJ=\n"
    (tmp_path / "some.env").write_text(text)
    line = 'set -a; . ./some.env; printf "%s|" "$A" "$D" "$G" "$J"'
    said = subprocess.run(["/bin/sh", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert said.stdout.split("|")[:-1] == [value for _, value, _ in envfile.read(tmp_path / "some.env")]


def test_it_is_told_whether_others_can_read_a_file(tmp_path: Path) -> None:
    """A key in it is everybody's then."""
    file = tmp_path / "some.env"
    file.write_text("A=b")
    file.chmod(0o600)
    assert not envfile.open_to_others(file)
    file.chmod(0o640)
    assert envfile.open_to_others(file)
    assert not envfile.open_to_others(tmp_path / "nix")
