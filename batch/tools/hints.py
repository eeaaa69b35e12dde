"""Type hints: from what an author wrote at a parameter to its `Kind`, or a fault that says what to write instead.

Owns which hints are supported, and what `Annotated` says. The kinds themselves are in `kinds`, `shapes` and `models`.
"""

from __future__ import annotations

import datetime as dt
import functools
import inspect
import operator
import textwrap
import types
import typing
import uuid
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import inspect as infos

from batch.tools import kinds, models, scalars, shapes
from batch.tools.docstrings import read_docstring
from batch.tools.kinds import Kind
from batch.tools.scalars import Range

SUPPORTED: Final = (
    "int, float, str, bool, None, list[T], tuple[A, B], tuple[T, ...], dict[str, T], Any, Literal, Enum, date, "
    "datetime, time, Decimal, UUID, unions of these, TypedDict, dataclass, msgspec.Struct or a pydantic model"
)
_TEXTS: Final[dict[type, tuple[type, str, str]]] = {
    infos.DateType: (dt.date, "date", "2026-05-01"),
    infos.DateTimeType: (dt.datetime, "date-time", "2026-05-01T12:30:00Z"),
    infos.TimeType: (dt.time, "time", "12:30:00"),
    infos.UUIDType: (uuid.UUID, "uuid", "6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
}
_LIMITS: Final = ("ge", "gt", "le", "lt", "multiple_of", "min_length", "max_length", "pattern")
_WRAPPERS: Final = (typing.Required, typing.NotRequired, typing.ClassVar, typing.Final)


class HintFault(ValueError):
    """A type hint that has no JSON form; the message says which part, and what to write instead."""


def kind_of(hint: Any) -> Kind:
    """The kind of one type hint.

    Raises:
        HintFault: the hint has no JSON form that we support.
    """
    try:
        info = infos.type_info(_readable(hint))
        return _Reader(hint).kind(info, ())
    except HintFault:
        raise
    except models.SchemaFault as error:
        raise HintFault(f"the hint {show(hint)} is not supported: {error}") from error
    except Exception as error:  # evaluating a hint and its classes runs the author's code, which may raise anything
        raise HintFault(f"the hint {show(hint)} has no JSON form ({error}); use {SUPPORTED}") from error


def show(hint: Any) -> str:
    """A hint as one writes it."""
    return inspect.formatannotation(hint)


class _Reader:
    """Reads the parts of one hint, which the faults name whole."""

    def __init__(self, hint: Any) -> None:
        self._hint = hint

    def kind(self, info: infos.Type, inside: tuple[Any, ...]) -> Kind:
        """The kind of the hint or of a part of it, as msgspec sees it, inside of these classes."""
        match info:
            case infos.Metadata(type=inner):
                extra = {key: value for key, value in (info.extra_json_schema or {}).items() if key != "title"}
                return shapes.Described(self.kind(inner, inside), extra)
            case infos.UnionType(types=members):
                return shapes.UnionKind([self.kind(member, inside) for member in members])
            case infos.ListType() | infos.VarTupleType():
                make = list if isinstance(info, infos.ListType) else tuple
                return shapes.ArrayKind(self.kind(info.item_type, inside), make, info.min_length, info.max_length)
            case infos.TupleType(item_types=items):
                return shapes.TupleKind([self.kind(item, inside) for item in items])
            case infos.DictType(key_type=key, value_type=value):
                return shapes.DictKind(self._key(key), self.kind(value, inside), info.min_length, info.max_length)
            case infos.StructType() | infos.TypedDictType() | infos.DataclassType():
                return self._object(info, inside)
            case infos.CustomType(cls=cls) if models.is_model(cls):
                return models.ModelKind(cls)
            case _:
                return _plain(info) or self._unsupported(info)

    def _unsupported(self, info: infos.Type) -> Kind:
        cls = getattr(info, "cls", None)
        kind = getattr(cls, "__name__", None) or type(info).__name__.removesuffix("Type").lower()
        raise HintFault(f"the hint {show(self._hint)} is not supported (it has a {kind}); use {SUPPORTED}")

    def _key(self, info: infos.Type) -> scalars.StrKind:
        inner = info.type if isinstance(info, infos.Metadata) else info
        kind = scalars.StrKind() if isinstance(inner, infos.AnyType) else _plain(inner)
        if not isinstance(kind, scalars.StrKind):
            raise HintFault(f"the hint {show(self._hint)} has keys that are not str, as in JSON; use dict[str, T]")
        return kind

    def _object(self, info: Any, inside: tuple[Any, ...]) -> Kind:
        if info.cls in inside:
            raise HintFault(f"the hint {show(self._hint)} contains itself, which needs a $ref; use a fixed depth")
        if getattr(info, "array_like", False):
            self._unsupported(info)
        cls = getattr(info.cls, "__origin__", info.cls)
        hints = typing.get_type_hints(cls, include_extras=True)
        summary, texts = _class_texts(info, cls)
        fields = []
        declared = info.fields
        if isinstance(info, infos.TypedDictType):  # msgspec has them by the alphabet
            declared = sorted(info.fields, key=lambda field: list(hints).index(field.name))
        for field in declared:
            own = _unwrapped(hints.get(field.name))
            readable = _readable(own)
            # msgspec does not see what others than itself say in `Annotated`.
            read = field.type if readable is own else infos.type_info(readable)
            kind = self.kind(read, (*inside, info.cls))
            schema = _default(field)
            if field.name in texts and not (isinstance(kind, shapes.Described) and kind.has_description):
                schema["description"] = texts[field.name]
            fields.append(shapes.Field(field.encode_name, field.name, kind, field.required, schema))
        if not isinstance(info, infos.TypedDictType):
            self._check_constructor(cls, [field.name for field in info.fields if field.required], info.fields)
        tag = (info.tag_field, info.tag) if getattr(info, "tag_field", None) else None
        return shapes.ObjectKind(info.cls, fields, description=summary, tag=tag)

    def _check_constructor(self, cls: Any, required: list[str], fields: tuple[infos.Field, ...]) -> None:
        """Refuse a class that cannot be made of its fields by name."""
        parameters = inspect.signature(cls).parameters
        open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
        names = {field.name for field in fields}
        wanted = {
            name
            for name, parameter in parameters.items()
            if parameter.default is parameter.empty and parameter.kind in {1, 3}  # by keyword
        }
        if (wanted - set(required)) or not (open_ended or names <= parameters.keys()):
            raise HintFault(
                f"the hint {show(self._hint)} is not supported ({cls.__name__} is not made of its fields by name); "
                "take a TypedDict or a plain dataclass, and make the object in the function"
            )


def _plain(info: infos.Type) -> Kind | None:
    """The kind of a hint without parts; None when it has none that we support."""
    match info:
        case infos.AnyType():
            return kinds.AnyKind()
        case infos.NoneType():
            return scalars.NullKind()
        case infos.BoolType():
            return scalars.BoolKind()
        case infos.IntType() | infos.FloatType():
            limits = Range(info.ge, info.gt, info.le, info.lt, info.multiple_of)
            return scalars.IntKind(limits) if isinstance(info, infos.IntType) else scalars.FloatKind(limits)
        case infos.StrType():
            return scalars.StrKind(info.min_length, info.max_length, info.pattern)
        case infos.LiteralType(values=values):
            return scalars.ChoiceKind(values)
        case infos.EnumType(cls=cls):
            return scalars.ChoiceKind(sorted(member.value for member in cls), cls, _enum_text(cls))
        case infos.DecimalType():
            return scalars.DecimalKind()
        case _ if words := _TEXTS.get(type(info)):
            return scalars.TextKind(*words)
        case _:
            return None


def _enum_text(cls: type) -> str:
    text = _doc(cls)
    return "" if text == "An enumeration." else text


def _doc(cls: type) -> str:
    return textwrap.dedent(cls.__doc__ or "").strip("\r\n")


def _class_texts(info: Any, cls: type) -> tuple[str, dict[str, str]]:
    """What the docstring of a class says of it, and of its fields; not the one that a dataclass gets by itself."""
    text = _doc(cls)
    if isinstance(info, infos.DataclassType) and text.startswith(f"{cls.__name__}(") and text.endswith(")"):
        return "", {}
    read = read_docstring(text)
    texts = {**read.parameters, **read.attributes}
    return (read.summary if texts else text), texts


def _default(field: infos.Field) -> dict[str, Any]:
    if field.required:
        return {}
    if field.default is not msgspec.NODEFAULT:
        return {"default": kinds.as_json(field.default)}
    if field.default_factory in {list, dict}:
        return {"default": field.default_factory()}
    return {}


def _unwrapped(hint: Any) -> Any:
    """A hint without `Required`, `NotRequired` and the like."""
    while typing.get_origin(hint) in _WRAPPERS:
        (hint,) = typing.get_args(hint)
    return hint


def _readable(hint: Any) -> Any:
    """The hint with what `Annotated` says put so that msgspec sees it: a text, `Field(…)` of pydantic, `Ge(0)`.

    A hint that says nothing of the kind comes back as it is.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is None or origin is Literal or isinstance(hint, types.FunctionType):
        return hint
    if origin is Annotated:
        inner, metas = _readable(hint.__origin__), hint.__metadata__
        own = [meta for meta in metas if isinstance(meta, msgspec.Meta)]
        said = _said([meta for meta in metas if not isinstance(meta, msgspec.Meta)])
        if not said:
            return hint if inner is hint.__origin__ else functools.reduce(_annotated, own, inner)
        return functools.reduce(_annotated, [msgspec.Meta(**said), *own], inner)
    changed = tuple(_readable(argument) for argument in arguments)
    if all(new is old for new, old in zip(changed, arguments, strict=True)):
        return hint
    if origin is typing.Union or origin is types.UnionType:
        return functools.reduce(operator.or_, changed) if origin is types.UnionType else typing.Union[changed]  # noqa: UP007  its members are only known here
    return origin[changed]


def _annotated(hint: Any, meta: Any) -> Any:
    return Annotated[hint, meta]


def _said(metas: list[Any]) -> dict[str, Any]:
    """What the metadata of others says, in the words of `msgspec.Meta`."""
    said: dict[str, Any] = {}
    for meta in metas:
        text = (
            meta
            if isinstance(meta, str)
            else getattr(meta, "description", None) or getattr(meta, "documentation", None)
        )
        if text:
            said["description"] = text
        for limits in (meta, *(getattr(meta, "metadata", None) or ())):
            for name in _LIMITS:
                if not isinstance(limits, str) and (limit := getattr(limits, name, None)) is not None:
                    said[name] = limit
    return said
