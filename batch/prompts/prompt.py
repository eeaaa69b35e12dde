"""The prompt of a job: from the cells of one row to the messages of its first request, and to what the user says later.

Owns how the parts of `[prompt]` are put together: system, start, user or turns, a column of messages, pictures. The
text of each comes from `template`, the cells of columns from `columns`, pictures from `images`. It does not read rows
and does not know how a message goes over the wire.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from batch.core.canonical import loads
from batch.core.nearest import did_you_mean, suggestion
from batch.prompts import images
from batch.prompts.columns import is_sharegpt, messages_of, turns_of
from batch.prompts.emptiness import is_blank
from batch.prompts.images import Files
from batch.prompts.inserts import ROW
from batch.prompts.template import Environment, PromptFault, Template

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from batch.core.records import Message
    from batch.job.job import PromptSpec


_Said: TypeAlias = "tuple[list[Message], tuple[Message, ...]]"
"""The messages of a first request, and what the user says after it."""
_BRACED: Final = re.compile(r"(?<!\{)\{\s*([^{}\n]{1,100}?)\s*\}(?!\})")


class Prompt:
    """The prompt of a job, compiled once and rendered for every row.

    Attributes:
        columns: the columns it reads; a row needs no other to be rendered.
        texts: those of them that are put into text; the others are pictures.
        pictured: its messages may hold pictures of the row.
        files: the files its templates name outright, with the hash of their text.
        by_row: rows may name files too, which nobody knows without reading the rows.

    Args:
        spec: the job's `[prompt]`, or one of its variants laid over it.
        folder: the job's folder, from which `{{ file() }}` and pictures with a path are read.
        columns: of the input, as far as they are known.
        files: what was read of that folder, shared by all prompts of a job; by default a cache of its own.
    """

    def __init__(
        self, spec: PromptSpec, folder: Path, columns: Collection[str] = (), *, files: Files | None = None
    ) -> None:
        self._own_row = ROW in columns
        self._column = spec.messages
        self._turns = spec.turns
        self._images = spec.images
        self.pictured = bool(spec.images)
        self._files = Files(folder) if files is None else files
        self._last: tuple[Mapping[str, Any], _Said] | None = None
        self._faults: list[str] = []
        environment = Environment(self._files)
        self._system = self._compile(environment, "system", spec.system, folder)
        self._user = self._compile(environment, "user", spec.user, folder)
        self._start = [
            (message["role"], self._compile(environment, f"start[{position}]", message["content"], folder))
            for position, message in enumerate(spec.start)
        ]
        templates = [self._system, self._user, *(template for _, template in self._start)]
        in_templates = {name for template in templates if template for name in template.reads}
        of_their_own = {name for name in (self._column, self._turns, *self._images) if name is not None}
        self.columns: frozenset[str] = frozenset(in_templates | of_their_own)
        self.texts = self.columns - (set(self._images) - in_templates)
        self.files = environment.named
        self.by_row = self.pictured or environment.by_row
        self._templates = [template for template in templates if template is not None]

    @property
    def plain(self) -> list[str]:
        """What its templates say to every row, without what stands in braces."""
        return [template.plain for template in self._templates]

    def _compile(self, environment: Environment, part: str, source: str | None, folder: Path) -> Template | None:
        if source is None:
            return None
        try:
            return Template(environment, source, part=part, folder=folder, own_row=self._own_row)
        except PromptFault as exc:
            self._faults.append(str(exc))
        return None

    def check(self, names: Collection[str]) -> list[str]:
        """What is wrong with the prompt for an input with these columns, one line a fault; empty when it is sound."""
        faults = list(self._faults)
        if not self.columns:
            faults += [f"{text}. No column is read at all." for text in self._braced(names)]
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

    def doubts(self, names: Collection[str]) -> list[str]:
        """What is allowed and probably not meant, for an input with these columns, one line each."""
        if not self.columns:
            return ["prompt: no column of the input is read, so every row asks the same"]
        return self._braced(names)

    def notes(self, record: Mapping[str, Any]) -> list[str]:
        """How the cells of a row are understood, where that is not plain."""
        written = dict.fromkeys(name for template in self._templates for name in sorted(template.bare))
        return [*(_pythons(name, record[name]) for name in written if _nested(record.get(name))), *self._shared(record)]

    def _shared(self, record: Mapping[str, Any]) -> list[str]:
        if self._column is None:
            return []
        try:
            cell = loads(value) if isinstance(value := record.get(self._column), str) else value
        except ValueError:
            return []
        if not isinstance(cell, list) or not any(map(is_sharegpt, cell)):
            return []
        return [f"column {self._column!r} has the form of ShareGPT: from and value are read as role and content"]

    def _braced(self, names: Collection[str]) -> list[str]:
        """The columns that stand in single braces, which are plain text."""
        found = [
            (template.part, name)
            for template in self._templates
            for name in dict.fromkeys(_BRACED.findall(template.plain))
            if name in names
        ]
        return [
            f"prompt.{part}: {{{name}}} is plain text and is sent as it stands; the column is {_written(name)}"
            for part, name in found
        ]

    def render(self, record: Mapping[str, Any]) -> list[Message]:
        """The first request of one row; see `conversation` for what a row says after that.

        Raises:
            PromptFault: this row cannot be rendered; other rows may.
        """
        return self.conversation(record)[0]

    def conversation(self, record: Mapping[str, Any]) -> _Said:
        """The messages of one row and the user messages that follow, one after each answer.

        Several models that are asked the same of a row get one and the same, made once: nobody changes a message, and
        nobody a record between two of them.

        The job's system message comes first, then its start messages, then the user message, the first of the row's
        turns, or the column's own list. Pictures go into the first user message that is the row's own.

        Raises:
            PromptFault: this row cannot be rendered; other rows may.
        """
        if self._faults:
            raise PromptFault(self._faults[0])
        last = self._last
        if last is not None and last[0] is record:
            return last[1]
        said = self._conversation(record)
        self._last = record, said
        return said

    def _conversation(self, record: Mapping[str, Any]) -> _Said:
        messages: list[Message] = []
        follow_ups: list[Message] = []
        if self._system is not None:
            messages.append({"role": "system", "content": self._system.render(record)})
        for role, template in self._start:
            if template is not None:
                messages.append({"role": role, "content": template.render(record)})
        if self._user is not None:
            text = self._user.render(record)
            messages.append(self._pictured(text, record) if self._images else {"role": "user", "content": text})
        if self._turns is not None:
            first, *rest = turns_of(record.get(self._turns), self._turns)
            messages.append(self._pictured(first, record))
            follow_ups = [{"role": "user", "content": text} for text in rest]
        if self._column is not None:
            messages += messages_of(record.get(self._column), self._column)
        return messages, tuple(follow_ups)

    def is_empty(self, record: Mapping[str, Any]) -> bool:
        """Whether all columns that it reads are blank in this row; one that puts none into a text is never empty."""
        for column in self.columns:  # once a row: nearly always the first of them says something
            if not is_blank(record.get(column)):
                return False
        return bool(self.texts)

    def _pictured(self, text: str, record: Mapping[str, Any]) -> Message:
        """A user message, with the row's pictures behind its text."""
        if not self._images:
            return {"role": "user", "content": text}
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


def _nested(value: Any) -> bool:
    return isinstance(value, (list, dict))


def _pythons(name: str, value: Any) -> str:
    """What is said of a list or an object that a template writes out as it is."""
    what = "a list" if isinstance(value, list) else "an object"
    chat = f", for the messages of a chat set prompt.messages = {json.dumps(name)}" if isinstance(value, list) else ""
    return f"column {name!r} is {what}, written as Python writes it; for JSON write {_written(name, ' | tojson')}{chat}"


def _written(name: str, how: str = "") -> str:
    """How a template names a column; `how` is a filter."""
    return f"{{{{ {name if name.isidentifier() else f'row[{json.dumps(name, ensure_ascii=False)}]'}{how} }}}}"


def _nearest(name: str, names: Collection[str]) -> str:
    if name == ROW:
        return 'Name a column of it: {{ row["first name"] }}.'
    odd = [other for other in names if not other.isidentifier() and name in re.split(r"\W+", other)]
    if odd:
        return did_you_mean([_written(odd[0])])
    shown = ", ".join(sorted(names)[:12])
    more = ", …" if len(names) > 12 else ""
    return suggestion(name, names, f"It has: {shown}{more}." if names else "It has no columns.")
