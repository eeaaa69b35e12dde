"""Keys that strangers bring back are found nowhere: a choice of what `scripts/keys` does; and a key that is a word."""

from __future__ import annotations

import json
import random
from pathlib import Path

import duckdb
import pytest

from tests.system.faults.key_campaign import TRIALS, Hunt, Leak, said, undisturbed, write
from tests.system.faults.key_ways import USAGE, Asked, Way, completion, provider

CHOSEN = ("streams, cut over the chunks", "tools", "tasks", "tokens in refusals", "addresses")


@pytest.mark.parametrize("way", CHOSEN)
def test_a_key_that_comes_in_by_this_way_is_found_nowhere(way: str, tmp_path: Path) -> None:
    """FIELD 18, FIELD 20. In no file, no line and no help, in none of a dozen forms."""
    assert TRIALS[way](tmp_path / "job", random.Random(f"suite-{way}")) > 40


def test_the_hunt_finds_what_is_there() -> None:
    """Else it would find nothing whatever happens."""
    key = "sk-Ab3/defGHIjkl+mnopqr=="
    for text in (key, key.upper(), key[5:18], json.dumps(key), key.encode().hex(), key.replace("/", "%2F")):
        with pytest.raises(Leak):
            Hunt(key).text(f"x {text} y", "here")
    Hunt(key).text(f"x {key[:11]} y", "here")


@pytest.mark.parametrize("key", ["token", "content", "EMPTY"])
def test_a_key_that_is_a_word_of_every_answer_takes_nothing_from_it(key: str, tmp_path: Path) -> None:
    """FIELD 19. Usage booked, answers whole, one call a row; `run` says once that the key is not masked."""

    def answer(asked: Asked) -> object:
        return completion(f'{{"content": "stop, the content of token {key} is null"}}')

    way = Way(answer, rows=3)  # type: ignore[arg-type]  # any answer will do
    with undisturbed({"OPENAI_API_KEY": key}), provider(way, lambda: None) as (url, asked):
        write(tmp_path, way, url)
        code, told = said("run", tmp_path, "--progress", "none")
    assert code == 0, told
    assert told.count("key_not_masked") == 1
    assert len(asked) == 3
    with duckdb.connect() as table:
        found = f"SELECT answer, finish_reason, total_tokens FROM '{tmp_path}/out/results/*.parquet'"
        rows = table.execute(found).fetchall()
    assert rows == [(f"stop, the content of token {key} is null", "stop", USAGE["total_tokens"])] * 3
