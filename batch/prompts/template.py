"""One template of a prompt: compiled once, rendered over every row.

Owns what a template is to the rest, and the rule that a row is data: its values are put into the text once and never
looked at as a template. Most templates only put columns into text and are rendered so (`inserts`); all others are
Jinja's (`sandbox`), which is loaded when one needs it. It knows neither roles nor conversations (`prompt`), and not
where rows come from.

Templates are the author's own code and run in Jinja's immutable sandbox: no attribute that starts with an underscore,
no change of a list, `range` up to 100,000, no `*` or `**` that would blow up memory, 16 MiB per message. Values come
out byte for byte (no HTML escaping, last newline kept); a null cell is the empty string, while a name that is no
column is an error. `{{ order.items }}` is the key `items` of a dict, not its method.

`{{ row["first name"] }}` reads a column of any name. Where the input has a column called `row`, that column is meant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batch.prompts import inserts

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from batch.prompts.images import Files
    from batch.prompts.sandbox import Compiled, Sandbox


class PromptFault(ValueError):
    """One row cannot be turned into messages; the text names the template line or the column, and why."""


class Environment:
    """What all templates of one prompt share: the sandbox, made when the first of them needs it.

    Args:
        files: what `{{ file() }}` reads from.
    """

    def __init__(self, files: Files) -> None:
        self._files = files
        self._sandbox: Sandbox | None = None

    @property
    def sandbox(self) -> Sandbox:
        """Where templates that compute something run."""
        if self._sandbox is None:
            from batch.prompts.sandbox import Sandbox  # noqa: PLC0415 - takes longer to load than many a command

            self._sandbox = Sandbox(self._files)
        return self._sandbox

    @property
    def named(self) -> dict[str, str]:
        """The files that templates name outright, with the hash of their text."""
        return {} if self._sandbox is None else self._sandbox.named

    @property
    def by_row(self) -> bool:
        """Whether a template computes the name of a file, so that rows decide which files are read."""
        return self._sandbox is not None and self._sandbox.by_row


class Template:
    """One compiled template.

    Args:
        environment: of all templates of the prompt.
        source: the text of the template.
        part: where it stands under `prompt` in the job, for example `user` or `start[0]`; errors name it.
        folder: the job's folder; tracebacks name it.
        own_row: the input has a column of its own called `row`.

    Attributes:
        reads: the columns it reads.
        plain: its text outside of `{{ }}` and `{% %}`.
        bare: the columns among them that it writes as they are, without a filter.

    Raises:
        PromptFault: it is no template, includes another one, names a filter that does not exist, or a file that
            cannot be read.
    """

    def __init__(
        self, environment: Environment, source: str, *, part: str, folder: Path, own_row: bool = False
    ) -> None:
        self.part = part
        self._environment = environment
        self._source, self._folder, self._own_row = source, folder, own_row
        self._compiled: Compiled | None = None
        self._inserts = inserts.read(source, own_row=own_row)
        of = self._inserts or self._by_jinja()
        self.reads: frozenset[str] = of.reads
        self.plain: str = of.plain
        self.bare: frozenset[str] = of.bare

    def render(self, record: Mapping[str, Any]) -> str:
        """The text for one row; rendering stops at the size limit rather than after it.

        Raises:
            PromptFault: a column is missing, the template fails on this row, or the text is larger than 16 MiB.
        """
        if self._inserts is not None and (text := self._inserts.render(record)) is not None:
            return text
        return self._by_jinja().render(record)

    def _by_jinja(self) -> Compiled:
        if self._compiled is None:
            from batch.prompts.sandbox import compiled  # noqa: PLC0415 - as above

            self._compiled = compiled(
                self._environment.sandbox, self._source, part=self.part, folder=self._folder, own_row=self._own_row
            )
        return self._compiled
