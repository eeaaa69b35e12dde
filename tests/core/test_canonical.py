"""The canonical form, the hashes made from it, and the JSON policy."""

import datetime as dt
import json
import math
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batch.core.canonical import Fingerprint, bad_line_id, canonical, dumps, loads, plain, record_id, without_surrogates
from batch.input.source import Source
from batch.job.job import InputSpec

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | TEXT
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=12
)
RECORDS = st.dictionaries(TEXT, VALUES, max_size=6)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1, "a": "x"}, '{"a":"x","b":1}'),
        ({"a": None, "b": {"c": None, "d": [None, {"e": None}]}}, '{"b":{"d":[null,{}]}}'),
        ({"a": 3.0, "b": -0.0, "c": 1e3}, '{"a":3,"b":0,"c":1000}'),
        ({"a": 2.0**53, "b": 2**53}, '{"a":9007199254740992.0,"b":9007199254740992}'),
        ({"a": math.nan, "b": math.inf, "c": [-math.inf]}, '{"a":"NaN","b":"Infinity","c":["-Infinity"]}'),
        ({"a": Decimal("12.50"), "b": Decimal("1E+3")}, '{"a":"12.50","b":"1000"}'),
        ({"a": dt.date(2024, 2, 29), "b": dt.time(1, 2, 3)}, '{"a":"2024-02-29","b":"01:02:03"}'),
        ({"a": dt.datetime(2024, 1, 1, 12, tzinfo=dt.UTC)}, '{"a":"2024-01-01T12:00:00+00:00"}'),
        ({"a": dt.timedelta(seconds=90), "b": dt.timedelta(microseconds=-5)}, '{"a":"PT90S","b":"PT-0.000005S"}'),
        ({"a": b"\x00\xff"}, '{"a":"AP8="}'),
        ({"a": "x\ud800y", "\ud800": 1}, '{"a":"x\ufffdy","\ufffd":1}'),
        ({1: "a", "b": (1, 2)}, '{"1":"a","b":[1,2]}'),
        ({"a": uuid.UUID(int=1)}, '{"a":"00000000-0000-0000-0000-000000000001"}'),
        ([1.0, True], "[1,true]"),
        ({"a": 123456789012345678901234567890}, '{"a":123456789012345678901234567890}'),
    ],
)
def test_the_canonical_form_is_the_documented_one(value: Any, text: str) -> None:
    """The identity of rows rests on these bytes: changing one re-buys every answer of everybody."""
    assert canonical(value).decode() == text


def test_an_unknown_type_is_refused_rather_than_hashed_by_its_address() -> None:
    """An identity that changes with every process would buy everything again."""
    with pytest.raises(TypeError, match="no canonical form for object"):
        canonical({"a": object()})


def test_the_identity_of_a_known_record_never_changes() -> None:
    """Ledgers of earlier versions hold these ids."""
    assert record_id({"a": 1, "b": "é"}) == record_id({"b": "é", "a": 1.0, "c": None})
    assert record_id({"a": 1, "b": "é"}) == "711ca9d738b3975f82200417c1dac176"
    assert bad_line_id(b"{broken") == bad_line_id([b"{bro", b"ken"])
    assert bad_line_id(b"").startswith("bad-")
    assert len(bad_line_id(b"")) == 36


@given(RECORDS)
def test_key_order_and_nulls_do_not_count(record: dict[str, Any]) -> None:
    """Two writers of the same data differ in both."""
    turned = dict(reversed(list(record.items())))
    turned["a key nobody has"] = None
    assert canonical(turned) == canonical(record)


