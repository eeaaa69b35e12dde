"""What a type hint with parts is to JSON: arrays, objects, unions, each with its schema, its check and its object.

Owns the way into the parts, and the strictness there: no key that is not declared, at any depth. Kinds without parts
are in `scalars`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from batch.tools.kinds import MISSING, MOST_FAULTS, Check, Kind, Misfit, json_name, length_fault, parse
from batch.tools.scalars import ChoiceKind, NullKind, StrKind

_SHOWN_KEYS: Final = 50


class Described(Kind):
    """A kind with a text of its own, or other keywords that its author gave it (`Annotated`)."""

    def __init__(self, inner: Kind, extra: Mapping[str, Any]) -> None:
        self.inner = inner
        self.extra = dict(extra)
        self.name, self.takes = inner.name, inner.takes
        self.has_description = "description" in extra

    def schema(self) -> dict[str, Any]:
        return {**self.inner.schema(), **self.extra}

    def check(self, value: Any, at: str, check: Check) -> Any:
        return self.inner.check(value, at, check)

    def build(self, plain: Any) -> Any:
        return self.inner.build(plain)


class _Parts(Kind):
    """A kind whose value is an array or an object; under coercion, a text with its JSON will do."""

    json: type = list
    takes: tuple[type, ...] = (list,)

    def check(self, value: Any, at: str, check: Check) -> Any:
        if not isinstance(value, self.json) and check.coerce and (near := _parsed(value, self.json)) is not MISSING:
            check.coerced.append(at)
            value = near
        if not isinstance(value, self.json):
            check.fault(at, f"Expected `{self.name}`, got `{json_name(value)}`")
            return None
        return self.check_parts(value, at, check)

    def check_parts(self, value: Any, at: str, check: Check) -> Any:
        """As `check`, of an array or an object."""
        raise NotImplementedError


class ArrayKind(_Parts):
    """`list[T]`, `tuple[T, ...]` and both of them bare."""

    name = "array"

    def __init__(self, item: Kind, make: type = list, shortest: int | None = None, longest: int | None = None) -> None:
        self.item = item
        self.make = make
        self.lengths = (shortest, longest)

    def schema(self) -> dict[str, Any]:
        # Always with `items`: some services refuse an array without.
        words = {"minItems": self.lengths[0], "maxItems": self.lengths[1]}
        limits = {word: limit for word, limit in words.items() if limit is not None}
        return {"type": "array", "items": self.item.schema(), **limits}

    def check_parts(self, value: Any, at: str, check: Check) -> Any:
        if fault := length_fault("array", len(value), *self.lengths):
            check.fault(at, fault)
        return [self.item.check(item, f"{at}[{place}]", check) for place, item in enumerate(value)]

    def build(self, plain: Any) -> Any:
        return self.make(map(self.item.build, plain))


class TupleKind(_Parts):
    """`tuple[A, B]`: an array of so many items."""

    name = "array"

    def __init__(self, items: Sequence[Kind]) -> None:
        self.items = tuple(items)

    def schema(self) -> dict[str, Any]:
        schemas = [item.schema() for item in self.items]
        different = [schema for place, schema in enumerate(schemas) if schema not in schemas[:place]]
        one = different[0] if len(different) == 1 else {"anyOf": different} if different else {}
        # `items` speaks to services that do not know `prefixItems`; it allows nothing more.
        prefix = {"prefixItems": schemas} if len(different) > 1 else {}
        return {"type": "array", **prefix, "items": one, "minItems": len(schemas), "maxItems": len(schemas)}

    def check_parts(self, value: Any, at: str, check: Check) -> Any:
        if len(value) != len(self.items):
            check.fault(at, f"Expected an `array` of length {len(self.items)}, got {len(value)}")
            return None
        pairs = enumerate(zip(self.items, value, strict=True))
        return [kind.check(item, f"{at}[{place}]", check) for place, (kind, item) in pairs]

    def build(self, plain: Any) -> Any:
        return tuple(kind.build(item) for kind, item in zip(self.items, plain, strict=True))


class DictKind(_Parts):
    """`dict[str, T]`, and a bare `dict`."""

    name = "object"
    json = dict
    takes = (dict,)

    def __init__(self, key: StrKind, value: Kind, shortest: int | None = None, longest: int | None = None) -> None:
        self.key = key
        self.value = value
        self.lengths = (shortest, longest)

    def schema(self) -> dict[str, Any]:
        words = {"minProperties": self.lengths[0], "maxProperties": self.lengths[1]}
        schema: dict[str, Any] = {
            "type": "object",
            **{word: limit for word, limit in words.items() if limit is not None},
        }
        names = {word: part for word, part in self.key.schema().items() if word != "type"}
        if names:
            schema["propertyNames"] = names
        value = self.value.schema()
        return {**schema, "additionalProperties": value} if value else schema

    def check_parts(self, value: Any, at: str, check: Check) -> Any:
        if fault := length_fault("object", len(value), *self.lengths):
            check.fault(at, fault)
        found = {}
        for name, item in value.items():
            accepted = self.key.accepts(name)
            if isinstance(accepted, Misfit):
                check.fault(at, f"key {name[:_SHOWN_KEYS]!r}: {accepted.text}")
            found[name] = self.value.check(item, f"{at}.{name[:_SHOWN_KEYS]}", check)
        return found

    def build(self, plain: Any) -> Any:
        return {name: self.value.build(item) for name, item in plain.items()}


class Field(msgspec.Struct, frozen=True):
    """One key of an object that a class describes."""

    key: str
    """As the model writes it."""
    name: str
    """As the class takes it."""
    kind: Kind
    required: bool
    schema: dict[str, Any]
    """What its schema has beside that of its kind: a text, a default."""


class ObjectKind(_Parts):
    """A dataclass, a TypedDict or a msgspec struct: an object with these keys and no others."""

    name = "object"
    json = dict
    takes = (dict,)

    def __init__(
        self, cls: Any, fields: Sequence[Field], *, description: str = "", tag: tuple[str, Any] | None = None
    ) -> None:
        self.cls = cls
        self.fields = {field.key: field for field in fields}
        self.description = description
        self.has_description = bool(description)
        self.tag = tag
        """A key that a struct is known by, and its value."""

    def schema(self) -> dict[str, Any]:
        schema: dict[str, Any] = {"description": self.description} if self.description else {}
        tag = {self.tag[0]: ChoiceKind([self.tag[1]]).schema()} if self.tag else {}
        properties = {key: {**field.kind.schema(), **field.schema} for key, field in self.fields.items()}
        return {
            **schema,
            "type": "object",
            "properties": {**tag, **properties},
            "required": [*tag, *(key for key, field in self.fields.items() if field.required)],
            "additionalProperties": False,
        }

    def check_parts(self, value: Any, at: str, check: Check) -> Any:
        found = {}
        left = dict(value)
        if self.tag is not None:
            key, wanted = self.tag
            if (given := left.pop(key, MISSING)) != wanted or type(given) is not type(wanted):
                check.fault(at, f"Expected {wanted!r} as key {key!r}")
            found[key] = wanted
        missing = [key for key, field in self.fields.items() if field.required and key not in value]
        unknown = [key for key in left if key not in self.fields]
        keys = [*([self.tag[0]] if self.tag else ()), *self.fields]
        wrong = [f"missing key {key!r}" for key in missing] + [
            f"unknown key {key[:_SHOWN_KEYS]!r}" for key in unknown[:MOST_FAULTS]
        ]
        if wrong:
            check.fault(at, f"{', '.join(wrong)}, the keys are {', '.join(keys)}" if keys else "it has no keys")
        for key, item in left.items():
            if field := self.fields.get(key):
                found[key] = field.kind.check(item, f"{at}.{key}", check)
        return found

    def build(self, plain: Any) -> Any:
        made = {field.name: field.kind.build(plain[key]) for key, field in self.fields.items() if key in plain}
        return self.cls(**made)


class UnionKind(Kind):
    """`A | B`, and `Optional`."""

    def __init__(self, members: Sequence[Kind]) -> None:
        # `None` comes last in the schema, as is usual; a whole number is an `int` where both numbers are offered.
        self.members = sorted(members, key=lambda member: isinstance(member, NullKind))
        self.tried = sorted(self.members, key=lambda member: member.name == "float")
        self.name = " | ".join(member.name for member in self.members)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [member.schema() for member in self.members]}

    def check(self, value: Any, at: str, check: Check) -> Any:
        trials: list[tuple[Kind, Check]] = []
        for coerce in (False, True) if check.coerce else (False,):
            for member in self.tried:
                trial = Check(coerce=coerce)
                plain = member.check(value, at, trial)
                if not trial.faults:
                    check.coerced += trial.coerced
                    return plain
                trials.append((member, trial))
        # The member that the value was probably meant for says what is wrong with it.
        near = [trial for member, trial in trials if type(value) in member.takes]
        if near:
            check.faults += near[0].faults[: MOST_FAULTS - len(check.faults)]
            check.untold += near[0].untold
        else:
            check.fault(at, f"Expected `{self.name}`, got `{json_name(value)}`")
        return None

    def build(self, plain: Any) -> Any:
        for member in self.tried:
            trial = Check(coerce=False)
            member.check(plain, "", trial)
            if not trial.faults:
                return member.build(plain)
        raise ValueError(f"Expected `{self.name}`, got `{json_name(plain)}`")


def _parsed(value: Any, kind: type) -> Any:
    """The array or object that a text is the JSON of; MISSING for any other value."""
    if not isinstance(value, str) or value.lstrip()[:1] not in ("[", "{"):
        return MISSING
    try:
        found = parse(value)
    except (ValueError, RecursionError):
        return MISSING
    return found if isinstance(found, kind) else MISSING
