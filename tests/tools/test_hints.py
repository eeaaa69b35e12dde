"""Every hint, all the way: signature → schema → arguments → call, held against the JSON Schema standard and OpenAI's rules.

What can be compared and what cannot: our reader takes what the schema takes, but for whole numbers with a fraction
(`2.0` is an integer to the standard, and a float to Python) and for what `format` says (to the standard, a note). OpenAI's
strict rules know neither defaults nor open dictionaries, for which every key is required and named; all else they leave as
it is.
"""

import copy
import dataclasses
import datetime as dt
import enum
import inspect
import json
import types
import uuid
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, NamedTuple, NotRequired, Optional, TypedDict, TypeVar

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.lib import _pydantic as openai_rules

from batch.tools.arguments import ArgumentFault, read_arguments
from batch.tools.exact import ExactFloat
from batch.tools.hints import HintFault, kind_of
from batch.tools.registry import Tool, ToolSet, tool

T = TypeVar("T")
Draft = jsonschema.Draft202012Validator


class Unit(enum.Enum):
    KILO = "kg"
    GRAM = "g"


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 2


@dataclasses.dataclass
class Box(Generic[T]):
    """A box.

    Attributes:
        content: what is in it.
    """

    content: T
    weight: Annotated[float, "in kilograms"] = 1.5
    tags: list[str] = dataclasses.field(default_factory=list)


class Point(TypedDict):
    x: float
    name: NotRequired[Annotated[str, "shown on the map"]]


class Line(msgspec.Struct, rename="camel"):
    """Two points."""

    first_point: Point
    second_point: Point | None = None


class Cat(msgspec.Struct, tag="cat"):
    lives: int


class Dog(msgspec.Struct, tag="dog"):
    name: str


def described(*parameters: tuple[str, Any, Any]) -> tuple[Tool, list[dict[str, Any]]]:
    """A tool with these parameters, name, hint and default each, and the list of what it is called with."""
    called: list[dict[str, Any]] = []

    def function(**given: Any) -> None:
        called.append(given)

    keyword = inspect.Parameter.KEYWORD_ONLY
    signature = inspect.Signature(
        [inspect.Parameter(name, keyword, annotation=hint, default=default) for name, hint, default in parameters]
    )
    function.__signature__ = signature  # type: ignore[attr-defined]  # functions have it
    function.__annotations__ = {name: hint for name, hint, _ in parameters}
    entry = ToolSet.of([tool(function)]).get("function")
    assert entry is not None
    return entry, called


def accepted(hint: Any, value: Any, *, coerce: bool = False) -> Any:
    """What a function gets for one argument with this hint."""
    entry, _ = described(("a", hint, inspect.Parameter.empty))
    return read_arguments(entry.parameters, json.dumps({"a": value}), coerce=coerce)["a"]


# -- hints and values at random ---------------------------------------------------------------------------------------

FRACTIONS = st.floats(allow_nan=False, allow_infinity=False).filter(lambda number: not number.is_integer())
WHOLE = st.integers(min_value=-(2**70), max_value=2**70)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)


class Sample(NamedTuple):
    """A hint, what is of it as JSON, and whether the standard and OpenAI's rules can say all of it."""

    hint: Any
    values: st.SearchStrategy[Any]
    closed: bool = True


LEAVES: Sequence[Sample] = [
    Sample(int, WHOLE),
    Sample(float, WHOLE | FRACTIONS),
    Sample(str, TEXTS),
    Sample(bool, st.booleans()),
    Sample(None, st.none()),
    Sample(Literal["a", "b", 3], st.sampled_from(["a", "b", 3])),
    Sample(Unit, st.sampled_from(["kg", "g"])),
    Sample(Size, st.sampled_from([1, 2])),
    Sample(Decimal, st.integers(-(10**30), 10**30) | st.sampled_from(["1.50", "-3", "+.5", "1e3", "7."])),
    Sample(Annotated[int, msgspec.Meta(ge=0, lt=9)], st.integers(0, 8)),
    Sample(Annotated[str, msgspec.Meta(min_length=1, pattern="^[a-z]*$")], st.text("abc", min_size=1)),
    Sample(list, st.lists(WHOLE | TEXTS, max_size=3), closed=False),
    Sample(dict, st.dictionaries(TEXTS, WHOLE | TEXTS, max_size=3), closed=False),
    Sample(tuple, st.lists(WHOLE | TEXTS, max_size=3), closed=False),
    Sample(Any, st.none() | WHOLE | FRACTIONS | TEXTS, closed=False),
]


