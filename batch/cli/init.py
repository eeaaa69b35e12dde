"""`promptmill init`: writes a working sample job into a new folder.

Owns which samples there are and what becomes of their files: those with an @ name of ours in them get it replaced.
"""

from __future__ import annotations

import shutil
import sys
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Final, Literal, NamedTuple

from cyclopts import Parameter

from batch.cli.text import say
from batch.core.errors import EXIT_OK, OutputError, StorageError
from batch.core.plain import quoted

TemplateName = Literal["tools", "labels", "compare", "nightly", "batches"]


class Template(NamedTuple):
    """A sample job.

    Attributes:
        files: of the package, and their names in a job.
        then: the commands that show what it is about, with the folder of the job as FOLDER.
    """

    files: dict[str, str]
    then: tuple[str, ...] = ()


TEMPLATES: Final[dict[str, Template]] = {
    # `tools.txt` is not called `.py`, because it is no module of ours.
    "tools": Template({"job.toml": "job.toml", "rows.jsonl": "rows.jsonl", "tools.txt": "tools.py"}),
    "labels": Template(
        {"job.toml": "job.toml", "tickets.jsonl": "tickets.jsonl"}, ("promptmill labels FOLDER/out/labels",)
    ),
    "compare": Template(
        {"job.toml": "job.toml", "tickets.jsonl": "tickets.jsonl"}, ("promptmill compare FOLDER/out/compare",)
    ),
    "nightly": Template(
        {
            name: name
            for name in (
                *("job.toml", "in/2026-11-28.jsonl", "in/2026-11-29.jsonl"),
                *("nightly.env", "crontab", "morning.sh"),
            )
        },
        ("sh FOLDER/morning.sh",),
    ),
    "batches": Template(
        {name: name for name in ("job.toml", "in/2026-11-29.jsonl", "nightly.env", "crontab")},
        ("promptmill cost FOLDER/out/batches --by lane",),
    ),
}
_SECRET: Final = frozenset({"nightly.env"})
"""Files that nobody else may read: keys will stand in them."""


def init(
    folder: Annotated[Path, Parameter(negative=())],
    /,
    *,
    template: Annotated[TemplateName, Parameter(negative=())] = "tools",
) -> int:
    """Write a working sample job into a new or empty folder: no key needed, it runs against the simulator.

    Args:
        folder: where to; nothing in it is ever overwritten.
        template: tools: a model that calls functions. labels: labels that are checked, and measured against the truth.
            compare: two prompts over the same rows. nightly: a job for cron, with its crontab line, a file for keys and
            options, and the commands for the morning. batches: batch files at half the price, done by a time that you
            name, with the lanes there are and its crontab line.
    """
    chosen = TEMPLATES[template]
    _refuse_what_is_there(folder, chosen)
    try:
        for source, target in chosen.files.items():
            _write(resources.files("batch.cli") / "samples" / template / source, folder, target)
    except FileExistsError as exc:
        raise OutputError(
            f"{exc.filename}: stands there already; nothing is overwritten. Choose another folder."
        ) from exc
    except OSError as exc:
        raise StorageError(f"{exc.filename or folder}: cannot be written: {exc.strerror}.") from exc
    place = quoted(str(folder))
    say(
        [
            f"{folder}: a job with {', '.join(chosen.files.values())}. In another terminal:",
            "  promptmill simulate",
            "and then here:",
            f"  promptmill run {place}",
            *(f"  {line.replace('FOLDER', place)}" for line in chosen.then),
        ]
    )
    return EXIT_OK


def _write(source: Traversable, folder: Path, name: str) -> None:
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    text = source.read_text(encoding="utf-8")
    # "x": a file that appears in this very moment is not overwritten either.
    with target.open("x", encoding="utf-8") as file:
        if name in _SECRET:
            target.chmod(0o600)
        ours = {"@FOLDER@": str(folder.absolute()), "@PROMPTMILL@": _program()}
        for word, path in ours.items():
            # In a crontab a % begins the input of the command.
            text = text.replace(word, quoted(path).replace("%", r"\%") if name == "crontab" else quoted(path))
        file.write(text)


def _program() -> str:
    """The path of this command: cron finds no program that is in an environment of its own."""
    beside = Path(sys.executable).with_name("promptmill")
    return str(beside) if beside.exists() else shutil.which("promptmill") or "promptmill"


def _refuse_what_is_there(folder: Path, chosen: Template) -> None:
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder}: is a file; give a folder that does not exist yet.")
    existing = [name for name in chosen.files.values() if (folder / name).exists()]
    if existing:
        raise OutputError(
            f"{folder}: has {', '.join(existing)} already; nothing is overwritten. Choose another folder."
        )
