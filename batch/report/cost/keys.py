"""What calls can be grouped by: the names of `--by`, and the value that each call has under one.

Owns the list of names and where their values come from: the call itself, the moment at which it was sent, its tags, or
the row that it was made for as the table has it now. It sums nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from batch.core.errors import RefusedToStart
from batch.core.nearest import suggestion
from batch.output import tables
from batch.report.cost.book import BookFolder
from batch.report.cost.windows import as_names, whole
from batch.report.cost.zones import PERIODS, Zones, floored, name_of

BY: Final[dict[str, str]] = {
    "model": "The model that was asked for.",
    "served": "The model that answered, as the provider names it; where none did, the one that was asked for.",
    "provider": "Who was asked.",
    "endpoint": "Which of several addresses it went to (model.endpoints).",
    "lane": "How the call travelled.",
    "day": "The day on which it was sent, in the zone of the provider's bill or that of --tz.",
    "hour": "The hour, with the offset of that zone.",
    "week": "The week, from Monday on, as ISO 8601 counts them: 2026-W41.",
    "month": "The month.",
    "job": "The name of the job that sent it.",
    "run": "The run that sent it.",
    "folder": "The output folder that has it.",
    "variant": "Which of several models or prompts it was made for.",
    "purpose": "first, retry, reask or escalate: why it was made.",
    "status": "ok or failed: how its row stands in the table now.",
    "label": "The label that its row has in the table now.",
}
"""What calls can be grouped by, besides tags and columns: what each name stands for, for people."""
TAG: Final = "tag:"
COLUMN: Final = "column:"
_OF_CALL: Final = {
    "model": "model_asked",
    **{name: name for name in ("provider", "endpoint", "lane", "job", "run", "variant")},
}
_OF_CALL["purpose"] = "purpose"
_SHOWN: Final = 30


class Stretch(NamedTuple):
    """Some calls, and the rows that they were made for."""

    folder: BookFolder
    calls: pa.Table
    results: pa.Table
    places: Any
    """Where the row of each call stands in `results`; null where it is in no table."""


class Key(Protocol):
    """One thing to group by: its name, the columns it reads, and the value of each call.

    Attributes:
        name: as it was asked for.
        calls: the columns of calls it needs.
        results: the columns of the table it needs.
    """

    name: str
    calls: tuple[str, ...]
    results: tuple[str, ...]

    def values(self, stretch: Stretch) -> Any:
        """The texts that the calls have under this name, as a dictionary array."""
        ...


def keys_of(names: Sequence[str], folders: Sequence[BookFolder], zones: Zones) -> list[Key]:
    """What to group by.

    Args:
        names: as a person typed them, several in one text with commas between.
        folders: whose calls are grouped.
        zones: of the days.

    Raises:
        RefusedToStart: a name stands for nothing here; names the nearest.
    """
    columns = list(dict.fromkeys(name for folder in folders for name in _columns(folder.columns)))
    wanted = [name for text in names for name in ([text] if text in columns else map(str.strip, text.split(",")))]
    asked = any(name.startswith(TAG) for name in wanted)
    tags = sorted({f"{TAG}{tag}" for folder in folders for tag in folder.tags()}) if asked else []
    keys = [_key(name, columns, tags, zones) for name in dict.fromkeys(wanted) if name]
    if wanted and not keys:
        raise RefusedToStart(f"--by {names[0]!r}: names nothing. It takes {', '.join(BY)}, tag:NAME, or a column.")
    return keys


def conditions(texts: Sequence[str], folders: Sequence[BookFolder], zones: Zones) -> list[tuple[Key, str]]:
    """The values that calls must have to count.

    Args:
        texts: each as `NAME=VALUE`.
        folders: whose calls they are.
        zones: of the days.

    Raises:
        RefusedToStart: a text has another form, or a name stands for nothing here.
    """
    found = []
    for text in texts:
        name, equals, value = text.partition("=")
        keys = keys_of([name], folders, zones) if equals else []
        if len(keys) != 1:
            raise RefusedToStart(f"--where {text}: says no value. Write NAME=VALUE, for instance tag:team=support.")
        found.append((keys[0], value))
    return found


def _key(name: str, columns: Sequence[str], tags: Sequence[str], zones: Zones) -> Key:
    if name in PERIODS:
        return _Period(name, zones)
    if name == "served":
        return _Served()
    if name == "folder":
        return _Folder()
    if name in _OF_CALL:
        return _OfCall(name, _OF_CALL[name])
    if name in tags:
        return _Tag(name)
    column = name.removeprefix(COLUMN)
    if column in columns:
        return _OfRow(name, column)
    if name.startswith(TAG):
        hint = suggestion(name, tags, f"They have {', '.join(tags)}." if tags else "They have no tags: see [tags].")
        raise RefusedToStart(f"--by {name}: no call has this tag. {hint}")
    known = [*(word for word in BY if word not in ("status", "label")), *tags, *columns]
    listed = ", ".join(known[:_SHOWN]) + (", …" if len(known) > _SHOWN else "")
    raise RefusedToStart(
        f"--by {name}: there is no such thing to group by. {suggestion(name, known, f'There are: {listed}.')}"
    )


def _columns(schema: pa.Schema) -> list[str]:
    """The columns of a table whose values are told apart by their text: those of the input, of labels, and status."""
    first = tables.first_of_ours(schema)
    labels = [name for name in schema.names[first:] if name == "label" or name.startswith("label_")]
    names = [*schema.names[:first], *labels, *(name for name in ("status",) if name in schema.names)]
    return [name for name in names if _told_apart(schema.field(name).type)]


def _told_apart(kind: Any) -> bool:
    types = pa.types
    binary = (types.is_binary, types.is_large_binary, types.is_fixed_size_binary, types.is_binary_view)
    return not types.is_nested(kind) and not any(is_one(kind) for is_one in binary)


class _OfCall:
    """A column of the call itself."""

    results: tuple[str, ...] = ()

    def __init__(self, name: str, column: str) -> None:
        self.name = name
        self.calls: tuple[str, ...] = (column,)

    def values(self, stretch: Stretch) -> Any:
        """The texts of the column."""
        return whole(stretch.calls.column(self.calls[0]))


class _Served:
    """The model that answered."""

    name = "served"
    calls: tuple[str, ...] = ("model_served", "model_asked")
    results: tuple[str, ...] = ()

    def values(self, stretch: Stretch) -> Any:
        """The names, those that were asked for where nobody answered."""
        return served(stretch.calls)


class _Folder:
    """The output folder."""

    name = "folder"
    calls: tuple[str, ...] = ()
    results: tuple[str, ...] = ()

    def values(self, stretch: Stretch) -> Any:
        """The same path for all."""
        return as_names(pa.repeat(pa.scalar(stretch.folder.folder.text), len(stretch.calls)))


class _Tag:
    """A tag of the job."""

    calls: tuple[str, ...] = ("tags",)
    results: tuple[str, ...] = ()

    def __init__(self, name: str) -> None:
        self.name = name

    def values(self, stretch: Stretch) -> Any:
        """What the tag says; null where the job had none of this name."""
        found = pc.map_lookup(whole(stretch.calls.column("tags")), self.name.removeprefix(TAG), "first")
        return as_names(found)


class _Period:
    """The hour, day, week or month in which a call was sent."""

    calls: tuple[str, ...] = ("sent_at", "provider")
    results: tuple[str, ...] = ()

    def __init__(self, name: str, zones: Zones) -> None:
        self.name = name
        self._zones = zones

    def values(self, stretch: Stretch) -> Any:
        """The names of the stretches of time."""
        times = whole(stretch.calls.column("sent_at")).cast(pa.int64())
        provider = whole(stretch.calls.column("provider"))
        by_zone: dict[Any, list[str | None]] = {}
        for name in provider.unique().to_pylist():
            by_zone.setdefault(self._zones.of(name), []).append(name)
        found = None
        for zone, providers in by_zone.items():
            begins = floored(times, zone, self.name).dictionary_encode()
            names = [name_of(begin, zone, self.name) for begin in begins.dictionary.to_pylist()]
            texts = pa.DictionaryArray.from_arrays(begins.indices, pa.array(names, pa.string()))
            if len(by_zone) == 1:
                return as_names(texts)
            mine = pc.is_in(provider.dictionary, value_set=pa.array(providers, pa.string())).take(provider.indices)
            plain = texts.dictionary_decode()
            found = plain if found is None else pc.if_else(pc.fill_null(mine, None in providers), plain, found)
        return as_names(found)


class _OfRow:
    """A column of the row that the call was made for."""

    calls: tuple[str, ...] = ()

    def __init__(self, name: str, column: str) -> None:
        self.name = name
        self.results: tuple[str, ...] = (column,)

    def values(self, stretch: Stretch) -> Any:
        """What the table has there now; null where the row is in no table."""
        return whole(stretch.results.column(self.results[0])).take(stretch.places)


def served(calls: pa.Table) -> Any:
    """The model that answered each call; where none did, the one that was asked for."""
    said, asked = whole(calls.column("model_served")), whole(calls.column("model_asked"))
    if said.null_count == 0:
        return said
    if said.null_count == len(said):
        return asked
    return as_names(pc.coalesce(said.dictionary_decode(), asked.dictionary_decode()))
