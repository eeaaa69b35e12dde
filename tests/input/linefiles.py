"""JSONL as programs, people and broken copies leave it; lines of batch files."""

from __future__ import annotations

import bz2
import gzip
import lzma
from typing import Any

import pyarrow as pa

from tests.input.cases import ROWS, THREE, Bad, Case, lines

ZSTD = pa.compress(THREE, "zstd", asbytes=True)
JSONL = [
    Case("a mark in front", {"a.jsonl": b"\xef\xbb\xbf" + THREE}, ROWS),
    Case("a mark in every file", {"a.jsonl": b"\xef\xbb\xbf" + THREE, "b.jsonl": b"\xef\xbb\xbf" + THREE}, ROWS * 2),
    Case("a mark in gzip", {"a.jsonl.gz": gzip.compress(b"\xef\xbb\xbf" + THREE)}, ROWS),
    Case("CRLF", {"a.jsonl": THREE.replace(b"\n", b"\r\n")}, ROWS),
    Case("blank lines", {"a.jsonl": b"\n \n" + THREE.replace(b"\n", b"\n\t\n\r\n")}, ROWS),
    Case("no final newline", {"a.jsonl": THREE[:-1]}, ROWS),
    Case(
        "a torn last line",
        {"a.jsonl": THREE[:-4]},
        [*ROWS[:2], Bad("a.jsonl line 3: Input data was truncated; the file ends")],
    ),
    Case(
        "a torn file among others", {"a.jsonl": THREE[:-4], "b.jsonl": THREE}, [*ROWS[:2], Bad("a.jsonl line 3"), *ROWS]
    ),
    Case("nothing in it", {"a.jsonl": b""}, [], types={}),
    Case("blanks only", {"a.jsonl": b" \n\n"}, [], types={}),
    Case("empty files among others", {"a.jsonl": b"", "b.jsonl": THREE, "c.jsonl": b"\n"}, ROWS),
    Case("keys twice in a line", {"a.jsonl": lines('{"n": 1, "n": 2}')}, [{"n": 2}]),
    Case(
        "types that change",
        {"a.jsonl": [{"v": 1}, {"v": "x"}, {"v": [1]}]},
        [{"v": 1}, {"v": "x"}, {"v": [1]}],
        types={"v": "large_string"},
    ),
    Case(
        "types that change between files",
        {"a.jsonl": [{"v": 1}], "b.jsonl": [{"v": "x"}]},
        [{"v": 1}, {"v": "x"}],
        types={"v": "large_string"},
    ),
    Case(
        "a key and a type that come late",
        {"a.jsonl": [{"v": 1}] * 10_000, "b.jsonl": [{"v": "x", "late": {"k": 1}}]},
        [{"v": 1}] * 10_000 + [{"v": "x", "late": {"k": 1}}],
        types={"v": "int64"},
    ),
    Case(
        "keys that not all files have",
        {"a.jsonl": [{"a": 1}], "b.jsonl": [{"b": 2}]},
        [{"a": 1, "b": None}, {"a": None, "b": 2}],
    ),
    Case(
        "a comment", {"a.jsonl": lines("// rows", "# rows", '{"n": 1}')}, [Bad("invalid character"), Bad(""), {"n": 1}]
    ),
    Case(
        "other values than objects",
        {"a.jsonl": lines("1", '"x"', "[1]", "null", '{"n": 1}')},
        [*[Bad("a JSON object is wanted")] * 4, {"n": 1}],
    ),
    Case("one array in .json", {"a.json": b'[{"n": 1}, {"n": 2}]'}, refused="jq -c '.[]' a.json > rows.jsonl"),
    Case(
        "a printed array", {"a.jsonl": b'[\n  {"n": 1}\n]\n'}, refused="is one JSON document, where one object a line"
    ),
    Case("a printed object", {"a.json": b'{\n  "n": 1\n}\n'}, refused="jq -c '.' a.json > rows.jsonl"),
    Case(
        "a printed array among others", {"a.jsonl": THREE, "b.json": b"[\n1\n]"}, refused="b.json: is one JSON document"
    ),
    *(Case(f"a.{ending}", {f"a.{ending}": THREE}, ROWS) for ending in ("jsonl", "ndjson", "json", "JSONL")),
    *(
        Case(f"a.{ending}", {f"a.{ending}": gzip.compress(THREE)}, ROWS)
        for ending in ("jsonl.gz", "ndjson.gz", "json.gz", "JSONL.GZ")
    ),
    Case("zstd", {"a.jsonl.zst": ZSTD}, ROWS),
    Case(
        "several members of gzip",
        {"a.jsonl.gz": b"".join(gzip.compress(row) for row in (THREE[:5], THREE[5:12], THREE[12:]))},
        ROWS,
    ),
    Case("several frames of zstd", {"a.jsonl.zst": ZSTD + ZSTD}, ROWS * 2),
    Case("no rows in gzip", {"a.jsonl.gz": gzip.compress(b"")}, []),
    Case("an empty file that should be gzip", {"a.jsonl.gz": b""}, []),
    Case(
        "gzip cut in its header",
        {"a.jsonl.gz": gzip.compress(THREE)[:5]},
        [Bad("cannot be unpacked after line 0 (Truncated")],
    ),
    Case(
        "gzip cut at its end",
        {"a.jsonl.gz": gzip.compress(THREE)[:-3]},
        [*ROWS, Bad("a.jsonl.gz line 4: the compressed data cannot be unpacked after line 3")],
    ),
    Case(
        "gzip cut among others",
        {"a.jsonl.gz": gzip.compress(THREE)[:-3], "b.jsonl": THREE},
        [*ROWS, Bad("a.jsonl.gz line 4"), *ROWS],
    ),
    Case(
        "gzip with a wrong checksum",
        {"a.jsonl.gz": gzip.compress(THREE)[:-8] + b"\0" * 8},
        [Bad("incorrect data check")],
    ),
    Case(
        "rubbish behind gzip", {"a.jsonl.gz": gzip.compress(THREE) + b"rubbish"}, [*ROWS, Bad("incorrect header check")]
    ),
    Case("zstd cut at its end", {"a.jsonl.zst": ZSTD[:-2]}, [Bad("after line 0 (Truncated compressed stream)")]),
    Case(
        "plain text called gzip",
        {"a.jsonl.gz": THREE},
        refused="is not packed with gzip, whatever its ending says. Give it",
    ),
    Case(
        "gzip without its ending",
        {"a.jsonl": gzip.compress(THREE)},
        refused="is compressed. Give it the ending .jsonl.gz",
    ),
    Case(
        "gzip called zstd",
        {"a.jsonl.zst": gzip.compress(THREE)},
        refused="is packed with gzip, not with zstd. Give it the ending .gz",
    ),
    Case(
        "gzip in gzip",
        {"a.jsonl.gz": gzip.compress(gzip.compress(THREE))},
        refused="is compressed. Give it the ending .jsonl.gz",
    ),
    Case("bzip2", {"a.jsonl.bz2": bz2.compress(THREE)}, refused=".bz2 is not supported; unpack it"),
    Case("xz", {"a.jsonl.xz": lzma.compress(THREE)}, refused=".xz is not supported; unpack it"),
    Case(
        "xz in disguise",
        {"a.jsonl": lzma.compress(THREE)},
        refused="is compressed. Unpack it first, or pack it with gzip",
    ),
    Case(
        "Parquet in disguise",
        {"a.jsonl": b"PAR1" + b"x" * 100},
        refused="is a Parquet file. Give it the ending .parquet",
    ),
]


