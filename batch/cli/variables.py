"""Options by variables of the environment: PROMPTMILL_MAX_COST is --max-cost.

Owns the rule for their names, the order in which flag, environment and files of variables win, from where each value
came, and what is said of a variable that no command knows. It does not know the options themselves: cyclopts does.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_origin

from batch.cli import envfile
from batch.core import configfolder, failpoints, redaction, statefolder
from batch.core.errors import RefusedToStart
from batch.core.nearest import did_you_mean, nearest
from batch.core.plain import clean

if TYPE_CHECKING:
    from cyclopts import App
    from cyclopts.argument import ArgumentCollection

PREFIX: Final = "PROMPTMILL_"
ENV_FILE: Final = "PROMPTMILL_ENV_FILE"
DEBUG: Final = "PROMPTMILL_DEBUG"

OTHERS: Final[dict[str, str]] = {
    statefolder.VARIABLE: "The folder of what all jobs of a user share: money of the day, limits of a key, tokens. "
    "Without it promptmill in $XDG_STATE_HOME, or ~/.local/state/promptmill. Its files have mode 0600.",
    configfolder.VARIABLE: "The folder whose file env holds variables for every command, such as a key or a default. "
    "Without it promptmill in $XDG_CONFIG_HOME, or ~/.config/promptmill. promptmill never writes there.",
    ENV_FILE: "A file of variables, as --env-file names it. It is read from the environment itself alone.",
    "AWS_ACCESS_KEY_ID": "With AWS_SECRET_ACCESS_KEY, and AWS_SESSION_TOKEN where there is one, the key for s3://. "
    "AWS_REGION says where the bucket is; AWS_ENDPOINT_URL_S3, else AWS_ENDPOINT_URL, names a server of one's own.",
    "AZURE_STORAGE_ACCOUNT_NAME": "With AZURE_STORAGE_ACCOUNT_KEY, the account for az://. AZURE_STORAGE_ENDPOINT "
    "names a server of one's own.",
    "GOOGLE_APPLICATION_CREDENTIALS": "The file with the credentials for gs:// places. STORAGE_EMULATOR_HOST names an "
    "emulator, which needs none.",
    DEBUG: "As --debug, with any command: true or false.",
}
"""The variables of ours that are no option of a command: what each is for."""
_UNTOLD: Final = frozenset({failpoints.VARIABLE, "PROMPTMILL_TOOL_WORKER", "PROMPTMILL_VENV"})
"""Known, and nobody's business but that of the scripts and tests."""
_OF_TESTS: Final = re.compile(r"PROMPTMILL_LONG(_TESTS)?")

_ENVIRONMENT: Final = "environment"
_SECRET: Final = re.compile(r"(^|_)(key|token|secret|password|passwd|pass|credentials?)$", re.IGNORECASE)
_TRUE: Final = frozenset({"1", "true", "t", "yes", "y", "on"})
_FALSE: Final = frozenset({"0", "false", "f", "no", "n", "off"})


OTHERWISE: Final = frozenset(
    {
        ("compare", "--limit"),
        ("cost", "--by"),
        ("cost", "--prices"),
        ("labels", "--by"),
        ("report", "--output"),
        ("simulate", "--port"),
        ("view", "--port"),
    }
)
"""Options that mean something else than those of the same name: a limit for `run` must not shorten what is compared."""


def names(command: str, option: str) -> tuple[str, ...]:
    """The variables of an option: the one of this command alone, which wins, and the one of all that mean the same.

    Args:
        command: its name.
        option: its long name, such as `--max-cost`.
    """
    plain = option.lstrip("-").upper().replace("-", "_")
    own = f"{PREFIX}{command.upper()}_{plain}"
    return (own,) if (command, option) in OTHERWISE else (own, f"{PREFIX}{plain}")


