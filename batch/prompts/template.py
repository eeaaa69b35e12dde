"""Templates and columns → chat messages.

Owns the Jinja environment and the rule that a row is data: its values are put into the text once and never looked at
as a template. It does not read rows (`source`) and does not know how a message goes over the wire.

Templates are the author's own code and run in Jinja's immutable sandbox: no attribute that starts with an underscore,
no change of a list, `range` up to 100,000, no `*` or `**` that would blow up memory, 16 MiB per message. Values come
out byte for byte (no HTML escaping, last newline kept); a null cell is the empty string, while a name that is no
column is an error. `{{ order.items }}` is the key `items` of a dict, not its method.
"""

from __future__ import annotations

import difflib
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import jinja2
import msgspec
from jinja2 import meta, nodes
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from batch.core.canonical import loads
from batch.prompts import images
from batch.prompts.images import Files

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path
    from types import TracebackType

    from batch.core.records import Message
    from batch.job.job import PromptSpec

MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024
ROLES: Final = ("system", "user", "assistant", "tool", "developer")


class PromptFault(ValueError):
    """One row cannot be turned into messages; the text names the template line or the column, and why."""


class Prompt:
    """The prompt of a job, compiled once and rendered for every row.

    Attributes:
        columns: the columns it reads; a row needs no other to be rendered.
        pictured: its messages may hold pictures of the row.
        files: the files its templates name outright, with the hash of their text.
        by_row: rows may name files too, which nobody knows without reading the rows.

    Args:
        spec: the job's `[prompt]`, or one of its variants laid over it.
        folder: the job's folder, from which `{{ file() }}` and pictures with a path are read.
    """

    def __init__(self, spec: PromptSpec, folder: Path) -> None:
        self._column = spec.messages
        self._turns = spec.turns
        self._images = spec.images
        self.pictured = bool(spec.images)
        self._files = Files(folder)
        self._faults: list[str] = []
        environment = _Sandbox(self._files)
        self._system = self._compile(environment, "system", spec.system, folder)
        self._user = self._compile(environment, "user", spec.user, folder)
        self._start = [
            (said["role"], self._compile(environment, f"start[{place}]", said["content"], folder))
            for place, said in enumerate(spec.start)
        ]
        templates = [self._system, self._user, *(template for _, template in self._start)]
        reads = {name for template in templates if template for name in template.reads}
        named = {name for name in (self._column, self._turns, *self._images) if name is not None}
        self.columns: frozenset[str] = frozenset(reads | named)
        self.files = environment.named
        self.by_row = self.pictured or environment.by_row
        self._templates = [template for template in templates if template is not None]

    def _compile(self, environment: _Sandbox, part: str, source: str | None, folder: Path) -> _Template | None:
        if source is None:
            return None
        try:
            return _Template(environment, source, part=part, folder=folder)
        except jinja2.TemplateSyntaxError as exc:
            self._faults.append(f"prompt.{part} line {exc.lineno}: {exc.message}. Correct the template.")
        except PromptFault as exc:
            self._faults.append(str(exc))
        return None

    def check(self, names: Collection[str]) -> list[str]:
        """Everything wrong with the prompt over an input with these columns, one line each; empty when it is sound."""
        faults = list(self._faults)
        for template in self._templates:
            faults += [
                f"prompt.{template.part}: {{{{ {name} }}}} is no column of the input. {_nearest(name, names)}"
                for name in sorted(template.reads.difference(names))
            ]
        columns = [("messages", self._column), ("turns", self._turns), *(("images", name) for name in self._images)]
        faults += [
            f"prompt.{part}: {name!r} is no column of the input. {_nearest(name, names)}"
            for part, name in columns
            if name is not None and name not in names
        ]
        return faults

    def render(self, record: Mapping[str, Any]) -> list[Message]:
        """The first request of one row; see `conversation` for what a row says after that.

        Raises:
            PromptFault: this row cannot be rendered; other rows may.
        """
        return self.conversation(record)[0]

    def conversation(self, record: Mapping[str, Any]) -> tuple[list[Message], tuple[Message, ...]]:
        """The messages of one row and the user messages that follow, one after each answer.

        The job's system message comes first, then its start messages, then the user message, the first of the row's
        turns, or the column's own list. Pictures go into the first user message that is the row's own.

        Raises:
            PromptFault: this row cannot be rendered; other rows may.
        """
        if self._faults:
            raise PromptFault(self._faults[0])
        messages: list[Message] = []
        follow_ups: list[Message] = []
        if self._system is not None:
            messages.append({"role": "system", "content": self._system.render(record)})
        for role, template in self._start:
            if template is not None:
                messages.append({"role": role, "content": template.render(record)})
        if self._user is not None:
            messages.append(self._pictured(self._user.render(record), record))
        if self._turns is not None:
            first, *rest = turns_of(record.get(self._turns), self._turns)
            messages.append(self._pictured(first, record))
            follow_ups = [{"role": "user", "content": text} for text in rest]
        if self._column is not None:
            messages += messages_of(record.get(self._column), self._column)
        return messages, tuple(follow_ups)

    def _pictured(self, text: str, record: Mapping[str, Any]) -> Message:
        """A user message, with the row's pictures behind its text."""
        parts: list[dict[str, Any]] = []
        for name in self._images:
            room = images.MAX_ROW_BYTES - sum(len(part["image_url"]["url"]) for part in parts)
            try:
                parts += images.parts_of(record.get(name), self._files, column=name, room=room)
            except ValueError as exc:
                raise PromptFault(f"prompt.images: column {name!r}: {exc}") from exc
        if not parts:
            return {"role": "user", "content": text}
        return {"role": "user", "content": [{"type": "text", "text": text}, *parts]}


