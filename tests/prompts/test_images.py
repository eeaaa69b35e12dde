"""`batch.prompts.images`: what a row may name is read from the job's folder or refused, and a picture is a picture."""

import base64
import json
import os
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.core.records import Message, Request
from batch.prompts import images
from batch.prompts.images import MAX_IMAGE_BYTES, MAX_ROW_BYTES, Files, data_uri, parts_of
from batch.providers import body
from batch.providers.openai import OPENAI
from batch.providers.services.bigmodel import GLM

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGP4z8DwHwAFAAH/iZk9HQAAAABJRU5ErkJggg=="
)
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01" + bytes(60)
GIF = b"GIF89a\x01\x00\x01\x00\x80\x00\x00" + bytes(22)
WEBP = b"RIFF\x1a\x00\x00\x00WEBPVP8L" + bytes(40)
BMP = b"BM" + bytes(60)
KINDS = {"png": PNG, "jpeg": JPEG, "gif": GIF, "webp": WEBP, "bmp": BMP}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    job = tmp_path / "job"
    (job / "photos").mkdir(parents=True)
    (job / "photos" / "cat.png").write_bytes(PNG)
    (job / "job.toml").write_text("name = 'x'", encoding="utf-8")
    (tmp_path / "secret.png").write_bytes(PNG)
    return job


def urls(value: Any, folder: Path) -> list[str]:
    return [part["image_url"]["url"] for part in parts_of(value, Files(folder), column="photo")]


def fault(value: Any, folder: Path) -> str:
    with pytest.raises(ValueError, match=r".") as caught:
        parts_of(value, Files(folder), column="photo")
    assert len(str(caught.value)) < 300, "an error text is no place for a picture"
    return str(caught.value)


@pytest.mark.parametrize(("kind", "data"), KINDS.items())
def test_a_picture_is_the_same_whichever_way_it_comes(kind: str, data: bytes, folder: Path) -> None:
    """Bytes, base64 (bare, as data:, broken into lines), a file, and the pair that data sets use."""
    expected = [f"data:image/{kind};base64,{base64.b64encode(data).decode()}"]
    (folder / "photos" / "one").write_bytes(data)
    text = base64.b64encode(data).decode()
    ways: list[Any] = [data, bytearray(data), memoryview(data), expected[0], "photos/one", "./photos/../photos/one"]
    ways += [{"bytes": data, "path": "gone.png"}, {"bytes": None, "path": "photos/one"}, {"path": "photos/one"}]
    ways += [text, f" {text}\n", "\n".join(text[at : at + 20] for at in range(0, len(text), 20))]
    for way in ways:
        assert urls(way, folder) == expected, way


@pytest.mark.parametrize(
    "url", ["https://example.com/a.png", "http://h/x?y=z#f", "HTTPS://例え.jp/猫.png", "  https://example.com/a \n"]
)
def test_an_address_goes_out_as_it_is(url: str, folder: Path) -> None:
    """The provider fetches it; nothing is fetched here."""
    assert urls(url, folder) == [url.strip()]
    assert "source" not in parts_of(url, Files(folder), column="photo")[0]


@pytest.mark.parametrize("nothing", [None, "", "  \n", [], [None, ""], {}, {"bytes": None, "path": None}])
def test_no_picture_is_no_part(nothing: Any, folder: Path) -> None:
    """Rows without a picture are asked without one."""
    assert urls(nothing, folder) == []


def test_a_list_keeps_its_order_and_says_where_each_picture_came_from(folder: Path) -> None:
    """The name of the file, or the column."""
    parts = parts_of(["https://h/1", PNG, "photos/cat.png"], Files(folder), column="photo")
    assert [part.get("source") for part in parts] == [None, "column photo", "photos/cat.png"]
    assert parts[1]["image_url"] == parts[2]["image_url"]


