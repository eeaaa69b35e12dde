"""The job file as a document: read, overridden by flags, and checked field by field against structs.

Owns reading the TOML, the `--set` overrides, the conversion of every field, the nearest names for a misspelt key, and
line numbers. It knows nothing of what a job means: the structs come from its caller. Every fault is kept, so that all
of them are reported at once.
"""

from __future__ import annotations

import datetime as dt
import errno
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from batch.core.errors import JobError
from batch.core.nearest import did_you_mean, nearest, suggestion
from batch.core.plain import clean
from batch.job.faults import NO_KEYS_HERE, NOTHING, Fault, KeyPath, dotted, dotted_setting, is_api_key
from batch.job.fieldtypes import Misread, fields_of, from_text, meta, table_kind, wanted

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    Kinds = Mapping[str, type[msgspec.Struct]]

_NAME_KEYS: Final = {"provider": "provider", "model": "name"}
"""Of tables that have names: the key of `[model]` that holds such a name."""
_TOML_PLACE: Final = re.compile(r"^(.*) \(at (?:line (\d+), column (\d+)|end of document)\)$", re.DOTALL)


class Document:
    """The values of a job file, with those of flags laid over them, and where each value came from."""

    def __init__(self, path: Path, text: str, values: dict[str, Any]) -> None:
        self.path = path
        self.values = values
        self._text = text
        self._origins: dict[KeyPath, str] = {}
        self._faults: list[str] = []
        self._lines: dict[KeyPath, int] = {}

    def override(self, settings: Iterable[str]) -> None:
        """Lay `section.key=value` settings over the file; one that cannot be read is reported with the other faults."""
        for setting in settings:
            name, equals, value = setting.partition("=")
            origin = f"--set {dotted_setting(setting)}"
            try:
                path = _key_path(name)
            except ValueError:
                path = ()
            if not equals or not path:
                self._faults.append(f"{origin}: expected section.key=value, for example --set limits.concurrency=64")
            else:
                self.put(path, _flag_value(value.strip()), origin=origin)

    def put(self, path: KeyPath, value: Any, *, origin: str) -> None:
        """Set one value over that of the file.

        Args:
            path: its key.
            value: as TOML would give it.
            origin: the flag it came from, as a fault names it.
        """
        table = self.values
        for depth, part in enumerate(path[:-1], 1):
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                self._faults.append(f"{origin}: {dotted(path[:depth])} is no table, so nothing can be set in it")
                return
        table[path[-1]] = value
        self._origins[path] = origin

    def sections(
        self, kinds: Kinds, top: Mapping[str, Any], *, optional: Collection[str], tables: Kinds
    ) -> tuple[dict[str, Any], dict[str, dict[str, Any]], list[Fault]]:
        """Convert the whole document, each field by itself, so that one fault hides no other.

        Args:
            kinds: by name of a section, the struct it becomes.
            top: by name of a key outside all sections, its type.
            optional: sections that may be left out.
            tables: as `kinds`, for sections there may be several of: `[name.OTHER]`.

        Returns:
            The sections and top-level values without fault; the fields of every section, with None for a field that is
            wrong; all faults.
        """
        sound: dict[str, Any] = {}
        fields: dict[str, dict[str, Any]] = {}
        faults: list[Fault] = []
        for name, value in self.values.items():
            if name in kinds:
                fields[name], errors = _section((name,), value, kinds[name], kinds)
                faults += errors
                if not errors:
                    sound[name] = kinds[name](**fields[name])
            elif name in tables:
                sound[name], errors = _named((name,), value, tables[name], {**kinds, **tables})
                faults += errors
            elif name in top:
                converted, errors = field_value((name,), value, top[name])
                faults += errors
                if not errors:
                    sound[name] = converted
            else:
                faults.append(Fault((name,), _unknown(name, {**dict.fromkeys(top), **kinds, **tables}, kinds), value))
        for name, kind in kinds.items():
            if name not in self.values and name not in optional:
                wanted = ", ".join(field.name for field in fields_of(kind) if field.required)
                faults.append(
                    Fault((name,), f"the section [{name}] is missing{f'; it needs {wanted}' if wanted else ''}")
                )
        return sound, fields, faults

    def lines(self, faults: Iterable[Fault]) -> list[str]:
        """The faults as lines of text in the order of the file, each with its line number or flag."""
        placed = [(self._line(fault.path), fault) for fault in faults]
        placed.sort(key=lambda pair: pair[0] or 1_000_000)
        return [*(self._described(line, fault) for line, fault in placed), *self._faults]

    def settings(self) -> dict[KeyPath, tuple[Any, str]]:
        """By key that was given, its value, and where that came from: a flag as it was given, or a line of the file."""
        given = leaves(self.values, lists=False)
        return {path: (value, self._flag(path) or f"line {self._line(path)}") for path, value in given}

    def _flag(self, path: KeyPath) -> str | None:
        """The flag that gave the value of a key, or of a table around it."""
        around = (path[:depth] for depth in range(len(path), 0, -1))
        return next((self._origins[part] for part in around if part in self._origins), None)

    def _described(self, line: int | None, fault: Fault) -> str:
        if fault.value is NOTHING and (value := self._value(fault.path)) is not NOTHING:
            fault = fault._replace(value=value)
        return fault.line(self._flag(fault.path) or (f"line {line}" if line else None))

    def _value(self, path: KeyPath) -> Any:
        value: Any = self.values
        for part in path:
            if not isinstance(value, dict) or part not in value:
                return NOTHING
            value = value[part]
        return NOTHING if isinstance(value, dict) else value

    def _line(self, path: KeyPath) -> int | None:
        """The line number of a key, or of the nearest table around it: inline tables have no line of their own."""
        lines = self._lines = self._lines or _key_lines(self._text)
        return next((lines[path[:depth]] for depth in range(len(path), 0, -1) if path[:depth] in lines), None)


