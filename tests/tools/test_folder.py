"""The confined folder: whatever a name says, nothing outside of it is opened, and what is inside is read and written."""

from __future__ import annotations

import ctypes
import itertools
import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from batch.tools.folder import ConfinedFolder, NotInFolder

SECRET = "the secret outside"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with ordinary files and every kind of trap, and a secret beside it."""
    (tmp_path / "outside" / "deep").mkdir(parents=True)
    for secret in ("secret.txt", "outside/secret.txt", "outside/deep/secret.txt", "files.txt", "files2"):
        (tmp_path / secret).write_text(SECRET)
    root = tmp_path / "files"
    (root / "sub" / "deep").mkdir(parents=True)
    (root / "a.txt").write_text("a")
    (root / "sub" / "b.txt").write_text("b")
    (root / "link.txt").symlink_to("../secret.txt")
    (root / "inner.txt").symlink_to("a.txt")
    (root / "dangling.txt").symlink_to("../made.txt")
    (root / "out").symlink_to("../outside")
    (root / "sub" / "up").symlink_to("../..")
    (root / "absolute").symlink_to(tmp_path / "outside")
    (root / "self").symlink_to(".")
    (root / "loop").symlink_to("loop")
    (root / "proc").symlink_to("/proc/self/root")
    os.mkfifo(root / "pipe")
    return root


@pytest.fixture
def opened(root: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Where each file is that is opened, as the system says."""
    found: list[str] = []
    real = os.open

    def watched(*args: Any, **how: Any) -> int:
        number = real(*args, **how)
        found.append(str(Path(f"/proc/self/fd/{number}").readlink()))
        return number

    monkeypatch.setattr(os, "open", watched)
    return found


def hostile_names(root: Path) -> list[str]:
    """Two hundred names and more that a text in a row might have a model ask for."""
    ups = ["..", "../..", "../../../../../..", "./..", "sub/..", "sub/../..", "sub/deep/../../..", "x/../.."]
    ends = ["secret.txt", "outside/secret.txt", "etc/passwd", "files.txt", "files2", "files/../secret.txt", ""]
    names = [f"{up}/{end}" for up, end in itertools.product(ups, ends)]
    links = [
        "link.txt",
        "out/secret.txt",
        "out/deep/secret.txt",
        "sub/up/secret.txt",
        "absolute/secret.txt",
        "proc/etc/passwd",
    ]
    links += ["self/link.txt", "self/self/../secret.txt", "loop", "loop/x", "inner.txt", "dangling.txt", "proc", "out"]
    names += [f"{front}{link}" for front, link in itertools.product(["", "./", "sub/../", ".//", "./././"], links)]
    names += [
        "/etc/passwd",
        "//etc/passwd",
        "/proc/self/environ",
        "/dev/zero",
        "/dev/stdin",
        "~/.ssh/id_rsa",
        "~root/x",
    ]
    names += [
        str(root.parent / "secret.txt"),
        f"/{root}/../secret.txt",
        f"file://{root.parent}/secret.txt",
        "C:\\x",
        "..\\x",
    ]
    names += [
        "%2e%2e/secret.txt",
        "..%2fsecret.txt",
        "%2e%2e%2fsecret.txt",
        "..;/secret.txt",
        "․․/secret.txt",
        "..／secret.txt",
    ]
    names += [
        "a.txt\0",
        "\0",
        "../secret.txt\0.txt",
        "a.txt\n../secret.txt",
        "\n",
        " ",
        ". .",
        "...",
        "..../secret.txt",
    ]
    names += [
        "$(cat ../secret.txt)",
        "`cat ../secret.txt`",
        "a.txt; cat ../secret.txt",
        "| cat ../secret.txt",
        "${HOME}/x",
        "$HOME",
    ]
    names += [
        "a.txt/../../secret.txt",
        "a.txt/..",
        "a.txt/.",
        "a.txt/",
        "sub",
        "sub/",
        "sub/deep",
        ".",
        "./",
        "",
        "pipe",
    ]
    names += [
        "x" * 300,
        "x/" * 600,
        "a/" * 30 + "b",
        "\ud800",
        "sub/\udcff",
        "-rf",
        "--help",
        "*",
        "?",
        "[a-z]",
        "{a,b}",
    ]
    names += [f"{'../' * depth}etc/passwd" for depth in range(1, 25)]
    names += [f"sub/{'deep/' * depth}{'../' * (depth + 2)}secret.txt" for depth in range(1, 20)]
    return names