@pytest.mark.parametrize(
    "name",
    [
        "../secret.png",
        "photos/../../secret.png",
        "/etc/passwd",
        "/proc/self/environ",
        "~/.ssh/id_rsa",
        "file:///etc/passwd",
        "photos",
        ".",
        "/",
        "photos/none.png",
        "photos/cat.png\0.txt",
        "\0",
        "\ud800.png",
        "a" * 5_000,
        "d/" * 3_000 + "x.png",
        "link.png",
        "dir/secret.png",
        "loop.png",
        "pipe",
        "job.toml",
        "ftp://host/a.png",
        "javascript:alert(1)",
    ],
)
def test_a_row_cannot_name_what_is_not_a_picture_in_the_folder(name: str, folder: Path) -> None:
    """A name in a row is data from outside: it neither leaves the folder nor opens what is no regular file."""
    (folder / "link.png").symlink_to(folder.parent / "secret.png")
    (folder / "dir").symlink_to(folder.parent)
    (folder / "loop.png").symlink_to("loop.png")
    os.mkfifo(folder / "pipe")
    fault(name, folder)


def test_a_link_that_stays_inside_is_followed(folder: Path) -> None:
    """Only where it ends counts; so does a folder that is a link itself."""
    (folder / "latest.png").symlink_to("photos/cat.png")
    assert urls("latest.png", folder) == [data_uri(PNG)]
    (folder.parent / "alias").symlink_to(folder)
    assert urls("photos/cat.png", folder.parent / "alias") == [data_uri(PNG)]


@pytest.mark.parametrize(
    "value",
    [
        "data:image/png;base64," + base64.b64encode(PNG).decode()[:-3],
        "data:image/png;base64,",
        "data:image/png;base64,!!!!",
        "data:image/svg+xml;utf8,<svg/>",
        "data:text/plain;base64,aGVsbG8gaGVsbG8=",
        "data:,hello",
        base64.b64encode(PNG).decode()[:-3],
        base64.b64encode(PNG).decode().replace("fFcS", "fF-S"),
        base64.b64encode(PNG).decode() + "!",
        base64.b64encode(JPEG * 50_000).decode() + "!",
        "https://example.com/a b.png",
        "A" * 64 + " " * 1_000_000 + "!",
        b"",
        b"\x89PNG",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%PDF-1.7",
        7,
        3.5,
        True,
        [["photos/cat.png"]],
        ["photos/cat.png", 7],
        {"bytes": "no"},
        {"bytes": b"no"},
    ],
)
def test_what_is_no_picture_is_refused_with_a_short_reason(value: Any, folder: Path) -> None:
    """Damaged base64 is called that, not a missing file."""
    why = fault(value, folder)
    if isinstance(value, str) and value.startswith(("iVBOR", "/9j/")):
        assert "damaged" in why


def test_a_name_that_could_be_base64_is_a_name(folder: Path) -> None:
    """Stores name files by their hash: sixty-four letters and digits, with or without folders."""
    name = sha256(PNG).hexdigest()
    for path in (name, f"ab/{name}", "Qk" + "0" * 70 + ".png"):
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(PNG)
        assert urls(path, folder) == [data_uri(PNG)]


