"""The program `promptmill`: its list of commands, and how an error becomes a message and an exit code.

Commands are named by module and loaded when called, so that `--help` imports neither Arrow nor an HTTP client. Owns
the one place where exceptions end: the text of an error raised on purpose is shown as it is, everything else is shown
as a bug of ours.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TextIO, get_args, get_origin

from batch.cli.text import Unread, columns, is_gone, say, wrapped
from batch.core import errors, openfiles, process
from batch.core.errors import BatchError
from batch.core.plain import clean
from batch.core.version import VERSION

if TYPE_CHECKING:
    from cyclopts import App

DEBUG: Final = "show the traceback of an unexpected error."
ENV_FILE: Final = (
    "lines of NAME=value, keys and options, under those of the environment; may be repeated, the last one wins."
)

COMMANDS: Final = {
    "init": ("batch.cli.init:init", "Write a working sample job into a new folder."),
    "check": ("batch.cli.check:check", "Validate a job and show its first prompts; sends nothing."),
    "estimate": (
        "batch.cli.estimate:estimate",
        "What the next run will take: rows, tokens, money, time; --sample buys a few rows.",
    ),
    "run": ("batch.cli.run:run", "Run a job, or continue it: answers land in the output folder."),
    "doctor": ("batch.cli.doctor:doctor", "What of this machine, or for a job, would stop a run, and the way out."),
    "status": ("batch.cli.status:status", "Where an output folder stands: rows, calls, money, failures."),
    "show": ("batch.cli.show:show", "One row whole: input, conversation, calls, cost, error."),
    "labels": (
        "batch.cli.labels:labels",
        "What labels are worth: distribution, agreement, accuracy, drift.",
    ),
    "compare": ("batch.cli.compare:compare", "Where several models or prompts over the same rows differ."),
    "view": ("batch.cli.view:view", "Look at output folders in a browser, live: rows, labels, money."),
    "export": ("batch.cli.export:export", "The table as CSV, XLSX or JSONL, for a spreadsheet."),
    "report": ("batch.cli.report:report", "One HTML file to read, send and print: outcome, money, plots."),
    "rebuild": ("batch.cli.rebuild:rebuild", "Make a ledger that is lost or old again, from results and calls."),
    "prune": ("batch.cli.prune:prune", "Take rows out of the table that are not in the input any more."),
    "prices": ("batch.cli.prices:prices", "What models cost, by band, tier and hour; whence and since when."),
    "tools": ("batch.cli.tools:tools", "The tools the model will see; call one by hand."),
    "simulate": ("batch.cli.simulate:simulate", "The provider on your own machine: no key, no money."),
    "cost": ("batch.cli.cost:cost", "What calls have cost: by day, model, team; other prices; against a bill."),
    "explain": ("batch.cli.explain:explain", "What any key, column, flag, error, exit code or word means."),
}

_ALL: Final = ", ".join(COMMANDS)
_HELP: Final = "Turns a file of prompts into a file of answers, at any size, with every token accounted for."
_VARIABLES: Final = (
    "Every option also has a variable: --max-cost is PROMPTMILL_MAX_COST. `promptmill explain variables` has them all."
)
_COMPLETION: Final = "--install-completion [SHELL], alone: let bash, zsh or fish complete all of this."
_ASKED_FOR_HELP: Final = (["--help"], ["-h"])
_ASKS: Final = frozenset({"--help", "-h", "--version"})


def _list_commands() -> None:
    """Print what `--help` says of the program, as cyclopts would; loading it takes three times as long as all the rest.

    Raises:
        Unread: nobody reads it.
        StorageError: the disk refused.
    """
    rows = [(name, summary) for name, (_, summary) in COMMANDS.items()]
    rows += [("--help, -h", "Display this message and exit."), ("--version", "Display application version.")]
    say(
        [
            "Usage: promptmill COMMAND",
            "",
            *wrapped(_HELP),
            "",
            "Commands:",
            *columns(rows),
            "",
            *_epilogue().split("\n"),
        ]
    )


def _epilogue() -> str:
    """What stands below the list of commands, as wide as the terminal."""
    codes = columns([(str(code), text) for code, text in errors.EXITS.items()])
    named = wrapped("JOB is a job folder or its job.toml; OUT is the output folder of a run.")
    anywhere = [
        f"--debug, with any command: {DEBUG}",
        f"--env-file FILE, with any command: {ENV_FILE}",
        _VARIABLES,
        _COMPLETION,
    ]
    return "\n".join([*named, *(line for text in anywhere for line in wrapped(text)), "", "Exit codes:", *codes])


def make_app(asked: str | None = None, fill: Callable[..., None] | None = None) -> App:
    """The application with all its commands, none of them loaded.

    Args:
        asked: the command whose help may be asked for: it tells all of its docstring, the others their summary here.
        fill: gives the options that no flag gave a value from elsewhere.
    """
    from cyclopts import App

    from batch.cli.help import Formatter

    app = App(
        name="promptmill",
        help=_HELP,
        help_epilogue=_epilogue(),
        help_format="plaintext",
        help_formatter=Formatter(),
        version=VERSION,
        print_error=False,
        exit_on_error=False,
        suppress_keyboard_interrupt=False,
        result_action="return_value",
        config=None if fill is None else (fill,),
    )
    for position, (name, (target, summary)) in enumerate(COMMANDS.items()):
        said = {} if name == asked else {"help": summary}
        app.command(target, name=name, sort_key=position, help_epilogue="", **said)
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; never raises.

    Args:
        arguments: without the program's name; the process's own by default.
    """
    openfiles.raise_to(openfiles.USUAL)
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = False
    if given[:1] != ["explain"]:  # there it is a topic
        debug = "--debug" in given
        given = [argument for argument in given if argument != "--debug"]
    for stream in (sys.stdout, sys.stderr):
        # Model text holds characters that a terminal's own encoding may not have.
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # not every TextIO has it
    try:
        code = errors.EXIT_OK
        if given in _ASKED_FOR_HELP:
            _list_commands()
        else:
            code = _obey(given)
    except BaseException as exc:
        code = _usage(exc, given) if _is_about_usage(exc) else _fallen(exc, debug=debug or _debugs())
    process.ends_with(code)
    return _flushed(code)


