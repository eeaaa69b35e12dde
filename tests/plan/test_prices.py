"""The prices of a job: which files and tables win, what a wrong one is told, and that no answer is asked again."""

from __future__ import annotations

from pathlib import Path

import pytest

from batch.core.errors import JobError, RefusedToStart
from batch.job.job import Job
from batch.job.options import RunOptions
from batch.plan.preflight import CheckedJob, check_job

JOB = """
{top}
[input]
path = "rows.jsonl"

[prompt]
user = "{{{{ text }}}}"

[model]
provider = "mycorp"
name = "mill-1"

[provider.mycorp]
base_url = "http://127.0.0.1:9/v1"
{tables}
"""
TABLE = """
[[provider.mycorp.price]]
models = ["mill-#"]
currency = "EUR"
input = 0.40
output = 1.20
"""


def price(cost: float, *models: str) -> str:
    return "".join(
        f'[[price]]\nproviders = ["mycorp"]\nmodels = ["{model}"]\ncurrency = "USD"\ninput = {cost}\noutput = 1\n'
        for model in models
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rows.jsonl").write_text('{"text": "a"}\n', encoding="utf-8")
    (tmp_path / "mine.toml").write_text(price(7, "mill-1", "grist"), encoding="utf-8")
    (tmp_path / "flag.toml").write_text(price(9, "mill-1"), encoding="utf-8")
    return tmp_path


def checked(folder: Path, *, top: str = "", tables: str = "", flag: Path | None = None) -> CheckedJob:
    (folder / "job.toml").write_text(JOB.format(top=top, tables=tables), encoding="utf-8")
    return check_job(Job.load(folder), {}, flag)


def cost(job: CheckedJob, model: str = "mill-1") -> tuple[int, str] | None:
    line = job.prices.rates("mycorp", model, 1_790_000_000_000_000, prompt_tokens=1, completion_tokens=1)
    return None if line is None else (line.input, line.origin)


def test_the_flag_wins_over_the_lines_of_the_provider_and_those_over_the_file_of_the_job(folder: Path) -> None:
    named = 'prices = "mine.toml"'
    assert cost(checked(folder)) is None
    assert cost(checked(folder, top=named)) == (7_000_000, "mine.toml, line 1")
    both = checked(folder, top=named, tables=TABLE)
    assert cost(both) == (400_000, "job.toml, line 16")
    assert cost(both, "grist") == (7_000_000, "mine.toml, line 7")
    assert cost(checked(folder, top=named, tables=TABLE, flag=folder / "flag.toml")) == (9_000_000, "flag.toml, line 1")


def test_what_a_token_costs_is_no_part_of_the_job_that_was_asked(folder: Path) -> None:
    """Promise 3. Another price, or a first one, asks no row again and makes no run of another job."""
    plain = checked(folder).identity()
    for other in (
        checked(folder, top='prices = "mine.toml"'),
        checked(folder, tables=TABLE),
        checked(folder, tables=TABLE.replace("0.40", "0.41")),
    ):
        assert other.identity() == plain


@pytest.mark.parametrize(
    ("top", "tables", "says"),
    [
        ('prices = "min.toml"', "", r"price file .*min.toml: cannot be read: .*Did you mean mine.toml\?"),
        ('prices = ""', "", r"prices = \"\" \(line 2\): expected a file of \[\[price\]\] tables"),
        ("prices = 3", "", r"prices = 3 \(line 2\): expected a file"),
        ("", TABLE.replace("0.40", '"cheap"'), r'provider.mycorp.price, line 16, price 1 .mill-#.: input = "cheap"'),
        ("", TABLE.replace("output", "outputs"), "outputs: unknown key here. Did you mean output?"),
        ("", TABLE + 'providers = ["glm"]\n', "providers: leave it out, the price is mycorp's"),
        ("", TABLE + TABLE, "2 prices for calls of 0 or more prompt"),
        ("", "price = 3", "provider.mycorp.price = 3 .line 15.: expected tables"),
        ("", '[[provider.glm.price]]\nmodels = ["glm-4"]\n', 'provider.glm.*prices = "my-prices.toml"'),
    ],
)
def test_a_wrong_price_is_told_with_the_other_faults_of_the_job(top: str, tables: str, says: str, folder: Path) -> None:
    with pytest.raises(JobError, match=f"(?s){says}"):
        checked(folder, top=top, tables=tables)


def test_a_wrong_file_of_the_job_or_of_the_flag_names_itself_and_its_lines(folder: Path) -> None:
    (folder / "mine.toml").write_text(price(-7, "mill-1"), encoding="utf-8")
    for top, flag in (('prices = "mine.toml"', None), ("", folder / "mine.toml")):
        with pytest.raises(
            JobError, match=r"price file .*mine.toml: line 1, price 1 .mill-1.: input = -7: is no price"
        ):
            checked(folder, top=top, flag=flag)


def test_a_program_gives_the_file_as_a_path_or_a_text() -> None:
    assert RunOptions(prices="mine.toml").prices == Path("mine.toml")
    assert RunOptions(prices=Path("mine.toml")).prices == Path("mine.toml")
    with pytest.raises(RefusedToStart, match="prices = 3: give the path of a price file"):
        RunOptions(prices=3)


def test_a_job_built_in_code_says_its_prices_as_a_file_does(folder: Path) -> None:
    loaded = checked(folder, top='prices = "mine.toml"', tables=TABLE).job
    built = Job(
        name=loaded.name,
        folder=str(folder),
        input=loaded.input,
        model=loaded.model,
        prompt=loaded.prompt,
        provider=loaded.provider,
        prices="mine.toml",
    )
    assert built.prices == folder / "mine.toml"
    found = check_job(built, {})
    assert cost(found) == (400_000, f"job {built.name!r}")
    assert cost(found, "grist") == (7_000_000, "mine.toml, line 7")
