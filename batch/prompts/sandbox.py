"""Templates that compute something: parsed, checked, compiled and rendered by Jinja, in a sandbox.

Owns the Jinja environment and what is refused of a template before any row is seen. A template that only puts columns
into text needs none of it (`inserts`). It knows neither roles nor conversations (`prompt`).
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

import jinja2
import msgspec
from jinja2 import meta, nodes
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from batch.prompts.inserts import MAX_MESSAGE_BYTES, ROW, too_large
from batch.prompts.template import PromptFault

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from types import TracebackType

    from batch.prompts.images import Files


class Compiled:
    """One template, compiled by Jinja; what goes in and what it is to the rest says `template.Template`.

    Raises:
        PromptFault: it includes another template, names a filter that does not exist, or a file that cannot be read.
        jinja2.TemplateSyntaxError: it is no template.
    """

    def __init__(self, environment: Sandbox, source: str, *, part: str, folder: Path, own_row: bool = False) -> None:
        self.part = part
        tree = environment.parse(source)
        if any(True for _ in meta.find_referenced_templates(tree)):
            raise PromptFault(f"prompt.{part}: include, import and extends have nothing to load. Write the text out.")
        environment.check_files(tree, part)
        if unknown := _unknown(environment, tree):
            raise PromptFault(f"prompt.{part} line {unknown.lineno}: no filter or test is called {unknown.name!r}.")
        names = meta.find_undeclared_variables(tree).difference(environment.globals) | _shadowed(
            environment, tree, part
        )
        self._by_row = frozenset() if own_row or ROW not in names else _named_by_row(tree, part)
        self.reads = frozenset(names - {ROW} | self._by_row if self._by_row else names)
        self.plain = "".join(node.data for node in tree.find_all(nodes.TemplateData))
        self.bare = self.reads.intersection(map(_column, _written(tree)))
        self._file = f"{folder}/job.toml#prompt.{part}"
        code = environment.compile(source, name=part, filename=self._file)
        self._template = jinja2.Template.from_code(environment, code, environment.make_globals(None))

    def render(self, record: Mapping[str, Any]) -> str:
        """The text for one row; rendering stops at the size limit rather than after it.

        Raises:
            PromptFault: a column is missing, the template fails on this row, or the text is larger than 16 MiB.
        """
        try:
            values = {name: record[name] for name in self.reads}
            if self._by_row:
                values[ROW] = {name: record[name] for name in self._by_row}
            pieces: list[str] = []
            size = 0
            for piece in self._template.root_render_func(self._template.new_context(values)):
                pieces.append(piece)
                size += len(piece)
                if size > MAX_MESSAGE_BYTES:
                    break
            text = "".join(pieces)
        except KeyError as exc:
            if exc.args and exc.args[0] in self.reads and exc.args[0] not in record:
                raise PromptFault(f"prompt.{self.part}: column {exc.args[0]!r} is missing in this row") from exc
            raise self._fault(exc) from exc
        except Exception as exc:
            raise self._fault(exc) from exc
        if size > MAX_MESSAGE_BYTES or too_large(text):
            raise PromptFault(f"prompt.{self.part}: the rendered message is larger than 16 MiB. Shorten the input.")
        return text

    def _fault(self, exc: BaseException) -> PromptFault:
        line = self._line(exc.__traceback__)
        reason = str(exc) or type(exc).__name__
        if not isinstance(exc, jinja2.TemplateError):
            reason = f"{type(exc).__name__}: {reason}"
        return PromptFault(f"prompt.{self.part}{f' line {line}' if line else ''}: {reason[:500]}")

    def _line(self, trace: TracebackType | None) -> int | None:
        line = None
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == self._file:
                line = self._template.get_corresponding_lineno(trace.tb_lineno)
            trace = trace.tb_next
        return line


def compiled(environment: Sandbox, source: str, *, part: str, folder: Path, own_row: bool) -> Compiled:
    """The template, compiled; Args as for `Compiled`.

    Raises:
        PromptFault: it is no template, or one that is refused.
    """
    try:
        return Compiled(environment, source, part=part, folder=folder, own_row=own_row)
    except jinja2.TemplateSyntaxError as exc:
        reason = (exc.message or "").rstrip(".")  # some of its sentences have a full stop, others have none
        raise PromptFault(
            f"prompt.{part} line {exc.lineno}: {reason}. Correct the template; a column whose name has "
            'blanks, dots or dashes is {{ row["first name"] }}.'
        ) from exc


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment of all templates of one prompt: strict names, exact text, no way to a class or to much memory.

    Args:
        files: what `{{ file() }}` reads from.

    Attributes:
        named: the files that templates name outright, with the hash of their text.
        by_row: a template computes the name of a file, so rows decide which files are read.
    """

    intercepted_binops = frozenset(("*", "**"))

    def __init__(self, files: Files) -> None:
        super().__init__(
            undefined=jinja2.StrictUndefined, autoescape=False, keep_trailing_newline=True, finalize=_blank_for_null
        )
        self.filters["tojson"] = _tojson
        for name in set(self.globals) - {"range", "namespace"}:
            del self.globals[name]  # a column may well be called `dict` or `joiner`
        self._files = files
        self.named: dict[str, str] = {}
        self.by_row = False
        self.globals["file"] = self._file

    def _file(self, name: object) -> str:
        """`{{ file('guide.md') }}`: the text of a file in the job's folder."""
        if not isinstance(name, str):
            raise SecurityError(f"file({name!r}): the name of a file is wanted"[:200])
        try:
            return self._files.text(name)
        except ValueError as exc:
            raise SecurityError(str(exc)) from exc

    def check_files(self, tree: nodes.Template, part: str) -> None:
        """Read the files that a template names outright, so that a missing one is reported before any row."""
        for call in tree.find_all(nodes.Call):
            if not isinstance(call.node, nodes.Name) or call.node.name != "file":
                continue
            if len(call.args) != 1 or not isinstance(call.args[0], nodes.Const):
                self.by_row = True
                continue
            name = call.args[0].value
            try:
                self.named[str(name)] = sha256(self._file(name).encode()).hexdigest()
            except SecurityError as exc:
                raise PromptFault(f"prompt.{part} line {call.lineno}: {exc}") from exc

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Keys of a dict come before its methods: in data, `items` and `values` are ordinary names."""
        if isinstance(obj, dict) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Refuse the two operators that make gigabytes out of a dozen characters."""
        if operator == "**" and abs(right) * max(1, int(abs(left)).bit_length()) > 4096:
            raise SecurityError(f"{left} ** {right} is too large")
        if operator == "*":
            for sequence, count in ((left, right), (right, left)):
                too_long = isinstance(sequence, (str, bytes, list, tuple)) and len(sequence) * count > MAX_MESSAGE_BYTES
                if too_long:
                    raise SecurityError("the result of * is larger than 16 MiB")
        return super().call_binop(context, operator, left, right)


