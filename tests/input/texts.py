"""Texts, sizes and numbers that break careless readers."""

from __future__ import annotations

import gzip
import unicodedata
from decimal import Decimal

import pyarrow as pa

from tests.input.cases import Bad, Case, lines

TEXTS = {
    "nul": "a\x00b",
    "controls": "".join(map(chr, range(1, 32))) + "\x7f" + "".join(map(chr, range(0x80, 0xA0))),
    "escapes": "\x1b[31mred\x1b]8;;http://x\x07link\x1b\\",
    "bidi": "a\u202eb\u2066c\u2069\u200f",
    "zero width": "a\u200b\u200d\ufeffb",
    "separators": "a\u2028b\u2029c\x85d",
    "non-characters": "\ufffe\uffff\U0001ffff",
    "combining": "e" + "\u0301" * 500,
    "emoji": "👩\u200d👩\u200d👧 𝄞",
    "right to left": "שלום مرحبا",
    "composed": unicodedata.normalize("NFC", "Å"),
    "decomposed": unicodedata.normalize("NFD", "Å"),
    "template": "{{ 7 * 7 }} {% raw %} {# #} %s {0}",
    "empty": "",
    "blank": " \t\n ",
    "formula": "=1+1",
}


def invalid_text() -> pa.Table:
    """A string column whose second cell is no UTF-8, as careless writers make it."""
    offsets = pa.array([0, 1, 2, 3], pa.int32()).buffers()[1]
    return pa.table({"t": pa.StringArray.from_buffers(3, offsets, pa.py_buffer(b"a\xffc")), "n": [1, 2, 3]})


TEXT = [
    *(Case(f"{name} in JSONL", {"a.jsonl": [{"t": text}]}, [{"t": text}]) for name, text in TEXTS.items()),
    *(
        Case(f"{name} in Parquet", {"a.parquet": pa.table({"t": [text]})}, [{"t": text}])
        for name, text in TEXTS.items()
    ),
    Case("half a pair", {"a.jsonl": lines(r'{"t": "a\ud83d"}', r'{"\ud83d": 1}')}, [{"t": "a\ufffd"}, {"\ufffd": 1}]),
    Case(
        "broken UTF-8 in Parquet", {"a.parquet": invalid_text()}, [{"t": "a", "n": 1}, Bad("utf-8"), {"t": "c", "n": 3}]
    ),
    Case("Latin-1", {"a.jsonl": lines(b'{"t": "caf\xe9"}', '{"t": "x"}')}, [Bad("iconv -f LATIN1"), {"t": "x"}]),
    Case("UTF-16", {"a.jsonl": '{"t": 1}\n'.encode("utf-16")}, refused="is UTF-16. Convert it to UTF-8: iconv"),
    Case(
        "UTF-16 without a mark", {"a.jsonl": '{"t": 1}\n'.encode("utf-16-le")}, refused="is UTF-16. Convert it to UTF-8"
    ),
]

BIG = "x" * 10_000_000
SIZE = [
    Case(
        "10 MB",
        {
            "a.jsonl": [{"t": BIG}],
        },
        [{"t": BIG}],
    ),
    Case("10 MB in Parquet", {"a.parquet": pa.table({"t": [BIG, "y"]})}, [{"t": BIG}, {"t": "y"}]),
    Case(
        "16 MB and more",
        {"a.jsonl": lines('{"t":"%s"}' % ("x" * 15_999_992), '{"t":"%s"}' % ("x" * 15_999_993), '{"t":"y"}')},
        [{"t": "x" * 15_999_992}, Bad("16,000,002 bytes are more than input.max_row_bytes", "too_long"), {"t": "y"}],
    ),
    Case(
        "a long line in gzip",
        {"a.jsonl.gz": gzip.compress(lines('{"t":"a"}', '{"t":"%s"}' % ("x" * 200_000), '{"t":"b"}'), 1)},
        [{"t": "a"}, Bad("200,009 bytes are more", "too_long"), {"t": "b"}],
        spec={"max_row_bytes": 1000},
    ),
    Case(
        "a large row in Parquet",
        {"a.parquet": pa.table({"t": ["x", "y" * 5_000, "z"]})},
        [{"t": "x"}, Bad("more than input.max_row_bytes (1,000)", "too_long"), {"t": "z"}],
        spec={"max_row_bytes": 1000},
    ),
    Case("3,000 keys", {"a.jsonl": [{f"k{n}": n for n in range(3_000)}]}, [{f"k{n}": n for n in range(3_000)}]),
    Case("nested 900 deep", {"a.jsonl": lines('{"t": ' + "[" * 900 + "]" * 900 + "}", '{"t": 1}')}, [..., {"t": 1}]),
    Case(
        "nested 100,000 deep", {"a.jsonl": lines('{"t": ' + "[" * 100_000 + "]" * 100_000 + "}")}, [Bad("nested too")]
    ),
]

EXACT = [2**53 + 1, 2**63 - 1, -(2**63), 2**63, 2**64 - 1, 123456789012345678901234567890]
NUMBERS = [
    *(Case(f"{number} in JSONL", {"a.jsonl": [{"n": number}]}, [{"n": number}]) for number in EXACT),
    Case("numbers of all sizes", {"a.jsonl": [{"n": n} for n in [*EXACT, 0.5]]}, [{"n": n} for n in [*EXACT, 0.5]]),
    Case("-0.0", {"a.jsonl": lines('{"n": -0.0}', '{"n": 0}')}, [{"n": -0.0}, {"n": 0}]),
    Case(
        "NaN in JSONL", {"a.jsonl": lines('{"n": NaN}', '{"n": -Infinity}', '{"n": 1}')}, [Bad(""), Bad(""), {"n": 1}]
    ),
    Case("beyond a double", {"a.jsonl": lines('{"n": 1e400}', '{"n": 1.5}')}, [Bad("out of range"), {"n": 1.5}]),
    Case(
        "NaN and infinities in Parquet",
        {"a.parquet": pa.table({"n": [float("nan"), float("inf"), -0.0]})},
        [{"n": float("nan")}, {"n": float("inf")}, {"n": -0.0}],
    ),
    Case("uint64", {"a.parquet": pa.table({"n": pa.array([2**64 - 1], pa.uint64())})}, [{"n": 2**64 - 1}]),
    Case(
        "decimal256",
        {"a.parquet": pa.table({"n": pa.array([Decimal(10) ** 75 / 100], pa.decimal256(76, 2))})},
        [{"n": Decimal("1" + "0" * 73 + ".00")}],
    ),
    Case(
        "declared decimals",
        {"a.jsonl": lines('{"n": 1.10}', '{"n": "2.5"}', '{"n": 1.234}')},
        [{"n": Decimal("1.10")}, {"n": Decimal("2.50")}, {"n": 1.234}],
        spec={"types": {"n": "decimal(9,2)"}},
    ),
    Case(
        "whole among broken numbers", {"a.jsonl": [{"n": 1}, {"n": 2.5}]}, [{"n": 1}, {"n": 2.5}], types={"n": "double"}
    ),
]