def read(path: Path) -> Document:
    """Read the `job.toml` at a path, which may be that of its folder.

    Raises:
        JobError: there is no such file, it cannot be read, or it is not TOML; the error says in which line and column.
    """
    path = path.expanduser().absolute()
    file = path
    try:
        file = path / "job.toml" if path.is_dir() else path
        text = file.read_bytes().decode("utf-8-sig")
        return Document(file, text, tomllib.loads(text))
    except FileNotFoundError as exc:
        near = _nearest_job(path)
        hint = did_you_mean(near) or "`promptmill init DIR` makes a sample job."
        reason = "there is no job.toml in this folder" if file != path else "there is no such job"
        raise JobError([f"{reason}. {hint}"], where=str(path)) from exc
    except OSError as exc:
        advice = "Check its permissions" if exc.errno != errno.ENAMETOOLONG else "Give a job folder, or its job.toml"
        raise JobError([f"cannot be read: {exc.strerror}. {advice}."], where=clean(str(file), most=200)) from exc
    except UnicodeDecodeError as exc:
        line = exc.object[: exc.start].count(b"\n") + 1
        raise JobError([f"line {line}: is not UTF-8. Save the file as UTF-8."], where=str(file)) from exc
    except tomllib.TOMLDecodeError as exc:
        match = _TOML_PLACE.match(str(exc))
        reason = match[1] if match else str(exc)
        position = f"line {match[2]}, column {match[3]}" if match and match[2] else "at the end of the file"
        raise JobError(
            [f'{position}: not TOML: {reason}. Texts stand in quotes: key = "text".'], where=str(file)
        ) from exc


def _nearest_job(path: Path) -> list[str]:
    """What was probably meant by a path that is no job: the one job file in it, else a job of a similar name."""
    try:
        inside = sorted(path.glob("*.toml")) if path.is_dir() else []
        beside = {entry.name: entry for entry in path.parent.iterdir() if entry.name != path.name and _is_job(entry)}
    except OSError:
        return []
    near = [beside[name] for name in nearest(path.name, sorted(beside))]
    return [str(job) for job in (inside if len(inside) == 1 else near)]


def _is_job(path: Path) -> bool:
    return (path / "job.toml").is_file() or (path.suffix == ".toml" and path.is_file())


def field_value(path: KeyPath, value: Any, kind: Any) -> tuple[Any, list[Fault]]:
    """One value in the type of its field, or None and a fault with the description of the field.

    Args:
        path: its key.
        value: as the file or a program gave it.
        kind: the annotated type.
    """
    read_text = meta(kind, "extra", {}).get("read")
    try:
        if read_text is not None and isinstance(value, str):
            value = read_text(value)
        return msgspec.convert(value, kind, strict=True, dec_hook=from_text), []
    except Misread as exc:
        return None, [Fault(path, str(exc), value)]
    except (msgspec.ValidationError, ValueError, TypeError) as exc:
        why = f" ({tell(exc)})" if (tell := meta(kind, "extra", {}).get("why")) is not None else ""
        return None, [Fault(path, f"expected {wanted(kind)}{why}", value)]


