"""How `--help` looks: names in a column, what each is beside it, every line within the terminal.

Owns the layout. What is said of a command, an argument or a flag is the docstring of its function, and what kinds of
values there are is known to cyclopts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from batch.cli.text import columns, wrapped

if TYPE_CHECKING:
    from cyclopts.help import HelpEntry, HelpPanel
    from rich.console import Console, ConsoleOptions

_TITLES: Final = {"Parameters": "Options"}
"""The line of usage calls them so."""
_NO_DEFAULTS: Final = ("", "None", "False", "()")
"""Defaults that say nothing: a flag that is not given."""


class Formatter:
    """Prints one help page, part by part, as cyclopts asks for it."""

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:  # noqa: ARG002 - as asked
        """Print the commands, the arguments or the options.

        Args:
            console: where to.
            options: of the console; its width is that of the terminal.
            panel: what to print.
        """
        rows = [(_label(entry), _text(entry)) for entry in panel.entries if entry.display_labels]
        if rows:
            title = _plain(panel.title)
            _print(console, ["", f"{_TITLES.get(title, title)}:", *columns(rows, width=console.width)])

    def render_usage(self, console: Console, options: ConsoleOptions, usage: Any) -> None:  # noqa: ARG002 - as asked
        """Print the line of usage.

        Args:
            console: where to.
            options: of the console.
            usage: as cyclopts makes it.
        """
        if text := _plain(usage):
            _print(console, wrapped(text if text.startswith("Usage:") else f"Usage: {text}", width=console.width))

    def render_description(
        self,
        console: Console,
        options: ConsoleOptions,  # noqa: ARG002  cyclopts hands it over
        description: Any,
    ) -> None:
        """Print what the command is for, paragraph by paragraph.

        Args:
            console: where to.
            options: of the console.
            description: the docstring without its arguments.
        """
        for paragraph in _plain(description).split("\n\n"):
            if text := " ".join(paragraph.split()):
                _print(console, ["", *wrapped(text, width=console.width)])


def _label(entry: HelpEntry) -> str:
    return ", ".join(entry.display_labels_with_metavar)


def _text(entry: HelpEntry) -> str:
    """What an entry is, what it takes and what it is by default."""
    said = " ".join(_plain(entry.description).split())
    more = []
    if entry.choices and len(entry.choices) > 1:
        more.append(f"one of {', '.join(entry.choices)}")
    if entry.default is not None and str(entry.default) not in _NO_DEFAULTS:
        more.append(f"default {entry.default}")
    return f"{said} [{'; '.join(more)}]" if more else said


def _plain(text: Any) -> str:
    """The characters of what may be a text of rich, or of one of its kind."""
    if text is None or isinstance(text, str):
        return (text or "").strip()
    if hasattr(text, "plain"):
        return str(text.plain).strip()
    return _plain(getattr(text, "primary_renderable", str(text)))


def _print(console: Console, lines: list[str]) -> None:
    console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)