def _unknown(environment: Sandbox, tree: nodes.Template) -> nodes.Filter | nodes.Test | None:
    # Jinja itself reports one behind an `if` only when a row gets there.
    filters = (node for node in tree.find_all(nodes.Filter) if node.name not in environment.filters)
    tests = (node for node in tree.find_all(nodes.Test) if node.name not in environment.tests)
    return next(filters, None) or next(tests, None)


def _shadowed(environment: Sandbox, tree: nodes.Template, part: str) -> set[str]:
    """Columns called like one of our functions: `{{ file }}` is the column, `{{ file('guide.md') }}` the function."""
    called = {id(call.node): call.node.name for call in tree.find_all(nodes.Call) if isinstance(call.node, nodes.Name)}
    names = {
        name.name
        for name in tree.find_all(nodes.Name)
        if name.ctx == "load" and name.name in environment.globals and id(name) not in called
    }
    if both := names.intersection(called.values()):
        name = min(both)
        raise PromptFault(f"prompt.{part}: {name} is called as a function and read as a column. Rename the column.")
    return names


def _named_by_row(tree: nodes.Template, part: str) -> frozenset[str]:
    """The columns that a template reads as `row["name"]` or `row.name`; none when `row` is a name of its own there."""
    rows = [name for name in tree.find_all(nodes.Name) if name.name == ROW]
    if any(name.ctx != "load" for name in rows):
        return frozenset()
    found: set[str] = set()
    node: Any
    for node in tree.find_all((nodes.Getitem, nodes.Getattr)):
        if not (isinstance(node.node, nodes.Name) and node.node.name == ROW):
            continue
        rows = [name for name in rows if name is not node.node]
        name = node.attr if isinstance(node, nodes.Getattr) else getattr(node.arg, "value", None)
        if not isinstance(name, str):
            raise PromptFault(
                f'prompt.{part} line {node.lineno}: row[…] takes the name of a column in quotes: row["first name"].'
            )
        found.add(name)
    if rows and found:
        raise PromptFault(
            f'prompt.{part} line {rows[0].lineno}: row alone is no text. Name a column: row["first name"].'
        )
    return frozenset(found)


def _written(tree: nodes.Template) -> Iterator[nodes.Node]:
    """What stands directly between `{{` and `}}`."""
    return (node for output in tree.find_all(nodes.Output) for node in output.nodes)


def _column(node: nodes.Node) -> str | None:
    """The column that an expression is; None when it is more than one."""
    if isinstance(node, nodes.Name):
        return node.name
    of_row = isinstance(node, nodes.Getitem) and isinstance(node.node, nodes.Name) and node.node.name == ROW
    return getattr(node.arg, "value", None) if of_row and isinstance(node, nodes.Getitem) else None


def _blank_for_null(value: Any) -> Any:
    return "" if value is None else value


def _tojson(value: Any, indent: int | None = None) -> str:
    # Jinja's own filter writes \u003c for <, which is right in HTML and noise in a prompt.
    data = msgspec.json.encode(value)
    return (msgspec.json.format(data, indent=indent) if indent else data).decode()
