"""Files that nobody would write on purpose and everybody meets, with what must be said of each.

Makes the files and names the exit code and the words; it reads nothing of ours. Half are whole files that are something
else than their names say, half have a few rows that cannot be asked among others that can.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.support.longer import longer

Content = Any
"""Of one file: bytes, a table written as Parquet, or how it is made."""


@dataclass(frozen=True)
class Hostile:
    """One input, and what must come of it."""

    name: str
    files: Mapping[str, Content]
    code: int
    """Of `check --full`: 2 refuses, 1 names rows that will fail, 0 is what a job can live with."""
    says: tuple[str, ...]
    """Place and way out, among what is said."""
    path: str = ""
    spec: tuple[str, ...] = ('key = "id"',)
    """Further lines of `[input]`."""
    prompt: str = "user = '{{ q }}'"
    more: Mapping[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> Path:
        """Make the files and the job; returns its folder."""
        for name, content in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                path.write_bytes(content)
            elif isinstance(content, pa.Table):
                pq.write_table(content, path)
            else:
                content(path)
        source = self.path or next(iter(self.files))
        lines = ["[input]", f"path = {json.dumps(source)}", *self.spec, "[prompt]", self.prompt]
        lines += ["[model]", 'provider = "glm"', 'name = "glm-4"', "[output]", 'path = "out"']
        (folder / "job.toml").write_text("\n".join(lines), "utf-8")
        return folder


GOOD = b'{"id": "1", "q": "What?"}\n{"id": "2", "q": "Why?"}\n'
CSV = b"id,q\n1,What?\n2,Why?\n"
TABLE = pa.table({"id": ["1", "2"], "q": ["What?", "Why?"]})
CHINESE = '{"id": "7", "q": "今天天气怎么样？请用一句话回答。"}\n'


def long_lines(count: int, size: int) -> Callable[[Path], None]:
    """So many lines of so many bytes, then two good ones."""

    def make(path: Path) -> None:
        with path.open("wb") as file:
            for _ in range(count):
                file.write(b'{"id": "0", "q": "')
                file.seek(size - 21, os.SEEK_CUR)  # a hole: bytes that nobody has to write
                file.write(b'"}\n')
            file.write(GOOD)

    return make


def bomb(path: Path) -> None:
    """Seventy megabytes in one line of a file of some kilobytes, then two good ones."""
    with pa.CompressedOutputStream(str(path), "zstd" if path.suffix == ".zst" else "gzip") as out:
        for _ in range(70):
            out.write(bytes(1_000_000))
        out.write(b"\n" + (CSV[5:] if ".csv" in path.name else GOOD))


def damaged(at: int, data: bytes, **options: Any) -> Callable[[Path], None]:
    """A Parquet file of 30 rows in three row groups, some bytes of which are others."""

    def make(path: Path) -> None:
        table = pa.table({"id": [str(n) for n in range(30)], "q": [f"What of {n}, needle?" for n in range(30)]})
        how = {"compression": "none", "use_dictionary": False, "row_group_size": 10, **options}
        pq.write_table(table, path, **how)
        raw = bytearray(path.read_bytes())
        raw[at : at + len(data)] = data
        path.write_bytes(bytes(raw))

    return make


def cut(path: Path) -> None:
    """A Parquet file without its end."""
    pq.write_table(TABLE, path)
    path.write_bytes(path.read_bytes()[:-20])


def not_utf8(path: Path) -> None:
    """A text column of Parquet with a byte that is no text."""
    text = pa.StringArray.from_buffers(2, pa.array([0, 1, 2], pa.int32()).buffers()[1], pa.py_buffer(b"a\xff"))
    pq.write_table(pa.table({"id": ["1", "2"], "q": text}), path)


def twice(path: Path) -> None:
    """Two columns of one name."""
    pq.write_table(pa.Table.from_arrays([pa.array(["1"])] * 3, names=["id", "q", "q"]), path)


def csv_long(path: Path) -> None:
    """A line of 20 MB in CSV."""
    path.write_bytes(CSV + b"3," + b"x" * 20_000_000 + b"\n4,How?\n")


WHOLE = [
    Hostile("an empty file", {"a.jsonl": b""}, 2, ("a.jsonl: is empty: it has no columns. Write rows into it",)),
    Hostile("blank lines", {"a.jsonl": b"\n \n\n"}, 2, ("a.jsonl: is empty",)),
    Hostile(
        "a folder of empty files", {"in/a.jsonl": b"", "in/b.jsonl": b""}, 2, ("in: holds empty files only",), "in"
    ),
    Hostile("rows without keys", {"a.jsonl": b"{}\n{}\n"}, 2, ("a.jsonl: has no keys in its rows",)),
    Hostile(
        "GB18030 throughout",
        {"a.jsonl": CHINESE.encode("gb18030") * 3},
        2,
        (
            "a.jsonl line 1: not UTF-8",
            "it reads as GB18030, so convert it: iconv -f GB18030 -t UTF-8",
            "the first 3 lines",
        ),
    ),
    Hostile("UTF-16", {"a.jsonl": GOOD.decode().encode("utf-16")}, 2, ("a.jsonl: is UTF-16", "iconv -f UTF-16")),
    Hostile("UTF-16 without a mark", {"a.jsonl": GOOD.decode().encode("utf-16-be")}, 2, ("iconv -f UTF-16BE",)),
    Hostile("UTF-32", {"a.jsonl": GOOD.decode().encode("utf-32")}, 2, ("a.jsonl: is UTF-32", "iconv -f UTF-32")),
    Hostile(
        "a login page", {"a.jsonl": b"<!DOCTYPE html>\n<html>\n"}, 2, ("a.jsonl: is a web page", "Fetch it again.")
    ),
    Hostile(
        "a pointer of Git LFS",
        {"a.jsonl": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"},
        2,
        ("a.jsonl: is a pointer of Git LFS", "git lfs pull"),
    ),
    Hostile("a database", {"a.jsonl": b"SQLite format 3\0" + b"\1" * 90}, 2, ("a.jsonl: is a SQLite database",)),
    Hostile("a PDF", {"a.jsonl": b"%PDF-1.7\n%\xe2\xe3\n"}, 2, ("a.jsonl: is a PDF. Write its text as rows",)),
    Hostile("a picture", {"a.jsonl": b"\x89PNG\r\n\x1a\n"}, 2, ("a.jsonl: is a picture", "prompt.images")),
    Hostile("a workbook", {"a.csv": b"PK\x03\x04\x14\0\6\0"}, 2, ("a.csv: is compressed", "save a workbook as CSV")),
    Hostile(
        "an old workbook", {"a.csv": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"}, 2, ("a.csv: is an old Excel", "CSV UTF-8")
    ),
    Hostile("an Arrow file", {"a.jsonl": b"ARROW1\0\0" + bytes(90)}, 2, ("a.jsonl: is an Arrow file", "as Parquet")),
    Hostile("Parquet called JSONL", {"a.jsonl": b"PAR1" + bytes(90)}, 2, ("a.jsonl: is a Parquet file", ".parquet.")),
    Hostile("gzip called CSV", {"a.csv": gzip.compress(CSV)}, 2, ("a.csv: is compressed. Give it the ending .csv.gz",)),
    Hostile("text called gzip", {"a.jsonl.gz": GOOD}, 2, ("a.jsonl.gz: is not packed with gzip", ".jsonl if it is")),
    Hostile("CSV called JSONL", {"a.jsonl": CSV}, 2, ("a.jsonl line 1: ", "So it is with all of the first 3 lines")),
    Hostile(
        "one array", {"a.json": b'[{"id": 1}, {"id": 2}]'}, 2, ("a.json: is one JSON document", "jq -c '.[]' a.json")
    ),
    Hostile("a printed object", {"a.json": b'{\n "id": 1\n}\n'}, 2, ("a.json: is one JSON document", "jq -c '.'")),
    Hostile("lines that end in CR", {"a.jsonl": GOOD.replace(b"\n", b"\r")}, 2, ("a.jsonl line 1: ", "Correct it")),
    Hostile("an empty Parquet file", {"a.parquet": b""}, 2, ("a.parquet: is not a whole Parquet file: it is empty",)),
    Hostile("a cut Parquet file", {"a.parquet": cut}, 2, ("a.parquet: is not a whole Parquet file", "make it again.")),
    Hostile("JSONL called Parquet", {"a.parquet": GOOD}, 2, ("a.parquet: is not a whole Parquet file",)),
    Hostile("encrypted", {"a.parquet": b"PARE" + bytes(50) + b"PARE"}, 2, ("a.parquet: is an encrypted", "Decrypt it")),
    Hostile("two columns of one name", {"a.parquet": twice}, 2, ("a.parquet: has 'q' more than once. Rename",)),
    Hostile(
        "only broken files", {"in/a.parquet": b"", "in/b.parquet": cut}, 2, ("in/a.parquet: is not a whole",), "in"
    ),
    Hostile(
        "a folder called Parquet", {"a.parquet/x": b""}, 2, ("a.parquet: holds no file that can be read",), "a.parquet"
    ),
    Hostile("both kinds", {"in/a.parquet": TABLE, "in/b.jsonl": GOOD}, 2, ("in: holds both Parquet and JSONL",), "in"),
    Hostile("a pipe", {"a.jsonl": os.mkfifo}, 2, ("a.jsonl: is a named pipe", "Write the rows into a file first.")),
    Hostile("a link to itself", {"a.jsonl": lambda path: path.symlink_to(path.name)}, 2, ("a.jsonl: cannot be read",)),
    Hostile(
        "an empty CSV file", {"a.csv": b""}, 2, ("a.csv: is empty, without a header", "Write a header and rows into it")
    ),
    Hostile("semicolons", {"a.csv": CSV.replace(b",", b";")}, 2, ("a.csv line 1: ", 'set input.delimiter = ";"')),
    Hostile("a tab called comma", {"a.csv": CSV.replace(b",", b"\t")}, 2, ('set input.delimiter = "\\t"',)),
    Hostile(
        "a comma called tab",
        {"a.tsv": CSV},
        2,
        ("no column is called 'id' (input.key)", "Did you mean 'id,q'?", 'set input.delimiter = ","'),
    ),
    Hostile("two cells of one name", {"a.csv": b"id,q,q\n1,2,3\n"}, 2, ("a.csv line 1: has 'q' more than once",)),
    Hostile(
        "a header in GB18030",
        {"a.csv": "编号,问题\n1,x\n".encode("gb18030")},
        2,
        ("a.csv line 1: ", "iconv -f GB18030"),
    ),
    Hostile("a header without end", {"a.csv": b'"id,q\n1,2\n'}, 2, ("a.csv line 1: the header cannot be read",)),
    Hostile(
        "cut in the header", {"a.csv.gz": gzip.compress(CSV)[:15]}, 2, ("a.csv.gz line 1: the header cannot be read",)
    ),
    Hostile("no such column", {"a.csv": CSV}, 2, ("no column is called 'nr'", "id, q"), spec=('key = "nr"',)),
    Hostile(
        "a delimiter for Parquet",
        {"a.parquet": TABLE},
        2,
        ("a.parquet: is Parquet, and input.delimiter is for CSV: take it out",),
        spec=('delimiter = ";"',),
    ),
    Hostile(
        "a name that is taken",
        {"a.parquet": TABLE},
        2,
        ("has a column 'q' already. Give input.file_column another name",),
        spec=('file_column = "q"',),
    ),
    Hostile(
        "a folder's name that is no column yet",
        {"in/day=1/a.jsonl": GOOD},
        2,
        ("input.hive_partitioning: set it to true",),
        "in",
        prompt="user = '{{ q }} {{ day }}'",
    ),
    Hostile(
        "single braces", {"a.csv": CSV}, 2, ("prompt.user: {q} is plain text", "is {{ q }}"), prompt="user = 'Say {q}'"
    ),
    Hostile(
        "a blank in a name",
        {"a.csv": b"id,first name\n1,x\n"},
        2,
        ("prompt.user line 1: ", '{{ row["first name"] }}'),
        prompt="user = '{{ first name }}'",
    ),
    Hostile(
        "a dash in a name",
        {"a.csv": b"id,first-name\n1,x\n"},
        2,
        ('Did you mean {{ row["first-name"] }}?',),
        prompt="user = '{{ first-name }}'",
    ),
]
"""Files that are refused before anything is asked."""

ROWS = [
    Hostile("70 MB first", {"a.jsonl": long_lines(1, 70_000_000)}, 1, ("a.jsonl line 1: 70,000,000 bytes are more",)),
    Hostile("a zstd bomb first", {"a.jsonl.zst": bomb}, 1, ("a.jsonl.zst line 1: 70,000,001 bytes are more",)),
    Hostile("GB18030 in between", {"a.jsonl": GOOD + CHINESE.encode("gb18030")}, 1, ("a.jsonl line 3: not", "GB18030")),
    Hostile("Latin-1 in between", {"a.jsonl": GOOD + b'{"q": "caf\xe9"}\n'}, 1, ("a.jsonl line 3: not", "LATIN1")),
    Hostile("NULs in between", {"a.jsonl": GOOD + bytes(1000) + b"\n"}, 1, ("a.jsonl line 3: ",)),
    Hostile("nested too deeply", {"a.jsonl": GOOD + b"[" * 90_000 + b"\n"}, 1, ("a.jsonl line 3: nested too deeply",)),
    Hostile("numbers that are none", {"a.jsonl": GOOD + b'{"id": NaN}\n{"id": 1e400}\n'}, 1, ("line 3: ", "line 4: ")),
    Hostile("two objects a line", {"a.jsonl": GOOD + b"{}{}\n"}, 1, ("a.jsonl line 3: trailing characters",)),
    Hostile("a torn end", {"a.jsonl": GOOD[:-6]}, 1, ("a.jsonl line 2: ", "the file ends in this line")),
    Hostile("a torn gzip", {"a.jsonl.gz": gzip.compress(GOOD)[:-4]}, 1, ("a.jsonl.gz line 3: the compressed data",)),
    Hostile("keys twice and none", {"a.jsonl": GOOD + GOOD[:26] + b'{"q": 1}\n'}, 1, ("line 1", "line 4: id is empty")),
    Hostile("half a character", {"a.jsonl": GOOD + b'{"id": "\\ud83d", "q": "\\udc00"}\n'}, 0, ("3 rows, 0 of them",)),
    Hostile(
        "five thousand keys",
        {"a.jsonl": GOOD + json.dumps({f"k{n}": n for n in range(5000)} | {"id": "3", "q": "x"}).encode()},
        0,
        ("3 rows, 0 of them",),
    ),
    Hostile(
        "an empty file among others", {"in/a.parquet": b"", "in/b.parquet": TABLE}, 1, ("a.parquet row 0: ",), "in"
    ),
    Hostile(
        "a cut file among others", {"in/a.parquet": TABLE, "in/b.parquet": cut}, 1, ("b.parquet row 0: is not",), "in"
    ),
    Hostile(
        "a broken row group",
        {"a.parquet": damaged(4, b"\xff" * 12)},
        1,
        ("30 rows, 10 of them", "a.parquet row 0: row group 0 cannot be read", "Make the file again"),
    ),
    Hostile(
        "a wrong checksum",
        {"a.parquet": damaged(240, b"\x00" * 3, write_page_checksum=True)},
        1,
        ("30 rows, 10 of them", "row group 0 cannot be read"),
    ),
    Hostile("text that is none", {"a.parquet": not_utf8}, 1, ("2 rows, 1 of them", "a.parquet row 1: ")),
    Hostile(
        "a year beyond 9999",
        {"a.parquet": TABLE.append_column("at", pa.array([0, 10**18], pa.timestamp("us")))},
        1,
        ("2 rows, 1 of them", "a.parquet row 1: "),
    ),
    Hostile(
        "a quote without end", {"a.csv": CSV + b'3,"How\n4,Who?\n'}, 1, ("4 rows, 1 of them", "line 4: cell 2 begins")
    ),
    Hostile("text behind a quote", {"a.csv": CSV + b'3,"He "said" so"\n'}, 1, ("a.csv line 4: cell 2 goes on behind",)),
    Hostile("too many cells", {"a.csv": CSV + b"3,a,b\n"}, 1, ("a.csv line 4: 3 cells, where the header has 2",)),
    Hostile("too few cells", {"a.csv": CSV + b"3\n"}, 1, ("a.csv line 4: 1 cell, where the header has 2",)),
    Hostile(
        "a row in GB18030", {"a.csv": CSV + "3,今天天气\n".encode("gb18030")}, 1, ("a.csv line 4: not UTF-8", "GB18030")
    ),
    Hostile("20 MB in a cell", {"a.csv": csv_long}, 1, ("4 rows, 1 of them", "a.csv line 4: 20,000,003 bytes")),
    Hostile("a torn CSV", {"a.csv.gz": gzip.compress(CSV)[:-4]}, 1, ("a.csv.gz line 4: the compressed data",)),
    Hostile(
        "a speaker nobody knows",
        {
            "a.jsonl": b'{"id": 1, "c": [{"from": "human", "value": "Hi"}]}\n{"id": 2, "c": [{"from": "it", "value": "x"}]}\n'
        },
        1,
        ("a.jsonl line 2: column 'c' message 0: from 'it' is none of human, user, gpt",),
        prompt="messages = 'c'",
    ),
]
"""Files with rows that cannot be asked among others that can."""

MORE = longer(
    [
        Hostile("100 MB first", {"a.jsonl": long_lines(1, 100_000_000)}, 1, ("line 1: 100,000,000 bytes are more",)),
        Hostile("four of 17 MB first", {"a.jsonl": long_lines(4, 17_000_000)}, 1, ("6 rows, 4 of them",)),
        Hostile("a gzip bomb first", {"a.jsonl.gz": bomb}, 1, ("a.jsonl.gz line 1: 70,000,001 bytes are more than",)),
        Hostile("a bomb in CSV", {"a.csv.gz": bomb}, 2, ("a.csv.gz line 1: the header cannot be read: 70,000,001",)),
    ]
    + [
        Hostile(
            f"cut after {at} bytes", {"in/a.parquet": damaged(at, b"\xff" * 9), "in/b.parquet": TABLE}, -1, (), "in"
        )
        for at in range(0, 1600, 40)
    ]
    + [
        Hostile(f"{form} cut after {at} bytes", {f"a.{form}.gz": gzip.compress(data * 3)[:at]}, -1, ())
        for form, data in (("jsonl", GOOD), ("csv", CSV))
        for at in range(0, 80, 3)
    ]
)
"""More bytes, and damage at every place, where the code is any but that of a bug (-1)."""
