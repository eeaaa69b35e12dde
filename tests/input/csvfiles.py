"""CSV as spreadsheets, databases and scripts leave it."""

from __future__ import annotations

import gzip

import pyarrow as pa

from tests.input.cases import Bad, Case

PLAIN = b"id,text\n007,What?\n1e5,Why?\n"
RECORDS = [{"id": "007", "text": "What?"}, {"id": "1e5", "text": "Why?"}]
TYPED = {"n": "int64", "x": "float64", "b": "bool", "d": "decimal(12,2)", "day": "date32", "j": "json"}

CSV = [
    Case("cells are text", {"a.csv": PLAIN}, RECORDS, types={"id": "large_string", "text": "large_string"}),
    Case("a mark in front, CRLF", {"a.csv": b"\xef\xbb\xbf" + PLAIN.replace(b"\n", b"\r\n")}, RECORDS),
    Case("no final newline", {"a.csv": PLAIN[:-1]}, RECORDS),
    Case("blank lines", {"a.csv": b"\n" + PLAIN.replace(b"\n", b"\n\r\n")}, RECORDS),
    Case("gzip", {"a.csv.gz": gzip.compress(PLAIN)}, RECORDS),
    Case("zstd, tabs, capitals", {"a.TSV.zst": pa.compress(PLAIN.replace(b",", b"\t"), "zstd", asbytes=True)}, RECORDS),
    Case("another delimiter", {"a.csv": PLAIN.replace(b",", b";")}, RECORDS, spec={"delimiter": ";"}),
    Case("empty cells", {"a.csv": b'a,b,c\n,"",x\n'}, [{"a": None, "b": None, "c": "x"}]),
    Case("rows of empty cells", {"a.tsv": b"a\tb\n\t\n \n1\t\n"}, [{"a": None, "b": None}, {"a": "1", "b": None}]),
    Case("columns without a name", {"a.csv": b",b, \n0,x,y\n"}, [{"column_1": "0", "b": "x", "column_3": "y"}]),
    Case(
        "quotes",
        {"a.csv": b'"a","b"\n"x, ""y""",z\n"",""""\n5" pipe,\'q\'\n'},
        [{"a": 'x, "y"', "b": "z"}, {"a": None, "b": '"'}, {"a": '5" pipe', "b": "'q'"}],
    ),
    Case(
        "newlines in cells",
        {"a.csv": b'a,b\n"one\n\ntwo ""x"",\r\nthree",1\nz,"\n"\ny,2\n'},
        [{"a": 'one\n\ntwo "x",\r\nthree', "b": "1"}, {"a": "z", "b": "\n"}, {"a": "y", "b": "2"}],
    ),
    Case(
        "rows that are broken",
        {"a.csv": b'a,b\n1,2\n1,2,3\n1\n"x"y,2\n"open,2\n3,4\n'},
        [
            {"a": "1", "b": "2"},
            Bad("a.csv line 3: 3 cells, where the header has 2"),
            Bad("a.csv line 4: 1 cell, where the header has 2"),
            Bad("a.csv line 5: cell 1 goes on behind its closing quote"),
            Bad("a.csv line 6: cell 1 begins with a quote that is never closed"),
            {"a": "3", "b": "4"},
        ],
    ),
    Case(
        "a separator behind every row",
        {"a.csv": b'a,b\n1,2,\n3,,,,\n"4","5",""\n6,7,,x\n'},
        [
            {"a": "1", "b": "2"},
            {"a": "3", "b": None},
            {"a": "4", "b": "5"},
            Bad("a.csv line 5: 4 cells, where the header has 2"),
        ],
    ),
    Case(
        "a separator behind the header",
        {"a.csv": b"a,b,,\n1,2\n3,4,5\n6\n7,8,,\n9,0,,,\n"},
        [
            {"a": "1", "b": "2"},
            {"a": "3", "b": "4", "column_3": "5"},
            Bad("a.csv line 4: 1 cell, where the header has 4"),
            {"a": "7", "b": "8"},
            {"a": "9", "b": "0"},
        ],
    ),
    Case(
        "a tail that never reached the disk",
        {"a.csv": b"a,b\n1,2\n" + bytes(5000)},
        [{"a": "1", "b": "2"}, Bad("a.csv line 3: NUL bytes and nothing else, as they are left when a machine falls")],
    ),
    Case(
        "a quote that is closed much later",
        {"a.csv": b'a,b\n"open,2\n' + b"x,y\n" * 30 + b'last,"z"\n'},
        [Bad("a.csv line 2"), *[{"a": "x", "b": "y"}] * 30, {"a": "last", "b": "z"}],
        spec={"max_row_bytes": 100},
    ),
    Case(
        "rows that are too long",
        {"a.csv": b"a,b\n1," + b"x" * 200 + b'\n"2\n' + b"y" * 200 + b'",z\n3,4\n'},
        [
            Bad("a.csv line 2: 203 bytes are more than", "too_long"),
            Bad("a.csv line 3: "),
            Bad("a.csv line 4: 204 bytes are more than", "too_long"),
            {"a": "3", "b": "4"},
        ],
        spec={"max_row_bytes": 100},
    ),
    Case(
        "bytes that are no text",
        {"a.csv": b"a,b\n1,caf\xe9\n2,\0\n"},
        [Bad("a.csv line 2: not UTF-8: byte 0xe9 at byte 5; if the file is Latin-1"), {"a": "2", "b": "\0"}],
    ),
    Case(
        "files with other columns",
        {"a.csv": b"a,b\n1,2\n", "b.csv.gz": gzip.compress(b"c,a\n3,4\n"), "c.csv": b"", "d.csv": b"b\n"},
        [{"a": "1", "b": "2", "c": None}, {"a": "4", "b": None, "c": "3"}],
    ),
    Case("a header alone", {"a.csv": b"a,b\n"}, [], types={"a": "large_string", "b": "large_string"}),
    Case(
        "declared types",
        {"a.csv": b'n,x,b,d,day,j\n007, 2.5 ,True,1.50,2026-11-29,"[1, ""x""]"\n,,,,,\nx,1e999,yes,1.005,soon,{\n'},
        [
            {"n": 7, "x": 2.5, "b": True, "d": ..., "day": ..., "j": [1, "x"]},
            {},
            {"n": "x", "x": "1e999", "b": "yes", "d": "1.005", "day": "soon", "j": "{"},
        ],
        spec={"types": TYPED},
    ),
    Case(
        "a batch file",
        {"a.csv": PLAIN},
        refused='input.format = "openai-batch" is a form',
        spec={"format": "openai-batch"},
    ),
    Case("one column with a comma in its name", {"a.tsv": b"a, b\nx,y\n"}, [{"a, b": "x,y"}]),
    Case("JSON lines", {"a.csv": b'{"a": 1, "b": 2}\n'}, refused="line 1: is JSON, not the header of a CSV file. Give"),
    Case("NUL bytes alone", {"a.csv": bytes(5000)}, refused="line 1: the header has NUL bytes in it, so the file is"),
    Case("the column of ours", {"a.csv": b"input_rest\nx\n"}, refused="the name input_rest is taken"),
    Case("a long header", {"a.csv": b"x" * 200 + b",y\n"}, refused="line 1: the header", spec={"max_row_bytes": 100}),
]
