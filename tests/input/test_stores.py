"""Input in an object store: the same rows as from a disk, found by the same rules, refused in words."""

from __future__ import annotations

import gzip
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from batch.core import places
from batch.core.errors import InputError, StorageError
from batch.input import stores
from batch.input.batches import Position
from batch.input.source import Source
from batch.job.job import InputSpec
from tests.support.seaweed import BUCKET, Seaweed

ROWS = [{"id": f"r{n}", "text": f"line {n} 你好"} for n in range(250)]
JSONL = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()


class Bucket:
    """A place of a test's own in the store."""

    def __init__(self, server: Seaweed) -> None:
        self.server = server
        self.name = f"in-{uuid.uuid4().hex}"
        self.text = f"s3://{BUCKET}/{self.name}"

    def write(self, name: str, data: bytes) -> None:
        self.server.write(f"{self.name}/{name}", data)

    def source(self, name: str, **more: Any) -> Source:
        return Source.open(InputSpec(path=Path(f"{self.text}/{name}"), **more))


@pytest.fixture
def bucket(seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    for name, value in seaweed.environ.items():
        monkeypatch.setenv(name, value)
    stores._system.cache_clear()
    yield Bucket(seaweed)
    stores._system.cache_clear()


def parquet() -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(ROWS), sink, row_group_size=60)
    data: bytes = sink.getvalue().to_pybytes()
    return data


FORMS = {
    "rows.jsonl": JSONL,
    "rows.jsonl.gz": gzip.compress(JSONL),
    "rows.parquet": parquet(),
    "rows.csv": b"id,text\n" + "".join(f"{row['id']},{row['text']}\n" for row in ROWS).encode(),
}


def read(source: Source, start: Position | None = None, count: int = 1_000) -> tuple[list[Any], Position]:
    reader, rows = source.reader(start), list[Any]()
    position = start or Position()
    while len(rows) < count and (batch := reader.read(min(100, count - len(rows)))) is not None:
        rows += batch.records
        position = batch.position
    reader.close()
    return rows, position


@pytest.mark.parametrize("name", FORMS)
def test_a_file_in_a_store_has_the_rows_that_it_has_on_a_disk(name: str, bucket: Bucket, tmp_path: Path) -> None:
    bucket.write(name, FORMS[name])
    (tmp_path / name).write_bytes(FORMS[name])
    here = Source.open(InputSpec(path=tmp_path / name))
    there = bucket.source(name)
    assert there.schema == here.schema
    assert read(there)[0] == read(here)[0] == ROWS
    assert there.stat.size == here.stat.size


@pytest.mark.parametrize("name", FORMS)
def test_another_process_goes_on_from_any_row(name: str, bucket: Bucket) -> None:
    bucket.write(name, FORMS[name])
    first, position = read(bucket.source(name), count=130)
    rest, _ = read(bucket.source(name), position)
    assert first + rest == ROWS


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("", ["a.jsonl", "b.jsonl", "day=1/c.jsonl"]),
        ("*.jsonl", ["a.jsonl", "b.jsonl"]),
        ("**/*.jsonl", ["a.jsonl", "b.jsonl", "day=1/c.jsonl"]),
        ("[ab].jsonl", ["a.jsonl", "b.jsonl"]),
        ("day=*", ["day=1/c.jsonl"]),
        ("_s*/*.jsonl", ["_spare/d.jsonl"]),
    ],
)
def test_folders_and_patterns_find_what_they_find_on_a_disk(
    pattern: str, names: list[str], bucket: Bucket, tmp_path: Path
) -> None:
    for name in ("a.jsonl", "b.jsonl", "day=1/c.jsonl", "_spare/d.jsonl", ".e.jsonl", "_SUCCESS"):
        bucket.write(name, JSONL)
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(JSONL)
    found = [
        [str(file.path).removeprefix(f"{base}/") for file in Source.open(InputSpec(path=path)).found.files]
        for base, path in (
            (str(Path(bucket.text)), Path(bucket.text) / pattern),
            (str(tmp_path), tmp_path / pattern),
        )
    ]
    assert found == [names, names]