def test_pictures_are_bounded_one_by_one_and_together(folder: Path) -> None:
    """Fifty megabytes in a cell, or one large file named a thousand times, are one failed row."""
    assert "larger" in fault(PNG + bytes(50_000_000), folder)
    with (folder / "big.png").open("wb") as file:
        file.write(PNG)
        file.truncate(MAX_IMAGE_BYTES + 1)
    assert "larger" in fault("big.png", folder)
    with (folder / "big.png").open("r+b") as file:
        file.truncate(MAX_IMAGE_BYTES // 2)
    assert f"{MAX_ROW_BYTES:,} bytes together" in fault(["big.png"] * 1_000, folder)


def test_a_file_is_read_once(folder: Path) -> None:
    """A thousand rows over one picture cost one read."""
    files = Files(folder)
    (first,) = parts_of("photos/cat.png", files, column="photo")
    (folder / "photos" / "cat.png").unlink()
    assert parts_of("photos/cat.png", files, column="photo") == [first]


def test_rows_that_name_one_file_share_what_was_read_of_it(folder: Path) -> None:
    """A thousand rows over one guide of a megabyte hold one megabyte, not a thousand."""
    (folder / "guide.md").write_text("the guide", encoding="utf-8")
    files = Files(folder)
    assert files.text("guide.md") is files.text("guide.md")
    assert files.picture("photos/cat.png") is files.picture("photos/cat.png")


def test_files_that_are_too_much_together_are_read_again_but_for_the_last_ones(folder: Path) -> None:
    """Memory is bounded; one file that is larger than the bound is kept until the next comes."""
    for name in "abc":
        (folder / name).write_text(name * 1_000, encoding="utf-8")
    files = Files(folder, most_bytes=2_500)
    first, second = files.text("a"), files.text("b")
    assert files.text("a") is first
    third = files.text("c")
    assert files.text("a") is first
    assert files.text("c") is third
    assert files.text("b") is not second
    tight = Files(folder, most_bytes=10)
    assert tight.text("a") is tight.text("a")


@given(st.binary(max_size=80) | st.text(max_size=80))
def test_any_cell_is_a_picture_or_a_refusal(value: Any) -> None:
    """Nothing else comes out, whatever goes in."""
    try:
        parts = parts_of(value, Files(Path("/nonexistent")), column="c")
    except ValueError:
        return
    assert all(part["image_url"]["url"].lower().startswith(("http", "data:image/")) for part in parts)


# -- how it goes out, and what is kept ------------------------------------------------------------------------------


def question(folder: Path) -> list[Message]:
    parts = parts_of(["https://h/1.png", "photos/cat.png"], Files(folder), column="photo")
    return [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, *parts]}]


def test_openai_gets_data_addresses_and_glm_bare_base64(folder: Path) -> None:
    """BigModel API reference and its client; where a picture came from is on no wire."""
    request = Request(model="m", messages=question(folder))
    bare = base64.b64encode(PNG).decode()
    sent = {name: body.write(service, request)["messages"] for name, service in (("glm", GLM), ("openai", OPENAI))}
    assert [part["image_url"]["url"] for part in sent["glm"][0]["content"][1:]] == ["https://h/1.png", bare]
    assert [part["image_url"]["url"] for part in sent["openai"][0]["content"][1:]] == ["https://h/1.png", data_uri(PNG)]
    assert "source" not in json.dumps(sent)
    assert request.messages == question(folder), "what is kept of the conversation stays as it was"


def test_what_is_kept_of_a_picture_is_its_hash_and_its_source(folder: Path) -> None:
    """The hash is the one `sha256sum` gives for the file."""
    messages = question(folder)
    (kept,) = images.shown(messages)
    assert kept["content"] == [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": "https://h/1.png"}},
        {
            "type": "image_url",
            "image_url": {"url": f"sha256:{sha256(PNG).hexdigest()}"},
            "source": "photos/cat.png",
        },
    ]
    assert messages == question(folder)


def test_media_of_a_messages_column_are_kept_as_hashes_too() -> None:
    """Bare base64, damaged base64 and sound; texts and addresses stay, however long."""
    audio = base64.b64encode(bytes(3_000)).decode()
    long = "https://h/" + "x" * 2_000
    parts = [
        {"type": "text", "text": "data:" + "t" * 2_000},
        {"type": "input_audio", "input_audio": {"data": audio, "format": "wav"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,%%%"}},
        {"type": "file_url", "file_url": {"url": long}},
    ]
    plain: list[Message] = [{"role": "system", "content": "x" * 2_000}, {"role": "assistant", "content": None}]
    *others, kept = images.shown([*plain, {"role": "user", "content": parts}])
    assert others == plain
    text, heard, damaged, linked = kept["content"]
    assert (text, linked) == (parts[0], parts[3])
    assert heard["input_audio"] == {"data": f"sha256:{sha256(bytes(3_000)).hexdigest()}", "format": "wav"}
    assert damaged["image_url"]["url"].startswith("sha256:")