@given(RECORDS)
def test_the_fast_way_for_flat_records_gives_the_same_bytes_as_the_walk(record: dict[str, Any]) -> None:
    """`canonical` takes a short cut that must not be another form."""
    assert canonical(record) == canonical(plain(record))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "text": TEXT | st.none(),
                "whole": st.integers(-(2**63), 2**63 - 1) | st.none(),
                "number": st.floats(allow_nan=False, allow_infinity=False) | st.none(),
                "flag": st.booleans() | st.none(),
                "list": st.lists(TEXT | st.none(), max_size=3) | st.none(),
                "inner": st.fixed_dictionaries({"a": TEXT | st.none(), "b": st.lists(st.booleans(), max_size=2)})
                | st.none(),
            }
        ),
        min_size=1,
        max_size=5,
    )
)
def test_a_record_has_one_identity_in_jsonl_and_in_parquet(tmp_path: Path, records: list[dict[str, Any]]) -> None:
    """design.md 4: key order and file format do not count."""
    schema = pa.schema(
        {
            "inner": pa.struct({"a": pa.string(), "b": pa.list_(pa.bool_())}),
            "list": pa.list_(pa.string()),
            "flag": pa.bool_(),
            "number": pa.float64(),
            "whole": pa.int64(),
            "text": pa.string(),
        }
    )
    pq.write_table(pa.Table.from_pylist(records, schema), tmp_path / "rows.parquet")
    lines = [json.dumps(record, ensure_ascii=False) for record in records]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines), encoding="utf-8")
    ids = []
    for name in ("rows.parquet", "rows.jsonl"):
        batch = Source.open(InputSpec(path=tmp_path / name)).reader().read(100)
        assert batch is not None
        ids.append([record_id(record) for record in batch.records if record is not None])
    assert ids[0] == ids[1] == [record_id(record) for record in records]


def test_a_declared_decimal_gives_a_row_the_identity_it_has_in_parquet(tmp_path: Path) -> None:
    """JSON has no decimals, so only the declaration can say that 12.5 is 12.50."""
    table = pa.table({"amount": pa.array([Decimal("12.50")], pa.decimal128(12, 2))})
    pq.write_table(table, tmp_path / "rows.parquet")
    (tmp_path / "rows.jsonl").write_text('{"amount": 12.5}\n', encoding="utf-8")
    ids = []
    for spec in (
        InputSpec(path=tmp_path / "rows.parquet"),
        InputSpec(path=tmp_path / "rows.jsonl", types={"amount": "decimal(12,2)"}),
    ):
        batch = Source.open(spec).reader().read(1)
        assert batch is not None
        assert batch.records[0] == {"amount": Decimal("12.50")}
        ids.append(record_id(batch.records[0]))
    assert ids[0] == ids[1]