def leaves(value: Any, path: KeyPath = (), *, lists: bool = True) -> Iterator[tuple[KeyPath, Any]]:
    """Every value inside nested tables, and inside `lists`, with its path."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, (*path, str(key)), lists=lists)
    elif lists and isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from leaves(item, (*path, str(index)))
    else:
        yield path, value


def _section(path: KeyPath, value: Any, kind: type[msgspec.Struct], kinds: Kinds) -> tuple[dict[str, Any], list[Fault]]:
    if not isinstance(value, dict):
        return {}, [Fault(path, f"expected a section: write [{dotted(path)}] on a line of its own", value)]
    fields = {field.name: field for field in fields_of(kind)}
    converted: dict[str, Any] = {}
    faults: list[Fault] = []
    for key, item in value.items():
        if key not in fields:
            faults.append(Fault((*path, key), _unknown(key, fields, kinds, section=path), item))
            continue
        if (table := table_kind(fields[key].type)) is not None:
            converted[key], errors = _named((*path, key), item, table, kinds)
        else:
            converted[key], errors = field_value((*path, key), item, fields[key].type)
        faults += errors
    faults += [
        Fault((*path, key), f"is missing: add {key} to [{dotted(path)}], {wanted(field.type)}")
        for key, field in fields.items()
        if field.required and key not in value
    ]
    return converted, faults


def _named(
    path: KeyPath, value: Any, kind: type[msgspec.Struct], kinds: Kinds
) -> tuple[dict[str, msgspec.Struct], list[Fault]]:
    """The tables `[path.NAME]` without fault, by their own names, and the faults of all of them."""
    where = dotted(path)
    if not isinstance(value, dict):
        return {}, [Fault(path, f"expected a table with a name of its own: [{where}.NAME]", value)]
    if value and not any(isinstance(table, dict) for table in value.values()):
        # A plain [provider] with keys in it: one fault, not one for every key.
        return {}, [Fault(path, f"has no name: write [{where}.NAME], and the NAME as model.{_NAME_KEYS[path[-1]]}")]
    sound: dict[str, msgspec.Struct] = {}
    faults: list[Fault] = []
    for other, table in value.items():
        if isinstance(table, dict) and table and all(isinstance(inner, dict) for inner in table.values()):
            name = f"{other}.{next(iter(table))}"  # TOML takes the dot of [limits.model.glm-4.5] for another table
            faults.append(Fault((*path, other), f"a name with a dot stands in quotes: [{dotted((*path, name))}]"))
            continue
        fields, errors = _section((*path, other), table, kind, kinds)
        faults += errors
        if not errors:
            sound[other] = kind(**fields)
    return sound, faults


def _unknown(key: str, known: Mapping[str, Any], kinds: Kinds, *, section: KeyPath = ()) -> str:
    """What to say about an unknown key: the nearest name, the section it belongs in, or all names there are."""
    if is_api_key(key):
        return NO_KEYS_HERE
    where = f"[{dotted(section)}]" if section else "the job"
    homes = [
        other
        for other, kind in kinds.items()
        if other not in section[:1] and key in kind.__struct_fields__ and key not in known
    ]
    if not homes and (hint := suggestion(key, known)):
        return f"unknown key. {hint}"
    if homes:
        return f"unknown key: it belongs in {' or '.join(f'[{home}]' for home in homes)}"
    return f"unknown key: {where} has {', '.join(known)}"


def _key_path(name: str) -> KeyPath:
    """The parts of a dotted TOML key."""
    table: Any = tomllib.loads(f"{name} = 0")
    path: list[str] = []
    while isinstance(table, dict):
        if len(table) != 1:
            raise ValueError("not one key")
        key, table = next(iter(table.items()))
        path.append(key)
    return tuple(path)


def _flag_value(text: str) -> Any:
    """The value of a flag as TOML would read it; text without quotes, and dates, stay text."""
    try:
        table = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    value = table["value"] if len(table) == 1 else text
    return text if isinstance(value, (dt.date, dt.time)) else value


def _key_lines(text: str) -> dict[KeyPath, int]:
    """The line number of every table header and key that starts a line; multi-line strings are stepped over."""
    lines: dict[KeyPath, int] = {}
    table: KeyPath = ()
    closing: str | None = None
    for number, line in enumerate(text.splitlines(), 1):
        if closing is not None:
            closing = None if line.count(closing) % 2 else closing
            continue
        stripped = line.strip()
        if header := re.match(r"\[\[?\s*([^\]]+?)\s*\]", stripped):
            path = table = _loose_path(header[1])
        elif pair := re.match(
            r"""((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=(.*)""", stripped
        ):
            path = table + _loose_path(pair[1])
            quotes = re.match(r"""\s*(\"{3}|'{3})""", pair[2])
            if quotes and pair[2].count(quotes[1]) % 2:
                closing = quotes[1]
        else:
            continue
        for depth in range(1, len(path) + 1):
            lines.setdefault(path[:depth], number)
    return lines


def _loose_path(text: str) -> KeyPath:
    try:
        return _key_path(text)
    except ValueError:
        return tuple(text.split("."))
