"""`batch.report.viewer.app`: figures over a real socket, and what is said of everything that goes wrong."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from batch.output.folder import RunLock
from batch.report.figures.figures import Figures
from tests.support.labelled import labelled
from tests.support.outfolders import blank, finished
from tests.support.values import outcome
from tests.support.viewing import Viewing, viewing

HOSTILE = "</script><script>alert(1)</script>\u202e\x1b[2J" + "x" * 300_000


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder with labels, and one with hostile rows and no labels."""
    root = tmp_path_factory.mktemp("app")
    rows = [{"text": f"t{n}", "truth": "xy"[n % 2], "label": "xxy"[n % 3]} for n in range(100)]
    first = labelled(root / "first", rows, gold="truth", names=["x", "y"], part_rows=30)
    second = finished(root / "second", pa.table({HOSTILE[:50]: [HOSTILE, "b"]}), [outcome(HOSTILE)])
    return first.root, second.root


@pytest.fixture
def view(folders: tuple[Path, Path]) -> Iterator[Viewing]:
    """A viewer over both."""
    with viewing(*folders) as found:
        yield found


def test_several_folders_stand_side_by_side(view: Viewing) -> None:
    """Each with its number."""
    told = view.get("api/folders").json
    assert [(one["id"], Path(one["path"]).name, one["job"]) for one in told] == [
        ("0", "first", "tickets"),
        ("1", "second", "second"),
    ]
    assert view.get("api/0/count").json == {"total": 100}
    assert view.get("api/1/count").json == {"total": 2}


def test_figures_are_those_of_the_folder(view: Viewing) -> None:
    """Over the socket as in Python."""
    figures = Figures(Path(view.get("api/folders").json[0]["path"]))
    for page, expected in (
        ("rows?label=y&size=5&page=2", None),
        ("row/7?label=y", None),
        ("labels", figures.labels()),
        ("money?by=model&by=day", figures.money(("model", "day"))),
        ("status", figures.status()),
    ):
        answer = view.get(f"api/0/{page}")
        assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
        if expected is not None:
            assert answer.json == json.loads(json.dumps(expected))
    assert [row["row_number"] for row in view.get("api/0/rows?label=y&size=5&page=2").json["rows"]] == [
        17,
        20,
        23,
        26,
        29,
    ]
    row = view.get("api/0/row/7?label=y").json
    assert (row["row_number"], row["previous"], row["next"]) == (7, 5, 8)
    assert view.get("api/0/overview").json["series"]["rows"]
    assert view.get("api/0/row?id=r7").json["row_id"] == "r7"