class _Template:
    """One compiled template."""

    def __init__(self, environment: _Sandbox, source: str, *, part: str, folder: Path) -> None:
        self.part = part
        tree = environment.parse(source)
        if any(True for _ in meta.find_referenced_templates(tree)):
            raise PromptFault(f"prompt.{part}: include, import and extends have nothing to load. Write the text out.")
        environment.check_files(tree, part)
        if unknown := _unknown(environment, tree):
            raise PromptFault(f"prompt.{part} line {unknown.lineno}: no filter or test is called {unknown.name!r}.")
        self.reads = frozenset(
            meta.find_undeclared_variables(tree).difference(environment.globals) | _shadowed(environment, tree, part)
        )
        self._file = f"{folder}/job.toml#prompt.{part}"
        code = environment.compile(source, name=part, filename=self._file)
        self._template = jinja2.Template.from_code(environment, code, environment.make_globals(None))

    def render(self, record: Mapping[str, Any]) -> str:
        """Render over one row, stopping at the size limit rather than after it."""
        try:
            values = {name: record[name] for name in self.reads}
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
        if size > MAX_MESSAGE_BYTES or (size > MAX_MESSAGE_BYTES // 4 and len(text.encode()) > MAX_MESSAGE_BYTES):
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


class _Sandbox(ImmutableSandboxedEnvironment):
    """The environment of all templates: strict names, exact text, no way to a class or to a lot of memory."""

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
        """Read the files that a template names outright, so that a missing one is told before any row."""
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


def _unknown(environment: _Sandbox, tree: nodes.Template) -> nodes.Filter | nodes.Test | None:
    # Jinja itself reports one behind an `if` only when a row gets there.
    filters = (node for node in tree.find_all(nodes.Filter) if node.name not in environment.filters)
    tests = (node for node in tree.find_all(nodes.Test) if node.name not in environment.tests)
    return next(filters, None) or next(tests, None)


def _shadowed(environment: _Sandbox, tree: nodes.Template, part: str) -> set[str]:
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


def _blank_for_null(value: Any) -> Any:
    return "" if value is None else value


def _tojson(value: Any, indent: int | None = None) -> str:
    # Jinja's own filter writes \u003c for <, which is right in HTML and noise in a prompt.
    data = msgspec.json.encode(value)
    return (msgspec.json.format(data, indent=indent) if indent else data).decode()


def _nearest(name: str, names: Collection[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"Did you mean {close[0]!r}?"
    shown = ", ".join(sorted(names)[:12])
    return f"It has: {shown}{', …' if len(names) > 12 else ''}."


def messages_of(value: Any, column: str) -> list[Message]:
    """Check the cell of a messages column: a list of role/content objects, or the JSON text of one.

    Nulls inside are left out (Parquet fills fields that a message does not have), except `content`.

    Raises:
        PromptFault: it is something else; the text names the column and the message counted from 0.
    """
    if isinstance(value, str):
        try:
            value = loads(value)
        except ValueError as exc:
            raise PromptFault(f"column {column!r}: not the JSON text of a list of messages: {exc}") from exc
    if not isinstance(value, list):
        raise PromptFault(f"column {column!r}: a list of role/content messages is wanted, not {_kind(value)}")
    if not value:
        raise PromptFault(f"column {column!r}: the list of messages is empty")
    return [_message(item, f"column {column!r} message {index}") for index, item in enumerate(value)]


def turns_of(value: Any, column: str) -> list[str]:
    """Check the cell of a turns column: a list of texts, or the JSON text of one; empty ones are skipped.

    Raises:
        PromptFault: it is something else, or there is nothing to say.
    """
    if isinstance(value, str):
        try:
            value = loads(value)
        except ValueError as exc:
            raise PromptFault(f"column {column!r}: not the JSON text of a list of user messages: {exc}") from exc
    if not isinstance(value, list):
        raise PromptFault(f"column {column!r}: a list of user messages is wanted, not {_kind(value)}")
    wrong = next((place for place, said in enumerate(value) if not isinstance(said, str | None)), None)
    if wrong is not None:
        raise PromptFault(f"column {column!r} turn {wrong}: text is wanted, not {_kind(value[wrong])}")
    said = [text for text in value if text and text.strip()]
    if not said:
        raise PromptFault(f"column {column!r}: no turn that says anything")
    return said


def _message(item: Any, where: str) -> Message:
    if not isinstance(item, dict):
        raise PromptFault(f"{where}: an object with role and content is wanted, not {_kind(item)}")
    role = item.get("role")
    if role not in ROLES:
        raise PromptFault(f"{where}: role {role!r} is none of {', '.join(ROLES)}"[:300])
    message: Message = {key: _dense(part) for key, part in item.items() if part is not None}
    content = message.get("content")
    if content is None and role == "assistant" and message.get("tool_calls"):
        return {**message, "content": None}
    if isinstance(content, str):
        return message
    if isinstance(content, list) and all(
        isinstance(part, dict) and isinstance(part.get("type"), str) for part in content
    ):
        return message
    raise PromptFault(f"{where}: content must be text or a list of typed parts, not {_kind(content)}")


def _dense(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _dense(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_dense(item) for item in value]
    return value


def _kind(value: Any) -> str:
    names: dict[type, str] = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number" if isinstance(value, (int, float)) else type(value).__name__)
