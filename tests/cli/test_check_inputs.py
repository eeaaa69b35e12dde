"""`promptmill check` over folders, patterns and batch files: what will be read, and everything in it that cannot be."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch.input import late_keys
from tests.cli.conftest import Cli, Shell


@pytest.fixture
def job(alone: Shell) -> Path:
    """A job whose input is the folder `in`, with a file in it."""
    folder = alone.write([])
    text = (folder / "job.toml").read_text("utf-8").replace('path = "rows.jsonl"', 'path = "in"')
    (folder / "job.toml").write_text(text, "utf-8")
    (folder / "in").mkdir()
    (folder / "in" / "a.jsonl").write_text('{"id": 1, "text": "one"}\n{"id": 2, "text": "two"}\n')
    return folder


def test_a_folder_is_shown_with_its_files_and_what_is_passed_over(job: Path, cli: Cli) -> None:
    """What a person wants to know before ten thousand rows are sent."""
    (job / "in" / "notes.csv").write_text("x")
    for number in range(12):
        (job / "in" / f"b{number:02d}.jsonl.gz").write_bytes(gzip.compress(b'{"id": "%d", "late": 1.5}\n' % number))
    said = cli("check", job)
    assert said.code == 0
    assert f"{job / 'in'}, 13 files (" in said.out
    assert "files, in the order they are read\n  a.jsonl (50 bytes)\n  b00.jsonl.gz (" in said.out
    assert "\n  … 6 more …\n" not in said.out
    assert "\n  … 5 more …\n  b11.jsonl.gz (" in said.out
    assert "not read, for other endings: notes.csv" in said.out
    assert "  late        double" in said.out
    assert re.search(r"a\.jsonl line 2\n  user  two\n  size  about \d+ prompt tokens \(", said.out)
    assert "\nb00.jsonl.gz line 1\n" in said.out, "samples go on into the next file"


def test_rows_of_parquet_files_are_counted_together(job: Path, cli: Cli) -> None:
    """Footers say it."""
    for name in "xy":
        pq.write_table(pa.table({"id": [name, name * 2], "text": ["a", "b"]}), job / "in" / f"{name}.parquet")
    said = cli("check", job, "--set", "input.path=in/*.parquet")
    assert said.code == 0
    assert "*.parquet, 2 files, 4 rows (" in said.out


def test_reading_all_names_both_places_of_a_repeat_and_every_bad_line(job: Path, cli: Cli) -> None:
    """Design 4: --full."""
    (job / "in" / "deep").mkdir()
    lines = b'{"id": 3, "text": "x"}\n{"id": "2", "text": "again"}\nnonsense\n{"text": "no id"}\n'
    (job / "in" / "deep" / "b.jsonl.gz").write_bytes(gzip.compress(lines)[:-6])
    (job / "in" / "c.jsonl").write_bytes(b'{"id": 9, "text": "caf\xe9"}\n')
    said = cli("check", job, "--full")
    assert said.code == 1
    assert "all of it read: 8 rows, 5 of them cannot be asked" in said.out
    assert "  3 rows cannot be taken as they are:\n    c.jsonl line 1: not UTF-8: byte 0xe9" in said.out
    assert "iconv -f LATIN1 -t UTF-8" in said.out
    assert "deep/b.jsonl.gz line 3: " in said.out
    assert "deep/b.jsonl.gz line 5: the compressed data cannot be unpacked after line 4" in said.out
    assert "deep/b.jsonl.gz line 4: id is empty" in said.out
    assert "deep/b.jsonl.gz line 2: id '2' stands already at a.jsonl line 2" in said.out


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("none", "none: there is no such file or folder. Correct input.path"),
        ("inn", "inn: there is no such file or folder. Did you mean in?"),
        ("in/*.parquet", "in/*.parquet: matches no file that can be read; supported are .parquet"),
        ("in/empty", "in/empty: holds no file that can be read; supported are .parquet"),
    ],
)
def test_a_wrong_path_is_told_in_one_sentence(job: Path, cli: Cli, path: str, text: str) -> None:
    """Exit 2, and nothing is made."""
    (job / "in" / "empty").mkdir()
    said = cli("check", job, "--set", f"input.path={path}")
    assert (said.code, said.out) == (2, "")
    assert text in said.err
    assert not (job / "out").exists()


def test_names_that_would_move_the_cursor_are_cleaned(job: Path, cli: Cli) -> None:
    """A file name comes from outside."""
    (job / "in" / "\x1b[2Ja\nb.jsonl").write_text('{"id": 4, "text": "x"}\nbroken\n')
    said = cli("check", job, "--full")
    assert "\x1b" not in said.out + said.err
    assert "[2Ja b.jsonl" in said.out


def batch_file(job: Path, *bodies: dict[str, Any], more: str = "") -> None:
    """The job over lines of a batch file."""
    lines = [{"custom_id": f"r{number}", "body": body} for number, body in enumerate(bodies)]
    (job / "in" / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    text = (job / "job.toml").read_text("utf-8").replace('path = "in"\nkey = "id"', f'path = "in"\n{more}')
    (job / "job.toml").write_text(text.replace('[prompt]\nuser = "{{ text }}"\n', ""), "utf-8")


def test_a_batch_file_needs_no_prompt_and_shows_what_would_not_be_asked(job: Path, cli: Cli) -> None:
    """The first look says what to set."""
    ask = {"messages": [{"role": "user", "content": "Hi"}]}
    batch_file(
        job, {**ask, "model": "glm-4"}, {**ask, "model": "gpt-5"}, {**ask, "top_p": 1}, more='format = "openai-batch"'
    )
    said = cli("check", job)
    assert said.code == 0
    assert "openai-batch" in said.out
    assert "  key      custom_id" in said.out
    assert "a.jsonl line 1\n  user  Hi\n" in said.out
    assert 'body.model is "gpt-5", the job asks "glm-4": set model.name' in said.out
    assert "the body asks with top_p = 1, the job does not: set it in model.parameters" in said.out


def test_a_key_beside_a_batch_file_and_a_missing_prompt_without_one_are_faults(job: Path, cli: Cli) -> None:
    """The one is always custom_id, the other is only brought by batch files."""
    batch_file(job, {}, more='format = "openai-batch"\nkey = "id"')
    said = cli("check", job)
    assert said.code == 2
    assert "lines of a batch file are known by their custom_id: take it out" in said.err
    said = cli("check", job, "--set", "input.format=rows")
    assert (said.code, "the section [prompt] is missing" in said.err) == (2, True)
    said = cli("check", job, "--set", "input.format=csv")
    assert (said.code, 'expected "rows" or "openai-batch"' in said.err) == (2, True)


def test_refusals_clean_names_too(job: Path, cli: Cli) -> None:
    """The same on the other stream."""
    (job / "in" / "\x1b]0;x\x07.jsonl.gz").write_text("plain")
    said = cli("check", job)
    assert said.code == 2
    assert "\x1b" not in said.err
    assert "is not packed with gzip, whatever its ending says" in said.err


def test_a_key_that_is_too_short_to_be_masked_is_said(alone: Shell, monkeypatch: pytest.MonkeyPatch, cli: Cli) -> None:
    """FIELD 19. `EMPTY` and the like cannot be told from words; a longer key says nothing."""
    folder = alone.write([{"id": 1, "text": "x"}])
    sentence = "the key in ZAI_API_KEY has fewer than 12 characters and cannot be told from words"
    for name in ("ZHIPUAI_API_KEY", "ZHIPU_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    for key, warned in (("EMPTY", True), ("elevenchars", True), ("twelve-chars", False)):
        monkeypatch.setenv("ZAI_API_KEY", key)
        said = cli("check", folder)
        assert said.code == 0
        assert (sentence in said.out) is warned


def test_what_a_prompt_probably_does_not_mean_is_told(job: Path, cli: Cli) -> None:
    """FIELD 39. A template without a column, one in single braces, and how ShareGPT messages are read."""
    said = cli("check", job, "--set", "prompt.user=Hello")
    assert said.code == 0
    assert "warnings\n  prompt: no column of the input is read, so every row asks the same\n" in said.out
    said = cli("check", job, "--set", "prompt.user={text} of {{ id }}")
    assert said.code == 0
    assert (
        "warnings\n  prompt.user: {text} is plain text and is sent as it stands; the column is {{ text }}\n" in said.out
    )
    said = cli("check", job, "--set", "prompt.user={text}")
    assert said.code == 2
    assert "prompt.user: {text} is plain text and is sent as it stands" in said.err
    chat = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Yes?"}, {"from": "human", "value": "Bye"}]
    (job / "in" / "a.jsonl").write_text(json.dumps({"id": 1, "chat": chat}) + "\n")
    text = (job / "job.toml").read_text("utf-8").replace('user = "{{ text }}"', 'messages = "chat"')
    (job / "job.toml").write_text(text, "utf-8")
    said = cli("check", job)
    assert said.code == 0
    assert "  note: column 'chat' has the form of ShareGPT: from and value are read as role and content\n" in said.out
    assert "  user       Hi\n  assistant  Yes?\n  user       Bye\n" in said.out


def test_a_key_that_is_no_column_is_shown_and_told_where_a_column_is_wanted(
    job: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FIELD 31. After 10,000 lines columns are fixed; the prompt reads the key, the output needs a declared type."""
    (job / "in" / "b.jsonl").write_text('{"id": 3, "text": "x"}\n' * 10_000 + '{"id": 4, "late": "y"}\n')
    said = cli("check", job, "--set", "prompt.user={{ text }} {{ late }}")
    assert said.code == 0
    assert "\n  late                      a key of some rows, kept in input_rest, in the prompt\n" in said.out
    said = cli("check", job, "--set", 'output.columns=["id", "late"]')
    assert said.code == 2
    assert "output.columns: 'late' came after the columns were fixed and stands in input_rest" in said.err
    assert 'declare it: input.types = { late = "string" }' in said.err
    said = cli("check", job, "--set", 'output.columns=["id", "late"]', "--set", 'input.types={ late = "string" }')
    assert said.code == 0
    monkeypatch.setattr(late_keys, "SEARCHED_BYTES", 1_000)
    said = cli("check", job, "--set", "prompt.user={{ text }} {{ nowhere }}")
    assert said.code == 2
    assert "{{ nowhere }} is no column of the input" in said.err
    assert "only the newest gigabyte of lines was searched for keys; one that older lines have is declared" in said.err