def _obey(given: list[str]) -> int:
    """Do what a command line says, with its files of variables and the environment, and return the exit code."""
    from batch.cli import variables

    variables.forget()
    if given[:1] == ["explain"] or _ASKS.intersection(given):
        result = make_app(_command(given))(given)  # a mistake in a file of variables does not keep help away
        return result if isinstance(result, int) else errors.EXIT_OK
    words, files = variables.split(given)
    if words[:1] == ["--install-completion"]:
        from batch.cli import completion

        return completion.install(words[1:], os.environ)
    with variables.laid(files) as current:
        command = _command(words)
        app = make_app(command, current.fill)
        current.warn_of_unknown(command, app, COMMANDS)
        for text in current.warnings:
            _say(text)
        result = app(words)
    return result if isinstance(result, int) else errors.EXIT_OK


def _debugs() -> bool:
    """Whether a variable asks for tracebacks."""
    from batch.cli import variables

    return variables.current().debug


def _command(given: Sequence[str]) -> str | None:
    return next((word for word in given if word in COMMANDS), None)


def _is_about_usage(exc: BaseException) -> bool:
    """Whether an exception is cyclopts's word on the command line."""
    if "cyclopts" not in sys.modules:
        return False
    from cyclopts import CycloptsError

    return isinstance(exc, CycloptsError)


def _usage(exc: BaseException, given: Sequence[str]) -> int:
    from cyclopts.exceptions import (
        CoercionError,
        MissingArgumentError,
        UnknownCommandError,
        UnknownOptionError,
        UnusedCliTokensError,
    )

    from batch.core.nearest import suggestion

    command = _command(given)
    text = str(exc)
    if isinstance(exc, UnusedCliTokensError):
        text = f"unexpected argument: {' '.join(exc.unused_tokens or ())}"
    elif isinstance(exc, UnknownCommandError):
        asked = (exc.unused_tokens or [""])[0]
        text = f"there is no command {asked!r}. {suggestion(asked, COMMANDS, f'There are: {_ALL}.')}"
    elif isinstance(exc, UnknownOptionError):
        asked = exc.token.keyword or exc.token.value
        names = [name for argument in exc.argument_collection for name in argument.names]
        text = f"there is no option {asked}. {suggestion(asked, names)}".rstrip()
    elif isinstance(exc, MissingArgumentError) and exc.argument is not None:
        name = exc.argument.name
        text = f"{name} needs a value" if name.startswith("-") else f"{command} needs {name}"
    elif isinstance(exc, CoercionError) and get_origin(exc.target_type) is Literal and exc.token is not None:
        choices = [choice for choice in get_args(exc.target_type) if isinstance(choice, str)]
        told, listed = text.partition(" Choose from: ")[0], ", ".join(f'"{choice}"' for choice in choices)
        text = f"{told} Choose from: {listed}. {suggestion(exc.token.value, choices)}".rstrip()
    _say(f"{text}{_advice(text)}\n  promptmill {f'{command} ' if command else ''}--help tells what there is.")
    return errors.EXIT_REFUSED