def list_of(one: Sample) -> Sample:
    hint: Any = one.hint
    return Sample(list.__class_getitem__(hint), st.lists(one.values, max_size=3), one.closed)


def run_of(one: Sample) -> Sample:
    hint: Any = one.hint
    return Sample(tuple.__class_getitem__((hint, ...)), st.lists(one.values, max_size=3), one.closed)


def dict_of(one: Sample) -> Sample:
    hint: Any = one.hint
    return Sample(dict.__class_getitem__((str, hint)), st.dictionaries(TEXTS, one.values, max_size=3), closed=False)


def optional(one: Sample) -> Sample:
    return Sample(Optional[one.hint], st.none() | one.values, one.closed)  # noqa: UP045  a hint may be None itself


def tuple_of(parts: list[Sample]) -> Sample:
    values = st.tuples(*(part.values for part in parts)).map(list)
    hints = tuple(part.hint for part in parts)
    return Sample(tuple.__class_getitem__(hints), values, all(part.closed for part in parts))


def grown(samples: st.SearchStrategy[Sample]) -> st.SearchStrategy[Sample]:
    """Hints with parts of these hints."""
    fields = st.lists(st.tuples(samples, st.booleans()), min_size=1, max_size=3)
    return st.one_of(
        samples.map(list_of),
        samples.map(run_of),
        samples.map(dict_of),
        samples.map(optional),
        st.lists(samples, min_size=1, max_size=3).map(tuple_of),
        st.tuples(st.sampled_from(["dataclass", "struct", "typed"]), fields).map(lambda drawn: of_class(*drawn)),
    )


def of_class(form: str, fields: list[tuple[Sample, bool]]) -> Sample:
    """A class with these fields, of which some need not be given."""
    names = [f"field_{place}" for place in range(len(fields))]
    hints = dict(zip(names, (sample.hint for sample, _ in fields), strict=True))
    required = {name for name, (_, needed) in zip(names, fields, strict=True) if needed}
    ordered = sorted(names, key=lambda name: name not in required)
    cls: Any
    if form == "typed":
        marked = {name: hint if name in required else NotRequired[hint] for name, hint in hints.items()}
        cls = types.new_class("Made", (TypedDict,), exec_body=lambda body: body.update(__annotations__=marked))
    elif form == "struct":
        empty = {name: Any if hints[name] is Any else Optional[hints[name]] for name in names}  # noqa: UP045  made at run time
        cls = msgspec.defstruct(
            "Made", [(name, hints[name]) if name in required else (name, empty[name], None) for name in ordered]
        )
    else:
        left_out = {name: dataclasses.field(default_factory=dict) for name in names}  # type: ignore[var-annotated]  # made at run time
        cls = dataclasses.make_dataclass(
            "Made",
            [(name, hints[name]) if name in required else (name, hints[name], left_out[name]) for name in ordered],
        )
    values = {name: sample.values for name, (sample, _) in zip(names, fields, strict=True)}
    given = st.fixed_dictionaries(
        {name: values[name] for name in ordered if name in required},
        optional={name: values[name] for name in ordered if name not in required},
    )
    # A key that may be left out is one that OpenAI's strict rules ask for.
    return Sample(cls, given, len(required) == len(names) and all(sample.closed for sample, _ in fields))


HINTS = st.recursive(st.sampled_from(LEAVES), grown, max_leaves=6)


@st.composite
def called(draw: st.DrawFn) -> tuple[Sample, Any]:
    """A hint, and a value that is of it, of another one, or of it but for one key."""
    sample = draw(HINTS)
    value = draw(sample.values | sample.values | draw(HINTS).values)
    if isinstance(value, dict) and draw(st.booleans()):
        value = {**value, "unknown": 1} if draw(st.booleans()) else dict(list(value.items())[1:])
    return sample, value