def test_a_figure_over_all_rows_is_remembered_until_the_tables_change(
    view: Viewing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever loads the page again does not wait again."""
    first = view.get("api/0/labels?label=label").body

    def never(*_: object) -> None:
        raise AssertionError("it was computed again")

    with monkeypatch.context() as patch:
        patch.setattr(Figures, "labels", never)
        assert view.get("api/0/labels?label=label").body == first
    root = Path(view.get("api/folders").json[0]["path"])
    (root / "results" / ".odd").touch()
    (root / "results" / ".odd").unlink()
    calls: list[Any] = []
    whole = Figures.labels

    def counted(*asked: Any) -> dict[str, Any]:
        calls.append(asked)
        return whole(*asked)

    monkeypatch.setattr(Figures, "labels", counted)
    assert view.get("api/0/labels?label=label").body == first
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("page", "status", "reason"),
    [
        ("api/2/rows", 404, "there is no folder 2: 2 are shown"),
        ("api/-1/rows", 404, "no such page"),
        ("api/0/nothing", 404, "no such page"),
        ("nothing", 404, "no such page"),
        ("api/0/rows?sttus=ok", 400, "Did you mean status?"),
        ("api/0/rows?page=0", 400, "counted from 1"),
        ("api/0/rows?page=x", 400, "page=x: give a whole number"),
        ("api/0/rows?page=1&page=2", 400, "Give it once"),
        ("api/0/rows?size=%C2%B2", 400, "give a whole number"),
        ("api/0/rows?text=" + "x" * 20_000, 400, "longer than 10,000 characters"),
        ("api/0/overview?run=odd", 404, "has no run 'odd'"),
        ("api/0/row/1000", 400, "no row of the table has the number 1000"),
        ("api/0/row/99999999999999999999999", 400, "no row of the table has the number"),
        ("api/0/row?id=nobody", 400, "no row is called 'nobody'"),
        ("api/0/compare", 400, "its rows have no variants"),
        ("api/1/labels", 400, "has no labels"),
        ("api/1/rows.review", 400, "has no labels"),
        ("api/0/money?by=odd", 400, "odd"),
        ("api/0/rows.xlsx", 404, "there are rows.csv, rows.jsonl and rows.review"),
        ("api/0/rows.review?format=odd", 400, "there are jsonl, csv, label-studio, argilla"),
        ("metrics", 404, "each has its own metrics"),
        ("api/0/metrics", 404, "metrics.prom: cannot be read: No such file"),
    ],
)
def test_what_cannot_be_shown_is_one_sentence(view: Viewing, page: str, status: int, reason: str) -> None:
    """With its way out, and never a traceback."""
    answer = view.get(page)
    assert (answer.status, list(answer.json)) == (status, ["error"])
    assert reason in answer.json["error"]


def test_a_bug_of_ours_is_a_sentence_without_its_inside(view: Viewing, monkeypatch: pytest.MonkeyPatch) -> None:
    """And other pages go on."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError("secret prompt text")

    monkeypatch.setattr(Figures, "rows", broken)
    answer = view.get("api/0/rows")
    assert (answer.status, answer.json) == (
        500,
        {"error": "a bug of ours: ZeroDivisionError. Other figures may be there all the same."},
    )
    assert view.get("api/0/count").status == 200


def test_a_damaged_part_is_told_with_its_way_out(tmp_path: Path) -> None:
    """In the words of the other commands; what does not need the part is shown."""
    folder = finished(tmp_path / "out", pa.table({"t": [str(n) for n in range(30)]}), part_rows=10)
    with viewing(folder.root) as view:
        folder.part(1).write_bytes(b"PAR1 nothing PAR1")
        answer = view.get("api/0/row/12")
        assert answer.status == 503
        assert "part-00001.parquet: cannot be read" in answer.json["error"]
        assert "promptmill rebuild" in answer.json["error"]
        assert len(view.get("api/0/rows?page=2&size=10").json["rows"]) == 10


def test_a_hostile_row_is_data_in_json_and_cut(view: Viewing) -> None:
    """Nothing of it can be taken for a page."""
    answer = view.get("api/1/rows")
    assert len(answer.body) < 20_000
    [hostile, _] = answer.json["rows"]
    assert "\x1b" not in hostile["answer"]
    assert "\u202e" not in hostile["answer"]
    whole = view.get("api/1/row/0?whole=1").json["views"][0]
    assert whole["outcome"]["answer"] == HOSTILE
    assert list(whole["inputs"].values()) == [HOSTILE]
    assert view.get("api/1/row/0").json["cut"] == 2


def test_filtered_rows_can_be_taken_along(view: Viewing) -> None:
    """As a file of a name that says whence."""
    for ending, kind, name in (
        ("csv", "text/csv; charset=utf-8", "first.csv"),
        ("jsonl", "application/x-ndjson", "first.jsonl"),
        ("review", "application/x-ndjson", "first-review.jsonl"),
    ):
        answer = view.get(f"api/0/rows.{ending}?label=y")
        assert (answer.status, answer.headers["content-type"]) == (200, kind)
        assert answer.headers["content-disposition"] == f"attachment; filename*=UTF-8''{name}"
        assert len(answer.body.splitlines()) == 33 + (ending == "csv")
    answer = view.get("api/0/rows.review?format=argilla&label=y")
    assert (answer.headers["content-type"], len(answer.json)) == ("application/json", 33)


def test_a_download_that_breaks_off_is_no_whole_file(tmp_path: Path) -> None:
    """A browser keeps a chunked answer without its end for failed."""
    text = ["x" * 10_000] * 1_500
    folder = finished(tmp_path / "out", pa.table({"t": text}), part_rows=500)
    with viewing(folder.root) as view:
        blank(folder.part(1))
        with view.raw(
            f"GET /{view.token}/api/0/rows.csv HTTP/1.1\r\nHost: localhost:{view.port}\r\n\r\n".encode()
        ) as line:
            data = b"".join(iter(lambda: line.recv(1 << 20), b""))
    assert data.startswith(b"HTTP/1.1 200 OK")
    assert not data.endswith(b"0\r\n\r\n")


def test_a_slow_reader_holds_nobody_up(tmp_path: Path) -> None:
    """Twenty downloads that nobody reads on, and the page comes all the same."""
    text = ["x" * 20_000] * 1_000
    folder = finished(tmp_path / "out", pa.table({"t": text}), part_rows=500)
    with viewing(folder.root) as view:
        request = f"GET /{view.token}/api/0/rows.csv HTTP/1.1\r\nHost: localhost:{view.port}\r\n\r\n".encode()
        lines = [view.raw(request) for _ in range(20)]
        try:
            assert all(line.recv(15) == b"HTTP/1.1 200 OK" for line in lines)
            assert len(view.get("api/0/rows?size=3").json["rows"]) == 3
        finally:
            for line in lines:
                line.close()


def test_a_page_is_right_while_parts_are_replaced_all_the_time(tmp_path: Path) -> None:
    """By a run at work. Each row is one of the two that ever stood there, and every page is whole."""
    made = [{"text": f"t{n}", "label": "x", "status": "ok"} for n in range(200)]
    folder = labelled(tmp_path / "out", made, part_rows=50)
    other = labelled(tmp_path / "other", [{**row, "label": "y"} for row in made], part_rows=50)
    parts = [(folder.part(n).read_bytes(), other.part(n).read_bytes()) for n in range(4)]
    ended = threading.Event()

    def replace() -> None:
        turn = 0
        while not ended.is_set():
            for number, both in enumerate(parts):
                hidden = folder.results / f".{number}"
                hidden.write_bytes(both[turn % 2])
                hidden.replace(folder.part(number))
            turn += 1

    thread = threading.Thread(target=replace)
    thread.start()
    try:
        with RunLock(folder).take(), viewing(folder.root) as view:
            for number in range(12):
                answer = view.get(f"api/0/rows?size=60&page={number % 4 + 1}{'&label=x' if number % 2 else ''}")
                assert answer.status == 200, answer.body
                rows = answer.json["rows"]
                numbers = [row["row_number"] for row in rows]
                assert numbers == sorted(set(numbers))
                assert all(row["label"] == "x" for row in rows) or not number % 2
                if number % 4:
                    continue
                ordered = view.get("api/0/rows?order=-row_number&size=20")
                assert ordered.status == 200 or "Ask again" in ordered.json["error"]
    finally:
        ended.set()
        thread.join()


def test_metrics_are_the_file_of_the_run(tmp_path: Path) -> None:
    """Word for word, for whoever scrapes this machine, but for a run that was killed: it is not at work any more."""
    folder = finished(tmp_path / "out", pa.table({"t": ["a"]}))
    (folder.root / "metrics.prom").write_text("promptmill_rows 1\n")
    with viewing(folder.root) as view:
        for page in ("metrics", "api/0/metrics"):
            answer = view.get(page)
            assert (answer.status, answer.body) == (200, b"promptmill_rows 1\n")
            assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        running = 'promptmill_running{batch_job="j"} %d\npromptmill_rows 1\n'
        (folder.root / "metrics.prom").write_text(running % 1)
        assert view.get("metrics").body.decode() == running % 0
        with RunLock(folder).take():
            assert view.get("metrics").body.decode() == running % 1


def test_it_is_listened_to_on_this_machine_alone(view: Viewing) -> None:
    """Whatever other addresses the machine has."""
    others = {str(info[4][0]) for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)} - {
        "127.0.0.1"
    }
    for address in [*others, "::1"]:
        with pytest.raises(OSError, match=r"refused|unreachable|assign"):
            socket.create_connection((address, view.port), timeout=5).close()
