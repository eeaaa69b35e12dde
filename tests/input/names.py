"""Files, folders and patterns: names, links, what is passed over and what is refused."""

from __future__ import annotations

import gzip
import os
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.input.cases import ROWS, THREE, Case, lines


def packed(table: pa.Table) -> bytes:
    """A Parquet file, for names that Arrow cannot open."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]  # pyarrow has no types


def link(target: str) -> Any:
    """A symbolic link."""
    return lambda path: path.symlink_to(target)


FILES = [
    *(
        Case(name.encode("unicode_escape").decode(), {name: THREE}, ROWS)
        for name in (
            "new\nline.jsonl",
            " blanks in it .jsonl",
            "名前 é.jsonl",
            "-rf.jsonl",
            "a*b?[c].jsonl",
            "%00'\"$(x).jsonl",
        )
    ),
    Case("a name that is no UTF-8", {os.fsdecode(b"\xe9.jsonl"): THREE, "b.jsonl.gz": gzip.compress(THREE)}, ROWS * 2),
    Case("gzip whose name is no UTF-8", {os.fsdecode(b"\xe9.jsonl.gz"): gzip.compress(THREE)}, ROWS),
    Case(
        "Parquet whose name is no UTF-8",
        {os.fsdecode(b"\xe9.parquet"): packed(pa.table({"n": [1]})), "b.parquet": pa.table({"n": [2]})},
        [{"n": 2}, {"n": 1}],
    ),
    Case(
        "order of paths",
        {
            "b.jsonl": lines('{"n":4}'),
            "a/z.jsonl": lines('{"n":1}'),
            "a10.jsonl": lines('{"n":2}'),
            "a9.jsonl": lines('{"n":3}'),
        },
        [{"n": n} for n in (1, 2, 3, 4)],
    ),
    Case(
        "a folder",
        {"in/a.jsonl": THREE, "in/deep/er/b.jsonl.gz": gzip.compress(THREE), "in/readme.txt": b"x"},
        ROWS * 2,
        path="in",
    ),
    Case(
        "what is passed over",
        {
            "a.jsonl": THREE,
            ".hidden.jsonl": b"x",
            "_tmp.jsonl": b"x",
            ".git/a.jsonl": b"x",
            "_temporary/0/a.jsonl": b"x",
        },
        ROWS,
        path=".",
    ),
    Case(
        "a folder with nothing but what is passed over",
        {"in/.a.csv": b"x", "in/_b.jsonl": b"x"},
        path="in",
        refused="in: holds no file that can be read; names that begin with a dot or an underscore are passed over, here "
        ".a.csv, _b.jsonl; supported are .parquet",
    ),
    Case(
        "an output folder among them",
        {"a.jsonl": THREE, "out/ledger.db": b"", "out/results/p.parquet": b"x"},
        ROWS,
        path=".",
    ),
    Case(
        "an output folder itself",
        {"ledger.db": b"", "results/p.parquet": b"x"},
        path=".",
        refused="is an output folder",
    ),
    Case(
        "its results", {"o/ledger.db": b"", "o/results/p.parquet": pa.table({"n": [1]})}, [{"n": 1}], path="o/results"
    ),
    Case("a pattern", {"a1.jsonl": THREE, "a2.jsonl": THREE, "b.jsonl": b"x"}, ROWS * 2, path="a*.jsonl"),
    Case(
        "a deep pattern",
        {
            "a.jsonl.gz": gzip.compress(THREE),
            "x/y/a.jsonl.gz": gzip.compress(THREE),
            "x/b.jsonl": b"x",
            ".h/a.jsonl.gz": b"",
        },
        ROWS * 2,
        path="**/*.jsonl.gz",
    ),
    Case(
        "a pattern of folders",
        {"day=1/a.jsonl": THREE, "day=2/a.jsonl": THREE, "week=1/a.jsonl": b"x"},
        ROWS * 2,
        path="day=*",
    ),
    Case(
        "a pattern below folders",
        {"day=1/a.jsonl": THREE, "day=1/b.jsonl": b"x", "a.jsonl": b"x"},
        ROWS,
        path="*/a.jsonl",
    ),
    Case("a pattern below a folder with brackets", {"x[1]/a1.jsonl": THREE}, ROWS, path="x[1]/a[0-9].jsonl"),
    Case("a pattern that ends in all", {"x/a.jsonl": THREE, "x/y/b.jsonl": THREE}, ROWS * 2, path="x/**"),
    Case(
        "a pattern that matches nothing",
        {"a.jsonl": THREE},
        path="*.parquet",
        refused="*.parquet: matches no file that can be read; supp",
    ),
    Case(
        "a pattern below nothing",
        {"a.jsonl": THREE},
        path="no/*.jsonl",
        refused="no/*.jsonl: matches no file that can be read",
    ),
    Case(
        "a pattern of other files",
        {"a.txt": b"x", "b.txt": b"x"},
        path="*.txt",
        refused="it matches a.txt, b.txt; supported are",
    ),
    Case(
        "an empty folder",
        {"in/.keep": b""},
        path="in",
        refused="in: holds no file that can be read; names that begin with a dot or an underscore are passed over, here .keep;",
    ),
    Case(
        "two kinds",
        {"a.jsonl": THREE, "b.parquet": pa.table({"n": [1]})},
        refused="holds both Parquet and JSONL, for example a.jsonl and b.parquet",
    ),
    Case("a workbook", {"a.xlsx": b"PK\x03\x04"}, refused=".xlsx is not supported; save it as CSV UTF-8"),
    Case("CSV beside JSONL", {"a.csv": b"n\n9\n", "b.jsonl": THREE}, ROWS),
    Case("a link to a file", {"x/real": THREE, "a.jsonl": link("x/real")}, ROWS, path="a.jsonl"),
    Case("a link to a folder", {"x/a.jsonl": THREE, "in/x": link("../x")}, ROWS, path="in"),
    Case(
        "a link to nothing",
        {"a.jsonl": THREE, "b.jsonl": link("gone")},
        refused="b.jsonl: is a symbolic link to a file that is not",
    ),
    Case(
        "a link back",
        {"in/a.jsonl": THREE, "in/x/back": link("..")},
        path="in",
        refused="back: is a symbolic link back to a folder around",
    ),
    Case(
        "a link back under a pattern",
        {"in/a.jsonl": THREE, "in/back": link(".")},
        path="in/**/*.jsonl",
        refused="is a symbolic link back",
    ),
    Case(
        "a link to itself",
        {"in/a.jsonl": THREE, "in/self": link("self")},
        path="in",
        refused="self: cannot be read: Too many levels",
    ),
    Case(
        "one file under two names",
        {"a.jsonl": THREE, "latest.jsonl": link("a.jsonl")},
        refused="a.jsonl and latest.jsonl are one file under two names",
    ),
    Case("a pipe", {"a.jsonl": os.mkfifo}, refused="a.jsonl: is a named pipe, no regular file"),
    Case("a pipe among files", {"a.jsonl": THREE, "b.jsonl": os.mkfifo}, refused="b.jsonl: is a named pipe"),
    Case("a device", {"a.jsonl": link("/dev/zero")}, refused="a.jsonl: is a device, no regular file"),
    Case(
        "a Delta table",
        {"_delta_log/0.json": b"{}", "a.parquet": pa.table({"n": [1]})},
        path=".",
        refused="is a Delta table",
    ),
    Case(
        "types for Parquet",
        {"in/a.parquet": pa.table({"n": [1]})},
        path="in",
        spec={"types": {"n": "int64"}},
        refused="take input.types out",
    ),
]