def body(**members: Any) -> dict[str, Any]:
    """A line of a batch file."""
    return {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": members}


HI = [{"role": "user", "content": "Hi"}]
BATCH = {"format": "openai-batch", "key": "custom_id"}
REQUEST = {"custom_id": "a", "model": "m", "messages": HI}
LINES = [
    Case("a request", {"a.jsonl": [body(model="m", messages=HI)]}, [REQUEST], spec=BATCH),
    Case(
        "nothing but messages",
        {"a.jsonl": [{"custom_id": "a", "body": {"messages": HI}}]},
        [{**REQUEST, "model": None}],
        spec=BATCH,
    ),
    Case(
        "the job's parameters",
        {"a.jsonl": [body(model="m", messages=HI, temperature=0.0)]},
        [{**REQUEST, "temperature": 0.0}],
        spec=BATCH,
    ),
    Case(
        "no say in the matter",
        {"a.jsonl": [body(model="m", messages=HI, n=1, stream=False, seed=None)]},
        [...],
        spec=BATCH,
    ),
    Case(
        "another model",
        {"a.jsonl": [body(model="x", messages=HI)]},
        [Bad('body.model is "x", the job asks "m": set model.name', "other_model")],
        spec=BATCH,
    ),
    Case(
        "other parameters",
        {"a.jsonl": [body(model="m", messages=HI, temperature=1, top_p=0.5)]},
        [Bad("the body asks with temperature = 1, top_p = 0.5", "other_parameters")],
        spec=BATCH,
    ),
    Case(
        "another model in all of the first lines",
        {"a.jsonl": [body(model="x", messages=HI)] * 30, "b.jsonl": [body(model="x", messages=HI)] * 20},
        refused='a.jsonl line 1: body.model is "x", the job asks "m": set model.name',
        spec=BATCH,
    ),
    Case(
        "another model in many lines",
        {"a.jsonl": [body(model="x", messages=HI)] * 49, "b.jsonl": [body(model="m", messages=HI)] * 2},
        [*[Bad("body.model", "other_model")] * 49, REQUEST, REQUEST],
        spec=BATCH,
    ),
    Case(
        "another endpoint",
        {"a.jsonl": [{**body(model="m"), "url": "/v1/embeddings"}]},
        [Bad("only /v1/chat/completions", "other_endpoint")],
        spec=BATCH,
    ),
    Case(
        "another method",
        {"a.jsonl": [{**body(model="m"), "method": "GET"}]},
        [Bad('method "GET" is no chat request', "other_endpoint")],
        spec=BATCH,
    ),
    Case(
        "rows that are no requests",
        {"a.jsonl": [{"text": "x"}, body(model="m", messages=HI)]},
        [Bad('it has no "body" object'), ...],
        spec=BATCH,
    ),
    Case(
        "requests in Parquet",
        {"a.parquet": pa.table({"n": [1]})},
        refused='input.format = "openai-batch" is a form of JSONL',
        spec=BATCH,
    ),
]