class Variables:
    """The environment of one command line, with the files of variables laid under it.

    Args:
        environ: usually `os.environ`; changed by `lay`, and put back by `take_away`.
    """

    def __init__(self, environ: MutableMapping[str, str] | None = None) -> None:
        self.warnings: list[str] = []
        self.debug = False
        self._environ = os.environ if environ is None else environ
        self._places: dict[str, str] = {}
        self._used: dict[str, str] = {}
        self._laid: list[str] = []

    def lay(self, files: Sequence[str]) -> None:
        """Take over what the files say: those of the command line, the last one first, then that of the config folder.

        Raises:
            RefusedToStart: one of them cannot be read.
        """
        for name in reversed(files or list(filter(None, [self._environ.get(ENV_FILE, "").strip()]))):
            self._lay(Path(name).expanduser())
        if (folder := configfolder.folder(self._environ)) is None:
            return
        with suppress(PermissionError):  # the home is another user's, as under sudo: there is nothing of ours in it
            if (file := folder / configfolder.FILE).exists():
                self._lay(file, option="")

    def take_away(self) -> None:
        """Leave the environment as it was before `lay`."""
        for name in self._laid:
            self._environ.pop(name, None)
        self._laid.clear()

    def is_on(self, name: str) -> bool:
        """Whether a variable that is true or false is true.

        Raises:
            RefusedToStart: it is neither.
        """
        word = self._environ.get(name, "").strip().lower()
        if word and word not in _TRUE | _FALSE:
            raise RefusedToStart(f"{name} ({self.place(name)}): give true or false")
        return word in _TRUE

    def place(self, name: str) -> str:
        """Where a variable stands: the environment, or a line of a file."""
        return self._places.get(name, _ENVIRONMENT)

    def origin(self, option: str) -> str | None:
        """The variable that gave an option its value, and where it stands; None for one that none gave."""
        name = self._used.get(option)
        return None if name is None else f"{name} ({self.place(name)})"

    def used(self) -> dict[str, str]:
        """By option, the variable that gave it its value."""
        return dict(self._used)

    def variable(self, command: str, option: str) -> str | None:
        """The variable that has a value for an option; None when none has."""
        return next((name for name in names(command, option) if self._environ.get(name, "").strip()), None)

    def fill(self, _: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
        """Give the options that no flag gave what the environment has for them; cyclopts calls it.

        Args:
            commands: the command.
            arguments: all that it takes.
        """
        for argument in arguments:
            if not argument.name.startswith("--") or argument.tokens or not commands:
                continue
            name = self.variable(commands[-1], argument.name)
            if name is not None:
                self._give(argument, name)

    def _give(self, argument: Any, name: str) -> None:
        from cyclopts import Token

        text = self._environ[name].strip()
        if argument.hint is bool:
            word = text.lower()
            if word not in _TRUE | _FALSE:
                raise RefusedToStart(f"{name} ({self.place(name)}): {argument.name} is on or off: give true or false")
            values = ["true" if word in _TRUE else "false"]
        elif get_origin(argument.hint) is tuple:
            try:
                values = shlex.split(text)
            except ValueError:
                raise RefusedToStart(f"{name} ({self.place(name)}): has a quote that is not closed") from None
        else:
            values = [text]
        for index, value in enumerate(values):
            argument.append(Token(keyword=name, value=value, source=self.place(name), index=index))
        for option in argument.names:
            self._used[option] = name

    def advice(self, text: str) -> str:
        """Lines for an error that speaks of an option, saying which variable gave it; empty without one."""
        said = [
            f"\n  {option} comes from {self.origin(option)}."
            for option in self._used
            if re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", text) and self._used[option] not in text
        ]
        return "".join(said)

    def warn_of_unknown(self, command: str | None, app: App, every: Iterable[str]) -> None:
        """Add a warning for each variable that begins like ours and that nothing reads.

        Args:
            command: the command that is asked for: what it takes is known, and the others are not loaded.
            app: tells what a command takes.
            every: the names of all commands.
        """
        odd = {name for name in self._environ if name.startswith(PREFIX)} - OTHERS.keys() - _UNTOLD
        odd = {name for name in odd if not _OF_TESTS.fullmatch(name)}
        if odd and command is not None:
            odd -= set(_options(app, [command]))
        if not odd:
            return
        known = list(dict.fromkeys(_options(app, every)))
        # What all of them begin with would make any two alike; the shorter of two as near is the likelier.
        ends = [name.removeprefix(PREFIX) for name in (*OTHERS, *sorted(known, key=len))]
        for name in sorted(odd.difference(known)):
            near = nearest(name.removeprefix(PREFIX), ends)
            hint = did_you_mean([f"{PREFIX}{end}" for end in near]) or "`promptmill explain variables` has all."
            self.warnings.append(f"{clean(name, most=80)} ({self.place(name)}) is read by nothing. {hint}")

    def _lay(self, file: Path, *, option: str = "--env-file ") -> None:
        shown, secret = clean(str(file), most=200), False
        for name, value, line in envfile.read(file, option=option):
            if name == ENV_FILE:
                self.warnings.append(f"{shown}, line {line}: {name} counts in the environment alone; it is left out.")
                continue
            if _SECRET.search(name) and value.strip():
                secret = True
                redaction.hide(value.strip())
            if name not in self._environ:
                self._environ[name] = value
                self._places[name] = f"{shown}, line {line}"
                self._laid.append(name)
        if secret and envfile.open_to_others(file):
            self.warnings.append(
                f"{shown} holds a key, and other users of this machine can read it: chmod 600 {clean(str(file))}"
            )


def _options(app: App, commands: Iterable[str]) -> Iterator[str]:
    """The variables of all options of these commands."""
    for command in commands:
        for argument in app[command].assemble_argument_collection():
            if argument.name.startswith("--"):
                yield from names(command, argument.name)


def split(given: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words of a command line without `--env-file FILE`, and the files.

    Args:
        given: without the program's name.

    Raises:
        RefusedToStart: a name is missing.
    """
    rest: list[str] = []
    files: list[str] = []
    words = iter(given)
    for word in words:
        if word == "--":
            rest += [word, *words]
        elif word == "--env-file" or word.startswith("--env-file="):
            file = next(words, "") if word == "--env-file" else word.partition("=")[2]
            if not file or file.startswith("--"):
                raise RefusedToStart("--env-file needs a value: the path of a file with lines of NAME=value")
            files.append(file)
        else:
            rest.append(word)
    return rest, files


_now: Final = [Variables({})]


def current() -> Variables:
    """Those of the command line that this process is at, or was at last."""
    return _now[0]


def forget() -> None:
    """Let no variable of an earlier command line of this process count any more."""
    _now[0] = Variables({})


def named(name: str) -> str:
    """A variable, and where it stands when that is a file."""
    place = current().place(name)
    return name if place == _ENVIRONMENT else f"{name} ({place})"


@contextmanager
def laid(files: Sequence[str]) -> Iterator[Variables]:
    """The environment with files of variables laid under it, for as long as a command works.

    Args:
        files: those of the command line.

    Raises:
        RefusedToStart: one of them cannot be read.
    """
    _now[0] = variables = Variables()
    try:
        variables.lay(files)
        variables.debug = variables.is_on(DEBUG)
        yield variables
    finally:
        variables.take_away()