@given(HINTS, st.data())
def test_what_a_hint_means_is_in_its_schema_and_reaches_the_function_as_it_was_sent(
    sample: Sample, data: st.DataObject
) -> None:
    """The schema is one, the value is of it, and the function gets the same value, in the types of its hint."""
    entry, calls = described(("a", sample.hint, inspect.Parameter.empty))
    parameters = entry.schema["function"]["parameters"]
    Draft.check_schema(parameters)
    value = data.draw(sample.values)
    Draft(parameters).validate({"a": value})
    arguments = read_arguments(entry.parameters, json.dumps({"a": value}))
    entry.function(**arguments)
    (got,) = calls
    assert same(got["a"], value)
    assert typed(got["a"], sample.hint)


@given(called())
def test_the_reader_and_the_schema_accept_the_same(drawn: tuple[Sample, Any]) -> None:
    """A service that holds the model to the schema never sends what is refused here, and the other way round."""
    sample, value = drawn
    entry, _ = described(("a", sample.hint, inspect.Parameter.empty))
    try:
        read_arguments(entry.parameters, json.dumps({"a": value}))
        fault = None
    except ArgumentFault as error:
        fault = str(error)
    assert Draft(entry.schema["function"]["parameters"]).is_valid({"a": value}) == (fault is None), fault


@given(HINTS)
def test_openais_strict_rules_leave_a_schema_as_it_is(sample: Sample) -> None:
    """What their package does to be accepted as `strict`; of dictionaries and keys that may be left out, it knows nothing."""
    entry, _ = described(("a", sample.hint, inspect.Parameter.empty))
    ours = entry.schema["function"]["parameters"]
    theirs = openai_rules._ensure_strict_json_schema(copy.deepcopy(ours), path=(), root=copy.deepcopy(ours))
    Draft.check_schema(theirs)
    assert b"$ref" not in msgspec.json.encode(ours)
    if sample.closed:
        assert theirs == ours


@given(HINTS, st.data())
def test_coercion_changes_nothing_that_is_right(sample: Sample, data: st.DataObject) -> None:
    """The switch only matters where a value would have been refused."""
    value = data.draw(sample.values)
    assert same(accepted(sample.hint, value, coerce=True), value)


def same(got: Any, sent: Any) -> bool:
    """Whether what a function got is what was sent, exactly."""
    if isinstance(got, enum.Enum):
        return bool(got.value == sent)
    if isinstance(got, Decimal):
        return got == Decimal(str(sent))
    if dataclasses.is_dataclass(got) or isinstance(got, msgspec.Struct):
        return all(same(getattr(got, name), value) for name, value in sent.items())
    if isinstance(got, dict):
        return got.keys() == sent.keys() and all(same(value, sent[name]) for name, value in got.items())
    if isinstance(got, list | tuple):
        return len(got) == len(sent) and all(map(same, got, sent))
    return bool(got == sent) and isinstance(got, bool) == isinstance(sent, bool)


def typed(got: Any, hint: Any) -> bool:
    """Whether a value is of a simple hint; of those with parts, the outermost."""
    simple = {int: int, float: float, str: str, bool: bool, Unit: Unit, Decimal: Decimal, tuple: tuple, list: list}
    try:
        return isinstance(got, simple[hint]) if hint in simple else True
    except TypeError:
        return True


