"""`promptmill --install-completion`: lets a shell complete commands, options, their words and paths.

Owns what is completed and where each shell looks for it. It writes one file of its own, and changes none of the user's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, get_args

from batch.cli.completion_scripts import SCRIPTS, Command, Option, Shell, Takes
from batch.cli.text import say
from batch.core.durable import AtomicFile
from batch.core.errors import EXIT_OK, RefusedToStart, StorageError
from batch.core.plain import quoted

FLAG: Final = "--install-completion"
_TEXT: Final = 60
"""Characters of what is said beside a name."""


def install(words: Sequence[str], environ: Mapping[str, str]) -> int:
    """Write the completion of one shell to where it looks for it, and say what is left to do.

    Args:
        words: the rest of the command line: the shell, or nothing for the one in `$SHELL`.
        environ: usually `os.environ`.

    Raises:
        RefusedToStart: the shell is none that is known.
        StorageError: the disk refused.
    """
    shell = _shell(words, environ)
    path = place(shell, environ)
    file = AtomicFile(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file.open().write(script(shell).encode())
        file.commit()
    except OSError as exc:
        file.abandon()
        raise StorageError(f"{path}: cannot be written: {exc.strerror or exc}.") from exc
    folder = quoted(str(path.parent))
    then = {
        "bash": [
            "New shells have it, if the package bash-completion is there. If not, add this line to ~/.bashrc:",
            f"  . {quoted(str(path))}",
        ],
        "zsh": [
            "New shells have it, if this line stands in ~/.zshrc, before compinit is called:",
            f"  fpath=({folder} $fpath)",
        ],
        "fish": ["New shells have it."],
    }
    say(
        [f"{path}: the completion of {shell}.", *then[shell], "After an update of promptmill, give this command again."]
    )
    return EXIT_OK


def place(shell: Shell, environ: Mapping[str, str]) -> Path:
    """Where a shell looks for completions of this user.

    Args:
        shell: which one.
        environ: usually `os.environ`.
    """
    home = Path(environ.get("HOME") or Path.home())
    data = Path(environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    return {
        "bash": data / "bash-completion" / "completions" / "promptmill",
        "zsh": data / "zsh" / "site-functions" / "_promptmill",
        "fish": config / "fish" / "completions" / "promptmill.fish",
    }[shell]


def script(shell: Shell) -> str:
    """The completion of a shell, as text."""
    anywhere = [*_anywhere(), Option((FLAG,), "choice", get_args(Shell), "let this shell complete promptmill", False)]
    return SCRIPTS[shell](list(_commands()), [*anywhere, _flag("--version", "show the version")])


def _shell(words: Sequence[str], environ: Mapping[str, str]) -> Shell:
    known: tuple[Shell, ...] = get_args(Shell)
    asked = words[0] if len(words) == 1 else "" if words else Path(environ.get("SHELL", "")).name
    for shell in known:
        if shell == asked:
            return shell
    what = f"{FLAG} {' '.join(words)}" if words else f"{FLAG}: the shell in $SHELL is {asked or 'not named'}"
    raise RefusedToStart(f"{what}: there is a completion for {', '.join(known)}: name one of them")


def _commands() -> Iterator[Command]:
    from batch.cli.app import COMMANDS, make_app

    app = make_app()
    for name, (_, text) in COMMANDS.items():
        arguments = app[name].assemble_argument_collection(parse_docstring=True)
        options = (*(_option(one) for one in arguments if one.name.startswith("-")), *_anywhere())
        paths = any(_is_path(one) for one in arguments if not one.name.startswith("-"))
        yield Command(name, _short(text), options, paths, _topics() if name == "explain" else ())


def _option(argument: Any) -> Option:
    choices = tuple(map(str, argument.get_choices() or ()))
    takes: Takes = "choice" if choices else "path" if _is_path(argument) else "text"
    takes = "nothing" if argument.hint is bool else takes
    several = argument.token_count()[1]
    return Option(argument.names, takes, choices, _short(str(argument.parameter.help or "")), several)


def _is_path(argument: Any) -> bool:
    return any(kind is Path for kind in (argument.hint, *get_args(argument.hint)))


def _anywhere() -> Iterator[Option]:
    from batch.cli.app import DEBUG, ENV_FILE

    yield Option(("--env-file",), "path", (), _short(ENV_FILE), True)
    yield _flag("--debug", _short(DEBUG))
    yield _flag("--help", "show what there is")


def _flag(name: str, text: str) -> Option:
    return Option((name,), "nothing", (), text, False)


def _topics() -> tuple[str, ...]:
    """What `explain` may be asked: the groups, the commands, and the keys of a job."""
    from batch.cli.app import COMMANDS
    from batch.job.keys import all_keys

    groups = ("keys", "columns", "flags", "errors", "exits", "variables", "words", "simulator")
    return (*groups, *COMMANDS, *(key.name for key in all_keys()))


def _short(text: str) -> str:
    """The first words of a text, whole ones."""
    words = " ".join(text.split()).rstrip(".")
    return words if len(words) <= _TEXT else f"{words[:_TEXT].rsplit(' ', 1)[0].rstrip(',;:')} …"