def test_check_tells_the_types_that_are_written_and_what_does_not_fit_them(alone: Shell, cli: Cli) -> None:
    """FIELD 35: JSON text is called so; FIELD 36: so is text that comes as bytes, and a column whose files do not agree."""
    rows = [{"id": n, "text": "x", "tree": {"k": n}, "mixed": "fine" if n else {"k": 1}} for n in range(3)]
    said = cli("check", alone.write(rows))
    lines = {words[0]: " ".join(words[1:]) for line in said.out.splitlines() if (words := line.split())}
    assert (lines["tree"], lines["mixed"]) == ("json", "large_string")
    (alone.folder / "in").mkdir()
    for name, note in (("a", "x"), ("b", 5)):
        table = pa.table({"id": [name], "text": pa.array([b"hi"]), "note": [note]})
        pq.write_table(table, alone.folder / "in" / f"{name}.parquet")
    said = cli("check", alone.folder, "--set", "input.path=in")
    lines = {words[0]: " ".join(words[1:]) for line in said.out.splitlines() if (words := line.split())}
    assert (said.code, lines["text"]) == (0, "binary in the prompt, read as UTF-8 text")
    clash = "string in a.parquet and int64 in b.parquet: what does not fit is in input_rest"
    assert lines["note"] == f"string {clash}"
    assert "user hi" in " ".join(said.out.split())


