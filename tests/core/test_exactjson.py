"""`batch.core.exactjson`: no decimal is ever in exponent form, wherever it stands, and all else is JSON as usual."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.core import exactjson


class Pair(msgspec.Struct):
    name: str
    cost: Any


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Decimal("0E-12"), b'"0.000000000000"'),
        (Decimal("5E-8"), b'"0.00000005"'),
        (Decimal("1.20E+5"), b'"120000"'),
        ({"a": [Decimal("1E-9"), (Decimal("-1E+2"),)]}, b'{"a":["0.000000001",["-100"]]}'),
        ({Decimal("1E-9"): 1, 2: 3}, b'{"0.000000001":1,"2":3}'),
        ([Pair("x", {"CNY": Decimal("0E-12")})], b'[{"name":"x","cost":{"CNY":"0.000000000000"}}]'),
        ({"raw": msgspec.Raw(b"[1]")}, b'{"raw":[1]}'),
    ],
)
def test_a_decimal_is_its_digits_at_any_depth(value: object, text: bytes) -> None:
    assert exactjson.encoded(value) == text
    assert "E" not in str(exactjson.builtins(value))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text() | st.binary(),
        lambda values: st.lists(values) | st.dictionaries(st.text() | st.integers(0, 9), values),
        max_leaves=10,
    )
)
def test_what_has_no_decimal_in_it_is_what_json_makes_of_it(value: object) -> None:
    assert exactjson.encoded(value) == msgspec.json.encode(value)


def test_what_json_has_no_form_for_is_its_text() -> None:
    moment = dt.datetime(2026, 11, 30, tzinfo=dt.UTC)
    assert exactjson.encoded([moment, 1j]) == b'["2026-11-30T00:00:00Z","1j"]'
