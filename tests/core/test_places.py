"""`batch.core.places`: what names a place in an object store, and what is said of a name that is misspelt."""

from __future__ import annotations

from pathlib import Path

import pytest

from batch.core import places
from batch.core.places import Place


@pytest.mark.parametrize("given", ["s3://bucket/a/b", "s3://bucket/a/b/", "s3://bucket//a//b", "s3://bucket/a/b//"])
def test_a_place_is_the_same_however_its_slashes_are_written(given: str) -> None:
    place = places.place_of(Path(given))
    assert place == Place("s3", "bucket", "a/b")
    assert place.text == places.text(Path(given)) == "s3://bucket/a/b"


@pytest.mark.parametrize("given", ["/a/b", "a/b", "", ".", "s3/a", "http:/a/b", "/s3:/a"])
def test_a_file_of_this_machine_is_no_place(given: str) -> None:
    assert places.place_of(Path(given)) is None
    assert not places.is_store(Path(given))


def test_case_tells_keys_apart() -> None:
    assert places.place_of(Path("s3://bucket/Out")) != places.place_of(Path("s3://bucket/out"))


def test_a_whole_bucket_has_no_key() -> None:
    place = places.place_of(Path("gs://bucket"))
    assert place == Place("gs", "bucket", "")
    assert place.text == "gs://bucket"


def test_a_place_does_not_depend_on_the_folder_it_is_named_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    place = Path("az://container/out")
    assert places.absolute(place) == places.beside(Path("/elsewhere"), place) == place
    assert places.absolute(Path("out")) == tmp_path / "out"
    assert places.beside(Path("/job"), Path("../out")) == Path("/out")


def test_a_link_in_the_way_keeps_the_name_that_the_user_gave_it(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert places.beside(tmp_path, Path("link/out")) == tmp_path / "link" / "out"


@pytest.mark.parametrize("given", ["s3://bucket/key", "gs://bucket/*.csv", "az://c/k/", "out", "/out", "C:/out", "a:b"])
def test_nothing_is_wrong_with_a_path_or_a_place(given: str) -> None:
    assert places.wrong(given) is None


@pytest.mark.parametrize(
    ("given", "way_out"),
    [
        ("S3://bucket/key", "write s3://bucket/key"),
        ("s3a://bucket/key", "write s3://bucket/key"),
        ("abfss://bucket/key", "write az://bucket/key"),
        ("s3:/bucket/key", "write s3://bucket/key"),
        ("s3:///bucket/key", "write s3://bucket/key"),
        ("s3:///", "write s3://bucket/key"),
        ("s3://", "names no bucket. Write s3://bucket/key"),
        ("file:///data/out", "give the path itself: /data/out"),
        ("ftp://host/out", "Give a path, or s3://bucket/key, gs://bucket/key, az://bucket/key"),
        ("s3://bucket/../key", "has no . or .. in it"),
        ("s3://bucket/./key", "has no . or .. in it"),
    ],
)
def test_a_misspelt_place_is_told_with_the_way_out(given: str, way_out: str) -> None:
    said = places.wrong(given)
    assert said is not None
    assert way_out in said


def test_the_first_variable_that_is_set_names_the_server() -> None:
    both = {"AWS_ENDPOINT_URL": "http://all", "AWS_ENDPOINT_URL_S3": "http://s3"}
    assert places.endpoint_of("s3", both) == "http://s3"
    assert places.endpoint_of("s3", {**both, "AWS_ENDPOINT_URL_S3": ""}) == "http://all"
    assert places.endpoint_of("gs", both) is None