# -- hints one by one -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hint", "schema"),
    [
        (list, {"type": "array", "items": {}}),
        (dict, {"type": "object"}),
        (dict[str, Any], {"type": "object"}),
        (tuple, {"type": "array", "items": {}}),
        (tuple[int, ...], {"type": "array", "items": {"type": "integer"}}),
        (tuple[float, float], {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}),
        (
            tuple[int, str],
            {
                "type": "array",
                "prefixItems": [{"type": "integer"}, {"type": "string"}],
                "items": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
                "minItems": 2,
                "maxItems": 2,
            },
        ),
        (Sequence[int], {"type": "array", "items": {"type": "integer"}}),
        (Mapping[str, int], {"type": "object", "additionalProperties": {"type": "integer"}}),
        (dt.date, {"type": "string", "format": "date"}),
        (dt.datetime, {"type": "string", "format": "date-time"}),
        (dt.time, {"type": "string", "format": "time"}),
        (uuid.UUID, {"type": "string", "format": "uuid"}),
        (Annotated[int, "how many"], {"type": "integer", "description": "how many"}),
        (list[Annotated[int, "one"]], {"type": "array", "items": {"type": "integer", "description": "one"}}),
        (
            Annotated[int, "how many"] | None,
            {"anyOf": [{"type": "integer", "description": "how many"}, {"type": "null"}]},
        ),
        (None | int, {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        (
            Point,
            {
                "type": "object",
                "properties": {"x": {"type": "number"}, "name": {"type": "string", "description": "shown on the map"}},
                "required": ["x"],
                "additionalProperties": False,
            },
        ),
        (
            Box[int],
            {
                "description": "A box.",
                "type": "object",
                "properties": {
                    "content": {"type": "integer", "description": "what is in it."},
                    "weight": {"type": "number", "description": "in kilograms", "default": 1.5},
                    "tags": {"type": "array", "items": {"type": "string"}, "default": []},
                },
                "required": ["content"],
                "additionalProperties": False,
            },
        ),
    ],
)
def test_a_hint_has_this_schema(hint: Any, schema: dict[str, Any]) -> None:
    """Bare and typed containers, dates, and what `Annotated` and the docstring of a class say of a field."""
    assert kind_of(hint).schema() == schema


@pytest.mark.parametrize(
    ("hint", "sent", "got"),
    [
        (dt.date, "2026-05-01", dt.date(2026, 5, 1)),
        (dt.datetime, "2026-05-01T12:00:00Z", dt.datetime(2026, 5, 1, 12, tzinfo=dt.UTC)),
        (dt.time, "12:30:00", dt.time(12, 30)),
        (uuid.UUID, "6ba7b810-9dad-11d1-80b4-00c04fd430c8", uuid.UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")),
        (Decimal, 0.1, Decimal("0.1")),
        (Decimal, "0.10", Decimal("0.10")),
        (tuple[int, str], [1, "a"], (1, "a")),
        (tuple[int, ...], [1, 2], (1, 2)),
        (Size, 2, Size.LARGE),
        (Box[int], {"content": 1}, Box(1)),
        (Line, {"firstPoint": {"x": 1}}, Line({"x": 1})),
        (Cat | Dog, {"type": "dog", "name": "Rex"}, Dog("Rex")),
        (int | float, 5, 5),
        (float | int, 5, 5),
        (float | int | None, 2.5, 2.5),
        (list[Unit] | None, ["kg"], [Unit.KILO]),
    ],
)
def test_a_value_becomes_what_the_hint_says(hint: Any, sent: Any, got: Any) -> None:
    """Equal, and of the same type."""
    found = accepted(hint, sent)
    assert found == got
    assert type(found) is type(got)


def test_every_digit_of_a_number_reaches_a_decimal() -> None:
    """It is not read as a float on its way."""
    entry, _ = described(("a", Decimal, inspect.Parameter.empty))
    text = '{"a": 0.1000000000000000000000000000000000001}'
    assert str(read_arguments(entry.parameters, text)["a"]) == "0.1000000000000000000000000000000000001"


@pytest.mark.parametrize(
    "hint",
    [list[float], tuple[float, ...], tuple[float, float], dict[str, float], list[float | None], Point, Box[float]],
)
def test_an_integer_inside_of_anything_is_a_float_and_exact(hint: Any) -> None:
    """At every depth, in the author's own classes too."""
    big = 53195444847186411
    value = {list: [big, 1], tuple: [big, 1], dict: {"a": big}}.get(getattr(hint, "__origin__", hint), {"x": big})
    found = accepted(hint, {"content": big} if hint == Box[float] else value)
    inner = (
        next(iter(found.values())) if isinstance(found, dict) else found.content if isinstance(found, Box) else found[0]
    )
    assert (int(inner), type(inner), inner.is_integer()) == (big, ExactFloat, True)


@pytest.mark.parametrize(
    ("hint", "sent", "says"),
    [
        (Literal["red", "green"], "rot", 'parameter \'a\': Expected one of "green", "red", got "rot"'),
        (Unit, "KG", 'parameter \'a\': Expected one of "g", "kg", got "KG"'),
        (Size, True, "Expected one of 1, 2, got true"),
        (Literal[1], 1.0, "Expected one of 1, got 1.0"),
        (list[Literal["x"]], ["x", "y"], 'parameter \'a[1]\': Expected one of "x", got "y"'),
        (Literal[tuple(f"c{n:03}" for n in range(150))], "no", '"c099" and 50 more, got "no"'),
        (Point, {"x": 1, "y": 2}, "parameter 'a': unknown key 'y', the keys are x, name"),
        (Point, {}, "parameter 'a': missing key 'x', the keys are x, name"),
        (
            Line,
            {"first_point": 1},
            "missing key 'firstPoint', unknown key 'first_point', the keys are firstPoint, secondPoint",
        ),
        (Line, {"firstPoint": {"x": 1, "z": 1}}, "parameter 'a.firstPoint': unknown key 'z'"),
        (list[Point], [{"x": 1}, {"x": "1"}], "parameter 'a[1].x': Expected `float`, got `str`"),
        (
            Line,
            {"firstPoint": {"x": 1}, "secondPoint": {"x": None}},
            "parameter 'a.secondPoint.x': Expected `float`, got `null`",
        ),
        (int | None, "1", "parameter 'a': Expected `int | null`, got `str`"),
        (tuple[int, int], [1], "parameter 'a': Expected an `array` of length 2, got 1"),
        (list[int], 1, "Expected `array`, got `int`"),
        (dict[str, int], [], "Expected `object`, got `array`"),
        (Cat | Dog, {"type": "cow"}, "as key 'type'"),
        (dt.date, "tomorrow", 'Expected a date such as "2026-05-01", got "tomorrow"'),
        (dt.date, 5, "Expected a text such as"),
        (Decimal, "NaN", 'Expected a number such as "1.50"'),
        (Decimal, True, "Expected `Decimal`, got `bool`"),
        (Annotated[int, msgspec.Meta(ge=1)], 0, "Expected `int` >= 1"),
        (Annotated[float, msgspec.Meta(lt=1)], 1, "Expected `float` < 1"),
        (Annotated[int, msgspec.Meta(multiple_of=5)], 6, "that's a multiple of 5"),
        (Annotated[str, msgspec.Meta(max_length=2)], "abc", "Expected `str` of length <= 2"),
        (Annotated[str, msgspec.Meta(pattern="^a$")], "b", "Expected `str` matching regex '^a$'"),
        (Annotated[list[int], msgspec.Meta(min_length=1)], [], "Expected `array` of length >= 1"),
        (dict[Annotated[str, msgspec.Meta(max_length=1)], int], {"ab": 1}, "key 'ab': Expected `str` of length <= 1"),
    ],
)
def test_what_is_wrong_is_told_with_its_place_and_what_would_be_right(hint: Any, sent: Any, says: str) -> None:
    """The model has to repair it from these words alone."""
    with pytest.raises(ArgumentFault) as caught:
        accepted(hint, sent)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("hint", "sent", "got"),
    [
        (int, "2", 2),
        (int, " -7 ", -7),
        (int, "2.0", 2),
        (int, 2.0, 2),
        (float, "1.5", 1.5),
        (float, "53195444847186411", 53195444847186411),
        (Decimal, " 1.50 ", Decimal("1.50")),
        (bool, "true", True),
        (bool, "False", False),
        (str, 5, "5"),
        (str, 1.50, "1.5"),
        (int | None, "null", None),
        (int | None, "2", 2),
        (Unit, " KG ", Unit.KILO),
        (Literal[1, 2], "2", 2),
        (Literal["1", "2"], 2, "2"),
        (list[int], "[1, 2]", [1, 2]),
        (list[int], ["1", 2], [1, 2]),
        (Point, '{"x": "1.5"}', {"x": 1.5}),
        (tuple[int, str], '[1, "a"]', (1, "a")),
        (dt.date, " 2026-05-01", dt.date(2026, 5, 1)),
    ],
)
def test_a_near_miss_is_refused_unless_the_job_coerces(hint: Any, sent: Any, got: Any) -> None:
    """It is taken for the one thing that it can mean, and told."""
    with pytest.raises(ArgumentFault):
        accepted(hint, sent)
    found = accepted(hint, sent, coerce=True)
    assert found == got
    assert isinstance(found, type(got))


@pytest.mark.parametrize(
    ("hint", "sent"),
    [
        (int, "two"), (int, 2.5), (int, True), (int, "0x10"), (int, ""), (int, "9" * 5000), (int, "٣"), (float, "1,5"),
        (float, "inf"), (float, "1e999"), (float, True), (bool, 1), (bool, "yes"), (bool, 0), (str, None), (str, True), (str, [1]),
        (Unit, "k"), (Literal["a", "A"], " a "), (list[int], "1, 2"), (list[int], 1), (list[int], '{"a": 1}'), (Point, "[1]"),
        (Point, '{"x": 1'), (None, "nothing"), (dt.date, "01.05.2026"),
    ],
)  # fmt: skip
def test_what_can_mean_several_things_is_refused_even_then(hint: Any, sent: Any) -> None:
    """A guess would be the model's error made ours."""
    with pytest.raises(ArgumentFault):
        accepted(hint, sent, coerce=True)


class WithInit:
    pass


@dataclasses.dataclass
class NotByName:
    a: int
    b: int = dataclasses.field(init=False)


@dataclasses.dataclass
class Secret:
    a: int
    seed: dataclasses.InitVar[int]


class Array(msgspec.Struct, array_like=True):
    a: int


class Nested(TypedDict):
    inner: "Nested"


@pytest.mark.parametrize(
    "hint",
    [NotByName, Secret, Array, WithInit, Nested, list[WithInit], dict[Unit, int], str | dt.date, "undefined"],
)
def test_a_class_that_json_cannot_fill_is_refused_with_what_to_use(hint: Any) -> None:
    """Before a model is told of it."""
    with pytest.raises(HintFault, match="use|take"):
        kind_of(hint)


def test_a_class_that_refuses_its_values_is_an_error_for_the_model() -> None:
    """Its own checks run before the function does."""

    @dataclasses.dataclass
    class Even:
        number: int

        def __post_init__(self) -> None:
            if self.number % 2:
                raise ValueError("odd")

    assert accepted(Even, {"number": 2}) == Even(2)
    with pytest.raises(ArgumentFault, match="parameter 'a': ValueError: odd"):
        accepted(Even, {"number": 3})


def test_a_default_of_any_kind_stands_in_the_schema() -> None:
    """As the model would have to write it."""
    defaults: list[tuple[str, Any, Any]] = [
        ("pair", tuple[int, int], (1, 2)),
        ("day", dt.date, dt.date(2026, 5, 1)),
        ("price", Decimal, Decimal("1.50")),
        ("unit", Unit, Unit.GRAM),
        ("box", Box[int] | None, None),
        ("point", Point, {"x": 1.0}),
    ]
    entry, _ = described(*defaults)
    parameters = entry.schema["function"]["parameters"]
    assert parameters["required"] == []
    found = {name: schema["default"] for name, schema in parameters["properties"].items()}
    assert found == {
        "pair": [1, 2],
        "day": "2026-05-01",
        "price": "1.50",
        "unit": "g",
        "box": None,
        "point": {"x": 1.0},
    }
    Draft(parameters).validate(found)


def test_what_args_says_of_a_parameter_is_not_replaced_by_the_docstring_of_its_type() -> None:
    """The docstring of a type is said of every value of it; an `Annotated` text is the nearest of all."""

    def move(line: Line, other: Line, third: Annotated[Line, "the last one"]) -> None:  # noqa: D417  that is the subject
        """Move.

        Args:
            line: where to go.
            third: hidden by the nearer text.
        """

    (schema,) = ToolSet.of([tool(move)]).schemas()
    texts = {name: part["description"] for name, part in schema["function"]["parameters"]["properties"].items()}
    assert texts == {"line": "where to go.", "other": "Two points.", "third": "the last one"}


def test_a_function_hidden_by_a_decorator_is_described_by_its_own_hints() -> None:
    """As `functools.wraps` has it."""
    import functools

    def twice(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs) * 2

        return wrapper

    @tool
    @twice
    def double(x: float) -> float:
        """Double."""
        return x

    entry = ToolSet.of([double]).get("double")
    assert entry is not None
    assert entry.function(**read_arguments(entry.parameters, '{"x": 4}')) == 8