def test_a_column_called_row_is_read_as_what_it_is(alone: Shell, cli: Cli) -> None:
    """FIELD 36 beside 39: `row.x` is a field of that column then, and its bytes are text."""
    alone.write([{"id": 1, "text": "x"}])
    table = pa.table({"id": [1], "row": [{"x": b"hi"}], "x": [b"\xff"]})
    pq.write_table(table, alone.folder / "own.parquet")
    said = cli("check", alone.folder, "--set", "input.path=own.parquet", "--set", "prompt.user={{ row.x }}")
    assert (said.code, "user hi" in " ".join(said.out.split())) == (0, True), "and nobody asks for the column x"
    said = cli("check", alone.folder, "--set", "input.path=own.parquet", "--set", "prompt.user={{ x }}")
    assert (said.code, "column 'x': not UTF-8" in said.err) == (2, True)


def test_a_column_input_rest_of_the_files_is_not_told_as_ours(job: Path, cli: Cli) -> None:
    """FIELD 36."""
    (job / "in" / "a.jsonl").unlink()
    pq.write_table(pa.table({"id": ["a"], "text": ["b"], "input_rest": ["no JSON"]}), job / "in" / "a.parquet")
    said = cli("check", job)
    assert (said.code, "JSON text of what fits no other column" in said.out) == (0, False)


def test_a_csv_file_without_a_header_is_told_where_its_columns_are_missing(alone: Shell, cli: Cli) -> None:
    """FIELD 38. Once for all templates, and not as a fault of any of them; what is missing is a line of the input."""
    alone.write([])
    path = alone.folder / "rows.csv"
    path.write_text("17,What is up?\n18,Why?\n")
    run = ("check", alone.folder, "--set", "input.path=rows.csv", "--set", "prompt.user={{ text }} {{ more }}")
    said = cli(*run, "--set", 'input.key="17"')
    assert said.code == 2
    assert said.err.count("is no column of the input") == 2
    assert (
        said.err.count("input.path: Line 1 of rows.csv is taken for the header, and reads as data (17). If it is") == 1
    )
    path.write_text("id,text,more,\n17,What is up?,,\n")
    said = cli(*run)
    assert said.code == 0
    assert re.search(r"  column_4 +large_string +its cell in the header is empty\n", said.out)