def test_no_hostile_name_opens_anything_outside(root: Path, opened: list[str], tmp_path: Path) -> None:
    """0 opens outside the folder, read or write; and what lies outside is as it was."""
    names = hostile_names(root)
    assert len(set(names)) >= 200
    before = {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file() and root not in path.parents}
    files, read = ConfinedFolder(root), []
    for name in names:
        for ask in (lambda: files.read(name, most=1_000), lambda: files.write(name, b"x")):  # noqa: B023  called at once
            try:
                read.append(ask())
            except NotInFolder as error:
                assert str(root.parent) not in str(error).replace(repr(name)[1:-1], "")
    assert not [place for place in opened if place != str(root) and not place.startswith(f"{root}/")]
    assert len(opened) > 100
    assert SECRET.encode() not in read
    after = {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file() and root not in path.parents}
    assert after == before


def test_files_are_read_and_written_by_ordinary_names(root: Path) -> None:
    """Folders on the way are made; an existing file is replaced whole; nothing else is left."""
    files = ConfinedFolder(root)
    for name in ("a.txt", "sub/b.txt", "./sub//b.txt", "new.txt", "one/two/三.txt", "a b.txt", "..x", "x..", "a\\b"):
        files.write(name, name.encode())
        assert files.read(name, most=100) == name.encode()
    assert not [path for path in root.rglob(".*") if path.name != "..x"]


def test_the_folder_is_made_when_something_is_written(tmp_path: Path) -> None:
    """Not when something is read."""
    files = ConfinedFolder(tmp_path / "new" / "files")
    with pytest.raises(NotInFolder, match="there is no such file"):
        files.read("a", most=1)
    assert not (tmp_path / "new").exists()
    files.write("a", b"a")
    assert files.read("a", most=1) == b"a"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("gone.txt", "there is no such file"),
        ("link.txt", "a part of it is a link"),
        ("out/secret.txt", "a part of it is"),
        ("sub", "it is no file"),
        ("pipe", "it is no file"),
        ("../secret.txt", "no .. in a name"),
        ("/etc/passwd", "without / in front"),
        ("", "give the name of a file"),
    ],
)
def test_what_is_refused_is_told_to_the_model(name: str, says: str, root: Path) -> None:
    """It can mend the name; a pipe is not waited for."""
    with pytest.raises(NotInFolder, match=says) as caught:
        ConfinedFolder(root).read(name, most=100)
    assert str(root) not in str(caught.value)


def test_a_file_that_is_too_large_is_not_read(root: Path) -> None:
    """It would be sent in every later turn."""
    (root / "large").write_bytes(b"x" * 101)
    with pytest.raises(NotInFolder, match="more than 100 bytes"):
        ConfinedFolder(root).read("large", most=100)
    (root / "large").write_bytes(b"x" * 100)
    assert len(ConfinedFolder(root).read("large", most=100)) == 100


def test_links_and_other_things_are_not_written_over(root: Path, tmp_path: Path) -> None:
    """The link stays, what it points to stays, and nothing is made where it points."""
    files = ConfinedFolder(root)
    with socket.socket(socket.AF_UNIX) as line:
        line.bind(os.path.relpath(root / "sock"))
        for name in ("link.txt", "inner.txt", "dangling.txt", "out", "sub", "pipe", "sock"):
            with pytest.raises(NotInFolder):
                files.write(name, b"x")
    assert (root / "link.txt").is_symlink()
    assert (tmp_path / "secret.txt").read_text() == SECRET
    assert (root / "a.txt").read_text() == "a"
    assert not (tmp_path / "made.txt").exists()


def test_a_folder_that_becomes_a_link_in_the_middle_leads_nowhere(root: Path, tmp_path: Path) -> None:
    """Somebody exchanges them all the time, while files are read and written."""
    swap, fake, stop = root / "swap", root / "fake", threading.Event()
    swap.mkdir()
    (swap / "secret.txt").write_text("inside")
    fake.symlink_to(tmp_path / "outside")
    rename, here, at_once = ctypes.CDLL(None).renameat2, -100, 2  # AT_FDCWD, RENAME_EXCHANGE

    def exchange() -> None:
        while not stop.is_set():
            rename(here, bytes(swap), here, bytes(fake), at_once)

    thread = threading.Thread(target=exchange)
    thread.start()
    files, rounds = ConfinedFolder(root), itertools.count()
    seen: set[bytes] = set()
    try:
        while len(seen) < 2 or next(rounds) < 2_000:
            try:
                seen.add(files.read("swap/secret.txt", most=100))
                files.write("swap/new.txt", b"x")
            except NotInFolder:
                seen.add(b"")
    finally:
        stop.set()
        thread.join()
    assert seen == {b"", b"inside"}
    assert not (tmp_path / "outside" / "new.txt").exists()