def test_an_object_written_anew_is_another_source(bucket: Bucket) -> None:
    bucket.write("rows.jsonl", JSONL)
    before = bucket.source("rows.jsonl").stat
    assert bucket.source("rows.jsonl").stat == before
    bucket.write("rows.jsonl", JSONL + JSONL)
    assert bucket.source("rows.jsonl").stat != before


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("rows.jsnl", "there is no such file or folder. Did you mean rows.jsonl?"),
        ("*.xlsx", "matches no file that can be read"),
        ("rows.xlsx", ".xlsx is not supported; save it as CSV UTF-8"),
        ("broken.parquet", "is not a whole Parquet file"),
        ("out", "is an output folder, with calls beside results. To read its results, name "),
    ],
)
def test_what_cannot_be_read_is_refused_in_the_words_for_a_disk(path: str, words: str, bucket: Bucket) -> None:
    bucket.write("rows.jsonl", JSONL)
    bucket.write("rows.xlsx", b"PK")
    bucket.write("broken.parquet", parquet()[:-90])
    bucket.write("out/results/part-00000.parquet", parquet())
    bucket.write("out/runs/20261121T020000123Z-a1b2.json", b"{}")
    with pytest.raises(InputError) as told:
        bucket.source(path)
    assert words in str(told.value)
    assert str(told.value).startswith(f"{bucket.text}/{path}: ")


def test_a_bucket_that_is_not_there_and_a_key_that_is_wrong_are_told(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="there is no bucket 'nowhere'"):
        Source.open(InputSpec(path=Path("s3://nowhere/rows.jsonl")))
    bucket.write("rows.jsonl", JSONL)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-and-never-shown-0123456789")
    stores._system.cache_clear()
    with pytest.raises(InputError, match="Look to the bucket's name, and to AWS_ACCESS_KEY_ID") as told:
        bucket.source("rows.jsonl")
    assert "wrong-and-never-shown" not in str(told.value)


def test_a_store_that_does_not_answer_is_a_storage_fault_and_not_a_bad_row(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run stops, and the same command goes on; no row is written off."""
    monkeypatch.setattr(stores, "WAITS_S", (0.0,))
    bucket.write("rows.parquet", parquet())
    source = bucket.source("rows.parquet")

    class Failing:
        def open_input_file(self, _: str) -> Any:
            raise OSError("When reading: AWS Error NETWORK_CONNECTION during GetObject operation: curlCode: 7")

    monkeypatch.setattr(stores, "_system", lambda _: Failing())
    with pytest.raises(StorageError, match="NETWORK_CONNECTION: curlCode: 7. Look to the network"):
        source.reader()
    monkeypatch.undo()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("s3:/jobs/x", "write s3://jobs/x"),
        ("S3://jobs/x", "write s3://jobs/x"),
        ("s3a://jobs/x", "write s3://jobs/x"),
        ("gcs://jobs/x", "write gs://jobs/x"),
        ("abfss://jobs/x", "write az://jobs/x"),
        ("s3://", "names no bucket"),
        ("s3:///x", "write s3://x"),
        ("s3://jobs/../x", "has no . or .. in it"),
        ("https://jobs/x", "is no place that can be read or written"),
        ("file:///srv/x", "give the path itself: /srv/x"),
    ],
)
def test_a_misspelt_place_is_told_how_to_write_it(given: str, words: str) -> None:
    assert words in str(places.wrong(given))


@pytest.mark.parametrize(
    "given", ["s3://jobs/x", "s3://jobs/x/", "gs://jobs", "az://a/b/*.csv", "a:b", "C:/x", "in/s3:/x", "/s3://x"]
)
def test_other_names_are_left_as_they_are(given: str) -> None:
    assert places.wrong(given) is None


def test_a_server_of_ones_own_is_asked_at_both_doors_of_azure(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one was Azure's own, which a machine without a way there could not reach."""
    asked: list[dict[str, object]] = []
    monkeypatch.setattr(fs, "AzureFileSystem", lambda *_, **how: asked.append(how))
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", "http://127.0.0.1:10000/devstoreaccount1")
    stores._system.cache_clear()
    stores._system("az")
    stores._system.cache_clear()
    doors = {name: value for name, value in asked[0].items() if name != "account_key"}
    assert doors == {
        "blob_storage_authority": "127.0.0.1:10000",
        "blob_storage_scheme": "http",
        "dfs_storage_authority": "127.0.0.1:10000",
        "dfs_storage_scheme": "http",
    }