def _fallen(exc: BaseException, *, debug: bool) -> int:
    """Say on stderr what an exception means, and return its exit code."""
    leaves = list(errors.leaves(exc))
    expected = next(
        (leaf for leaf in leaves if isinstance(leaf, BatchError) and leaf.exit_code != errors.EXIT_BUG), None
    )
    if any(isinstance(leaf, Unread) or _given_up(leaf) for leaf in leaves):
        return errors.EXIT_OK
    if debug and not isinstance(exc, KeyboardInterrupt | SystemExit):
        _say("".join(traceback.format_exception(exc)).rstrip())
    if expected is not None:
        _say(f"{expected}{_advice(str(expected))}")
        return expected.exit_code
    if any(isinstance(leaf, SystemExit) for leaf in leaves):
        code = next(leaf.code for leaf in leaves if isinstance(leaf, SystemExit))
        return code if isinstance(code, int) else errors.EXIT_OK if code is None else errors.EXIT_BUG
    if any(isinstance(leaf, KeyboardInterrupt) for leaf in leaves):
        _say("interrupted.")
        return errors.EXIT_INTERRUPTED
    first = leaves[0]
    if isinstance(first, OSError) and first.errno == errno.ENAMETOOLONG:
        _say(f"{clean(str(first.filename), most=200)}: is too long for the name of a file. Give another one.")
        return errors.EXIT_REFUSED
    if isinstance(first, OSError) and _printing(first):
        _say(f"stdout: cannot be written: {first.strerror}.")
        _close_for_good(sys.stdout)
        return errors.EXIT_STORAGE
    if any(openfiles.used_up(cause) or os.strerror(errno.EMFILE) in str(cause) for cause in _causes(first)):
        _say(f"too many files are open. {openfiles.advice()}.")  # a library cannot be loaded then, either
        return errors.EXIT_REFUSED
    _say(
        f"a bug of ours: {type(first).__name__}: {first}{_place(first)}\n"
        f"  What was answered is safe, and the same command continues. "
        f"{'Please report the traceback above.' if debug else 'Run it with --debug for the traceback, and report it.'}"
    )
    return errors.EXIT_BUG


def _advice(text: str) -> str:
    """Which variable gave an option that an error speaks of."""
    from batch.cli import variables

    return variables.current().advice(text)


def _given_up(exc: BaseException) -> bool:
    """Whether rich, which prints the help, exits because nobody reads it."""
    return isinstance(exc, SystemExit) and isinstance(exc.__context__, BrokenPipeError)


def _printing(exc: OSError) -> bool:
    """Whether an error is that of rich, which prints the help."""
    frames = traceback.extract_tb(exc.__traceback__)
    return bool(frames) and frames[-1].filename.endswith(f"{os.sep}rich{os.sep}console.py")


def _causes(exc: BaseException | None) -> Iterator[BaseException]:
    """An exception and those it came from."""
    while exc is not None:
        yield exc
        exc = exc.__cause__ or exc.__context__


def _place(exc: BaseException) -> str:
    frames = traceback.extract_tb(exc.__traceback__)
    ours = [frame for frame in frames if f"{os.sep}batch{os.sep}" in frame.filename]
    return f" ({Path(ours[-1].filename).name}:{ours[-1].lineno})" if ours else ""


def _say(text: str) -> None:
    """Write a message to stderr, redacted; a stderr that is gone changes nothing about the exit code."""
    from batch.core.redaction import redact

    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"promptmill: {clean(redact(text), lines=True)}\n")
        sys.stderr.flush()


def _flushed(code: int) -> int:
    """Flush both streams and return the exit code; a reader that has had enough (`| head`) changes nothing about it."""
    try:
        sys.stdout.flush()
    except OSError as exc:
        if not is_gone(exc, sys.stdout):
            _say(f"stdout: cannot be written: {exc.strerror}.")
            code = code or errors.EXIT_STORAGE
        _close_for_good(sys.stdout)
    try:
        sys.stderr.flush()
    except OSError:  # nobody can be told
        _close_for_good(sys.stderr)
    return code


def _close_for_good(stream: TextIO) -> None:
    """Keep the interpreter from ending with another code when it flushes this stream once more at its end."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
