"""Pictures in whole runs: from wherever they are to the provider, and kept as hash and source."""

from __future__ import annotations

import base64
import json
from hashlib import sha256

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch.cli import main
from tests.prompts.test_images import GIF, JPEG, PNG
from tests.system.runs.asking import Ask, ask
from tests.system.runs.conftest import LANES, measured

__all__ = ["ask"]


@pytest.mark.parametrize(("provider", "lane"), LANES)
def test_pictures_go_out_from_wherever_they_are(provider: str, lane: str, ask: Ask) -> None:
    """Address, file, base64, data:, lists of two; GLM gets bare base64, OpenAI data addresses."""
    bare = [base64.b64encode(data).decode() for data in (PNG, GIF)]
    photos: list[list[str | None]] = [
        ["https://example.com/cat.png"],
        ["photos/cat.png"],
        [bare[0]],
        [f"data:image/png;base64,{bare[0]}"],
        ["photos/cat.png", "photos/dog.gif"],
        [None],
    ]
    lists = [{"photo": cell} for cell in photos]
    model = {"glm": "glm-4v-plus", "openai": "gpt-5-mini"}[provider]
    asking = ask('user = "What is it?"\nimages = ["photo"]', lists, provider=provider, lane=lane, model=model)
    (asking.folder / "photos").mkdir()
    (asking.folder / "photos/cat.png").write_bytes(PNG)
    (asking.folder / "photos/dog.gif").write_bytes(GIF)
    assert asking.run(wire_log=True).exit_code == 0
    asking.check_books()
    inline = (
        bare if provider == "glm" else [f"data:image/{kind};base64,{bare[n]}" for n, kind in enumerate(("png", "gif"))]
    )
    contents = [body["messages"][0]["content"] for body in asking.sent()]
    found = [[p["image_url"]["url"] for p in c[1:]] if isinstance(c, list) else c for c in contents]
    assert found == [["https://example.com/cat.png"], *([inline[:1]] * 3), inline, "What is it?"]
    assert "source" not in json.dumps(contents)
    one, two = asking.calls("prompt_tokens", "row_id IN ('1', '4') ORDER BY row_id")
    assert two[0] == one[0] + 1, "the provider saw both"
    assert len(set(asking.one("fingerprint"))) == 4, "the same picture is the same question wherever it lies"


def test_pictures_of_a_parquet_column_go_out_as_their_bytes(ask: Ask) -> None:
    """Plain binary, and the pair of bytes and path that data sets use; kept as hash and source."""
    asking = ask('user = "What is it?"\nimages = ["photo", "also"]', [], model="glm-4v-plus")
    asking.input, asking.output = "rows.parquet", {"messages": "all", "columns": ["n"]}
    pair = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    also = [{"bytes": GIF, "path": "gone.gif"}, None]
    table = {"n": [0, 1], "photo": pa.array([PNG, JPEG], pa.binary()), "also": pa.array(also, pair)}
    pq.write_table(pa.table(table), asking.folder / "rows.parquet")
    assert asking.run(wire_log=True).exit_code == 0
    asking.check_books()
    sent = [[p["image_url"]["url"] for p in body["messages"][0]["content"][1:]] for body in asking.sent()]
    assert sent == [[base64.b64encode(data).decode() for data in row] for row in ((PNG, GIF), (JPEG,))]
    first, second = [json.loads(text)[0]["content"] for text in asking.one("messages")]
    assert first[1:] == [
        {
            "type": "image_url",
            "image_url": {"url": f"sha256:{sha256(data).hexdigest()}"},
            "source": f"column {column}",
        }
        for data, column in ((PNG, "photo"), (GIF, "also"))
    ]
    assert len(second) == 2