def test_a_fingerprint_depends_on_everything_that_is_asked() -> None:
    """design.md 2: provider, model, messages, parameters, tool schemas."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": "x"}]
    tool = {"type": "function", "function": {"name": "f", "parameters": {"default": None}}}
    other = {"type": "function", "function": {"name": "f", "parameters": {}}}
    prints = [
        Fingerprint("glm", "glm-4", {}, []).of(messages),
        Fingerprint("zai", "glm-4", {}, []).of(messages),
        Fingerprint("glm", "glm-4x", {}, []).of(messages),
        Fingerprint("glm", "glm-4", {"temperature": 1}, []).of(messages),
        Fingerprint("glm", "glm-4", {}, [tool]).of(messages),
        Fingerprint("glm", "glm-4", {}, [other]).of(messages),
        Fingerprint("glm", "glm-4", {}, []).of([{"role": "user", "content": "y"}]),
        Fingerprint("glm", "glm-4", {}, []).of([*messages, *messages]),
        Fingerprint("glm", "glm-4", {}, []).of([{"role": "user", "content": ["x"]}]),
    ]
    assert all(len(value) == 16 for value in prints)
    assert len(set(prints)) == len(prints)


def test_a_fingerprint_does_not_depend_on_how_the_same_thing_is_written() -> None:
    """`temperature = 1` and `1.0`, and the order of keys, ask for the same answer."""
    one = Fingerprint("glm", "glm-4", {"temperature": 1, "top_p": 0.5}, [])
    two = Fingerprint("glm", "glm-4", {"top_p": 0.5, "temperature": 1.0}, [])
    assert one.of([{"role": "user", "content": "x"}]) == two.of([{"content": "x", "role": "user"}])
    assert one.of([{"role": "user", "content": "x\ud800"}]) == one.of([{"role": "user", "content": "x\ufffd"}])
    assert one.of([]) == one.of([]), "hashing one row leaves the shared state as it was"


def test_the_fingerprint_of_a_known_request_never_changes() -> None:
    """Ledgers of earlier versions hold these bytes."""
    fingerprint = Fingerprint("glm", "glm-4", {"temperature": 0.1}, []).of([{"role": "user", "content": "é"}])
    assert fingerprint.hex() == "b173c3d860c197da49f50714034428a1"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b'{"a": 123456789012345678901234567890}', {"a": 123456789012345678901234567890}),
        (b"18446744073709551616", 2**64),
        (b"\xef\xbb\xbf{}", {}),
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (b'"\\ud800"', "\ufffd"),
        (b'{"\\udc00k": ["\\ud83d\\ude00", "\\ud800"]}', {"\ufffdk": ["\U0001f600", "\ufffd"]}),
        ('"\ud800"', "\ufffd"),
        ("\u2028 1".replace("\u2028", ""), 1),
        (b'"a\xe2\x80\xa8b"', "a\u2028b"),
        (b"-0.0", -0.0),
    ],
)
def test_awkward_json_is_read_exactly(text: bytes | str, value: Any) -> None:
    """Long ids stay exact, the last of repeated keys wins, lone surrogates become U+FFFD, a BOM is no text."""
    assert loads(text) == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "truncated"),
        (b'{"a": NaN}', "invalid character"),
        (b'{"a": "\\ud800", "b": NaN}', "."),
        (b"[Infinity]", "invalid character"),
        (b"[1e400]", "out of range"),
        (b'{"a":1}x', "trailing"),
        (b'{"a": "\xff"}', "not UTF-8: byte 0xff at byte 7"),
        (b'{"a": "\\u0041\xff"}', "not UTF-8"),
        (b"[" * 5000, "."),
        (b"[" * 5000 + b"]" * 5000, "nested too deeply"),
        (b'{"a":' * 201 + b"1" + b"}" * 201, "nested too deeply"),
        (b'{"a": "\\ud800"' + b"[" * 5000, "."),
    ],
)
def test_what_is_not_json_is_a_value_error_in_plain_words(text: bytes, reason: str) -> None:
    """A hostile line is one failed row, whatever it makes the parser raise."""
    with pytest.raises(ValueError, match=reason):
        loads(text)


@pytest.mark.parametrize("text", ['{"a":[' * 100 + "1" + "]}" * 100, "[" + "[{}]," * 5000 + "[]]"])
def test_depth_counts_and_not_the_number_of_brackets(text: str) -> None:
    """A long conversation has thousands of brackets."""
    assert loads(text) == json.loads(text)


def test_nan_has_no_json_text_and_surrogates_are_replaced() -> None:
    """The encoder alone would write NaN as null, which is another value."""
    for value in (math.nan, [1, math.inf], {"a": {"b": (-math.inf,)}}):
        with pytest.raises(ValueError, match="no form in JSON"):
            dumps(value)
    assert dumps({"a": None, "b": 0.5}) == '{"a":null,"b":0.5}'
    assert dumps({"k\ud800": "\udfff"}) == '{"k\ufffd":"\ufffd"}'


@given(VALUES)
def test_json_text_of_any_value_reads_back_as_that_value(value: Any) -> None:
    """`dumps` and `loads` are one policy."""
    assert repr(loads(dumps(value))) == repr(value)


@given(st.text(st.characters(), max_size=30))
def test_replacing_surrogates_changes_nothing_else(text: str) -> None:
    """Every other character, emoji and non-characters included, passes."""
    clean = without_surrogates(text)
    clean.encode()
    assert without_surrogates(clean) == clean
    if not any("\ud800" <= char <= "\udfff" for char in text):
        assert clean == text


def test_halves_of_a_pair_are_joined_and_what_is_left_is_replaced() -> None:
    """Text cut into pieces and put together again is whole; every wing asks the same function."""
    value = {"k\ud83d": ["\ud83d\ude00", ("a\ude00", 1, None)]}
    assert without_surrogates(value) == {"k\ufffd": ["😀", ["a\ufffd", 1, None]]}