@pytest.mark.parametrize(
    "cell",
    [
        "../../../etc/passwd",
        "/proc/self/environ",
        "rows.jsonl",
        "job.toml",
        "gone.png",
        "x" * 5_000,
        "nul\0.png",
        "data:image/png;base64,%%",
        base64.b64encode(PNG).decode()[:-2],
        "file:///etc/passwd",
    ],
)
def test_a_cell_that_is_no_picture_is_one_failed_row_unsent(cell: str, ask: Ask) -> None:
    """Promise 7: the reason is short, and shows nothing of the file."""
    asking = ask('user = "What?"\nimages = ["photo"]', [{"photo": "https://h/1"}, {"photo": cell}], model="glm-4v-plus")
    assert asking.run().exit_code == 1
    kind, why, retryable = asking.results("error_kind, error_message, retryable")[1]
    assert (kind, retryable) == ("prompt", False)
    assert "column 'photo'" in why
    assert len(why) < 400
    assert "root:" not in why
    assert len(asking.books()) == 1


def test_a_large_picture_is_sent_whole_and_stands_in_no_table(ask: Ask) -> None:
    """Five megabytes, named by a path: the result keeps the hash."""
    asking = ask('user = "What?"\nimages = ["photo"]', [{"photo": "big.jpg"}] * 4, model="glm-4v-plus")
    asking.output = {"messages": "all"}
    data = JPEG + bytes(5_000_000)
    (asking.folder / "big.jpg").write_bytes(data)
    assert asking.run().exit_code == 0
    assert {sha256(data).hexdigest() in text and len(text) < 1_000 for text in asking.one("messages")} == {True}
    assert sum(path.stat().st_size for path in (asking.out / "results").iterdir()) < 100_000
    asking.check_books()


def test_pictures_in_memory_are_those_of_a_few_rows(ask: Ask) -> None:
    """Eighty rows of four megabytes each: what waits is bounded, whatever the number of rows."""
    asking = ask('user = "What?"\nimages = ["photo"]', [{"photo": f"{n}.jpg"} for n in range(80)], model="glm-4v-plus")
    asking.limits["concurrency"] = 2
    (asking.folder / "0.jpg").write_bytes(JPEG + bytes(4_000_000))
    for n in range(1, 80):
        (asking.folder / f"{n}.jpg").hardlink_to(asking.folder / "0.jpg")
    code, peak = measured(asking)
    assert code == 0
    assert peak < 540, "MB"


def test_check_shows_pictures_by_hash_and_source(
    ask: Ask, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a screen of base64 tells nobody anything."""
    asking = ask('user = "What?"\nimages = ["photo"]', [{"photo": "cat.png"}], model="glm-4v-plus")
    (asking.folder / "cat.png").write_bytes(PNG)
    for name, value in asking.environ.items():
        monkeypatch.setenv(name, value)
    assert main(["check", str(asking.save())]) == 0
    said = "".join(capsys.readouterr())
    assert sha256(PNG).hexdigest() in said
    assert "cat.png" in said
    assert base64.b64encode(PNG).decode()[:40] not in said


def test_files_that_only_rows_name_are_looked_at_each_time(ask: Ask) -> None:
    """A picture that was replaced under its old name is another question, and nobody touched job or input."""
    asking = ask(
        'user = "{{ file(note) }}"\nimages = ["photo"]',
        [{"note": "a.txt", "photo": "a.png"}, {"note": "b.txt", "photo": "b.png"}, {"note": "b.txt", "photo": None}],
        model="glm-4v-plus",
    )
    for name in "ab":
        (asking.folder / f"{name}.txt").write_text("What?", encoding="utf-8")
        (asking.folder / f"{name}.png").write_bytes(PNG)
    assert asking.run().totals.rows == 3
    assert asking.run().totals.rows == 0
    (asking.folder / "a.png").write_bytes(GIF)
    assert asking.run().totals.rows == 1
    (asking.folder / "b.txt").write_text("Why?", encoding="utf-8")
    assert asking.run().totals.rows == 2
    asking.check_table(3)
    asking.check_books()
