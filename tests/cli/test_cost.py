"""`cost`: what it says, in which forms, and what real runs have cost; `tests/report/cost` has the figures."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
import urllib.request
from collections import Counter
from collections.abc import Collection
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from batch.core.records import cost_decimal
from batch.report.cost.public import COST_KEYS
from batch.report.cost.reconcile_public import DIFFERENCE_KEYS
from tests.cli.conftest import ROOT, Cli, Shell
from tests.support.books import OCTOBER_US, BookCall, BookRow, book
from tests.support.nightly import Month, month
from tests.support.values import call, refused, unknown


def small(root: Path) -> Path:
    """Three calls of two models: 2 µCNY, and one call whose cost nobody knows."""
    at = {"sent_at_us": OCTOBER_US}
    calls = [
        BookCall(call(0, model_asked="plus", **at), 0),
        BookCall(call(1, model_asked="air", cost=10**18, **at), 1),
        BookCall(unknown(2, model_asked="air", **at), 2),
    ]
    return book(root, calls, [BookRow(0, first_us=OCTOBER_US), BookRow(1, first_us=OCTOBER_US)]).root


def test_cost_tells_the_groups_and_what_is_to_know_of_all_calls(tmp_path: Path, cli: Cli) -> None:
    """The whole of a small table."""
    out = small(tmp_path / "out")
    said = cli("cost", out, "--by", "day,model")
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines() == [
        f"{out}: 3 calls, sent 2026-09-30 16:00 to 2026-09-30 16:00 UTC",
        "  day         model  calls  tokens in  out  cached         cost, CNY",
        "  2026-10-01  air        2         10    5    20 %      1,000,000.00",
        "  2026-10-01  plus       1         10    5    20 %          0.000001",
        "",
        "  total                  3         20   10    20 %  1,000,000.000001",
        "",
        "  paid for nothing  0.00 CNY",
        "  cache             4 tokens, 20.0 % of those asked",
        "  unknown calls     1 never answered, possibly billed",
        "                    of 1 nothing can be said: no max_tokens, no price, or more",
        "                    than text",
        "  days              of Asia/Shanghai (glm)",
    ]


def test_tokens_that_no_answer_told_are_not_known_and_not_0(tmp_path: Path, cli: Cli) -> None:
    """A service without usage: `cost` said 0 tokens, and `status` "unknown". What was refused is known to be nothing."""
    at = {"sent_at_us": OCTOBER_US}
    silent = {"usage": None, "cost": None, **at}
    calls = [
        BookCall(call(0, model_asked="silent", **silent), 0),
        BookCall(refused(1, model_asked="silent", **at), 1),
        BookCall(refused(2, model_asked="busy", **at), 2),
        BookCall(call(3, model_asked="half", **silent), 3),
        BookCall(call(4, model_asked="half", **at), 4),
        BookCall(unknown(5, model_asked="gone", **at), 5),
    ]
    out = book(tmp_path / "out", calls, [BookRow(number, first_us=OCTOBER_US) for number in range(6)]).root
    told = json.loads(cli("cost", out, "--by", "model", "--json").out)["groups"]
    sums: dict[str, list[Any]] = {}
    for group in told:
        sums.setdefault(group["model"], []).append((group["prompt_tokens"], group["completion_tokens"]))
    assert sums["silent"] == [(None, None)]
    assert sums["gone"] == [(None, None)]
    assert sums["busy"] == [(0, 0)]
    assert (10, 5) in sums["half"]
    lines = {line.split()[0]: line for line in cli("cost", out, "--by", "model").out.splitlines() if line}
    assert lines["silent"].count("not known") >= 2
    assert re.search(r" 1 +– +– ", lines["gone"])
    assert re.search(r" 1 +0 +0 ", lines["busy"])
    head, *rows = csv.reader(io.StringIO(cli("cost", out, "--by", "model", "--csv").out.removeprefix("\ufeff")))
    assert {row[head.index("prompt_tokens")] for row in rows if row[0] == "silent"} == {""}


def test_json_has_an_object_for_each_group_with_its_cost_as_decimal_text(tmp_path: Path, cli: Cli) -> None:
    """Never in exponent form, however small or large; `--csv` has the same in one line each."""
    out = small(tmp_path / "out")
    told = json.loads(cli("cost", out, "--by", "model", "--json").out)
    assert [(group["model"], group["cost"], group["currency"]) for group in told["groups"]] == [
        ("air", "1000000.000000000000", "CNY"),
        ("plus", "0.000001000000", "CNY"),
    ]
    (total,) = told["totals"]
    assert (total["cost"], total["calls"], total["unknown_calls"]) == ("1000000.000001000000", 3, 1)
    assert list(total) == [key for key in COST_KEYS if not key.startswith("new_")]
    assert told["zones"] == {"Asia/Shanghai": ["glm"]}
    lines = list(csv.DictReader(io.StringIO(cli("cost", out, "--by", "model", "--csv").out)))
    assert [(line["model"], line["cost"]) for line in lines] == [
        (group["model"], group["cost"]) for group in told["groups"]
    ]
    assert list(lines[0]) == ["model", *list(total)]


def test_calls_in_no_currency_stand_with_the_only_one_of_their_group(tmp_path: Path, cli: Cli) -> None:
    """Currencies are never mixed; what is refused, unknown or without a price has none of its own."""
    at = {"sent_at_us": OCTOBER_US}
    calls = [
        BookCall(call(0, model_asked="one", **at), 0),
        BookCall(refused(1, model_asked="one", **at), 1),
        BookCall(call(2, model_asked="two", **at), 2),
        BookCall(call(3, model_asked="two", currency="USD", **at), 3),
        BookCall(unknown(4, model_asked="two", **at), 4),
        BookCall(call(5, model_asked="three", cost=None, currency=None, **at), 5),
        BookCall(refused(6, model_asked="three", **at), 5),  # which makes no zero of what is not known
        BookCall(refused(7, model_asked="four", **at), 6),
    ]
    out = book(tmp_path / "out", calls).root
    told = json.loads(cli("cost", out, "--by", "model", "--json").out)
    assert [(g["model"], g["currency"], g["cost"], g["calls"]) for g in told["groups"]] == [
        ("four", None, "0.000000000000", 1),
        ("one", "CNY", "0.000001000000", 2),
        ("three", None, None, 2),
        ("two", "CNY", "0.000001000000", 1),
        ("two", "USD", "0.000001000000", 1),
        ("two", None, None, 1),
    ]
    assert told["unpriced"] == [{"provider": "glm", "model": "three", "batch": False, "calls": 1}]
    said = cli("cost", out).out
    assert "Without a price, so in no sum: 1 call.\n  1 of three (glm)\n" in said
    assert 'models = ["three"]' in said
    prices = tmp_path / "prices.toml"
    prices.write_text(
        said[said.index("  [[price]]") :].replace('"…"', '"1"').replace('currency = "1"', 'currency = "CNY"')
    )
    told = json.loads(cli("cost", out, "--by", "model", "--prices", prices, "--json").out)
    assert next(g for g in told["groups"] if g["model"] == "three")["new_cost"] == "0.000015000000"
    rates = tmp_path / "rates.toml"
    rates.write_text('[[rate]]\nfrom = "USD"\nto = "CNY"\nrate = "7"\ndate = 2026-10-31\nsource = "a bank"\n')
    assert "converted" not in said
    said = cli("cost", out, "--rates", rates).out
    assert "converted         0.000009 CNY\n                    1 USD = 7 CNY on 2026-10-31 (a bank)" in said


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Month]:
    """A month of nights, and what was written."""
    root = tmp_path_factory.mktemp("nights")
    return root, month(root)


def test_what_a_team_spent_in_a_month_by_day_is_one_command(nights: tuple[Path, Month], cli: Cli) -> None:
    """The sum of each day is that of the calls that were written, by the days of Shanghai."""
    root, made = nights
    words = ("--by", "day", "--where", "team=support", "--since", "2026-10", "--until", "2026-10")
    told = json.loads(cli("cost", root / "tickets", *words, "--json").out)
    expected: Counter[str] = Counter()
    for one in made.calls:
        if made.rows[one.row_number, one.variant].inputs["team"] == "support":
            expected[f"2026-10-{(one.call.sent_at_us - OCTOBER_US) // 86_400_000_000 + 1:02d}"] += one.call.cost or 0
    assert {group["day"]: Decimal(group["cost"]) for group in told["groups"]} == {
        day: cost_decimal(cost) for day, cost in expected.items()
    }
    assert len(expected) == 30


def test_what_failed_rows_cost_is_one_command(nights: tuple[Path, Month], cli: Cli) -> None:
    """What stands in the table as failed, and what was paid for nothing beside it."""
    root, made = nights
    told = json.loads(cli("cost", root / "tickets", "--by", "status", "--json").out)
    expected: Counter[str] = Counter()
    standing = 0
    for one in made.calls:
        row = made.rows[one.row_number, one.variant]
        expected[row.status] += one.call.cost or 0
        standing += (one.call.cost or 0) * (row.status == "failed" and one.run == row.run)
    assert {group["status"]: Decimal(group["cost"]) for group in told["groups"]} == {
        status: cost_decimal(cost) for status, cost in expected.items()
    }
    (total,) = told["totals"]
    assert Decimal(total["failed_cost"]) == cost_decimal(standing) > 0
    parts = ("failed_cost", "retried_cost", "reasked_cost", "duplicate_cost")
    assert Decimal(total["wasted_cost"]) == sum(Decimal(total[part]) for part in parts)


def test_what_another_model_had_cost_is_one_command(nights: tuple[Path, Month], cli: Cli) -> None:
    """At the prices of each day, beside what was booked; a price that changed counts from its day on."""
    root, made = nights
    words = ("--by", "model", "--as-model", "glm-4-plus", "--prices", root / "prices.toml", "--json")
    told = json.loads(cli("cost", root / "tickets", *words).out)
    expected: Counter[str] = Counter()
    for one in made.calls:
        if one.call.usage is not None and one.call.state == "answered":
            charge = made.prices.charge("glm", "glm-4-plus", one.call.sent_at_us, one.call.usage)
            assert charge is not None
            expected[one.call.model_asked] += charge.cost
    assert {group["model"]: Decimal(group["new_cost"]) for group in told["groups"]} == {
        model: cost_decimal(cost) for model, cost in expected.items()
    }
    plus = next(group for group in told["groups"] if group["model"] == "glm-4-plus")
    assert plus["new_cost"] == plus["cost"]


def test_the_readme_shows_what_the_command_prints(
    nights: tuple[Path, Month], cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its three questions over the same month, line by line; an ellipsis stands for lines that are left out."""
    root, _ = nights
    monkeypatch.chdir(root)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```console\n\$ promptmill (cost tickets.*?)\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 3
    for command, shown in blocks:
        said = cli(*shlex.split(command)).out.replace(str(root), "/srv").splitlines()
        at = 0
        for line in shown.splitlines():
            if line.strip() != "…":
                assert line in said[at:], line
                at = said.index(line, at) + 1


def test_every_line_fits_into_80_cells(tmp_path: Path, nights: tuple[Path, Month], cli: Cli) -> None:
    """Long names are cut, days are not; with other prices beside as well."""
    rows = [BookRow(0, first_us=OCTOBER_US, inputs={"名": "信用卡付款没有到账并且客户要求退款的所有情况" * 3})]
    big = {"cost": 123_456_789_012_345_678, "sent_at_us": OCTOBER_US, "model_asked": "a-model-of-a-very-long-name"}
    out = book(tmp_path / "out", [BookCall(call(0, **big), 0)], rows).root
    for words in (
        (out, "--by", "day,名,model,run"),
        (nights[0] / "tickets", "--by", "hour,model", "--as-model", "glm-4-plus"),
    ):
        said = cli("cost", *words).out.splitlines()[1:]
        assert max(map(cell_len, said)) <= 80
        assert any(line.startswith(("  2026-10-01 ", "  2026-10-01T02:00+08:00 ")) for line in said)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "no output folder is named"),
        (("OUT", "--by", "modl"), "Did you mean model"),
        (("OUT", "--since", "soon"), "--since soon: is no day"),
        (("OUT", "--tz", "Mars"), "there is no such time zone"),
        (("OUT", "--json", "--csv"), "Give one of them"),
        (("OUT", "--prices", "nowhere.toml"), "cannot be read"),
        (("OUT", "--as-model", "glm-4-pluss"), "Did you mean glm-4-plus"),
        (("OUT", "--rates", "nowhere.toml"), "cannot be read"),
        (("OUT", "--reconcile", "nowhere.csv"), "cannot be read"),
        (("OUT", "--reconcile", "nowhere.csv", "--by", "day"), "leave out --by"),
        (("nowhere",), "there is no such folder"),
    ],
)
def test_wrong_input_is_refused_with_the_way_out(
    tmp_path: Path, cli: Cli, words: tuple[str, ...], message: str
) -> None:
    """With exit code 2, before anything is shown."""
    out = small(tmp_path / "out")
    said = cli("cost", *(str(out) if word == "OUT" else word for word in words))
    assert (said.code, said.out) == (2, "")
    assert message in said.err


def test_a_time_without_calls_cost_nothing(tmp_path: Path, cli: Cli) -> None:
    """It says so, in each form."""
    out = small(tmp_path / "out")
    said = cli("cost", out, "--since", "2030")
    assert (said.code, said.out) == (0, f"{out}: 0 calls\nNo call of these was found, so nothing was spent.\n")
    assert json.loads(cli("cost", out, "--since", "2030", "--json").out)["groups"] == []
    assert len(cli("cost", out, "--since", "2030", "--csv").out.splitlines()) == 1


def test_calls_that_cannot_be_read_are_not_said_to_have_cost_nothing(tmp_path: Path, cli: Cli) -> None:
    out = small(tmp_path / "out")
    for lost in (out / "calls").rglob("part-*.parquet"):
        lost.unlink()
    said = cli("cost", out)
    assert (said.code, said.out) == (5, f"{out}: 0 calls\nNo call of these was found in what can be read.\n")
    assert "incomplete: the figures are of what can be read" in said.err


def test_an_answer_whose_row_cannot_be_read_is_not_said_to_be_pruned(tmp_path: Path, cli: Cli) -> None:
    out = small(tmp_path / "out")
    for lost in (out / "results").glob("part-*.parquet"):
        lost.unlink()
    said = cli("cost", out)
    assert said.code == 5
    assert "under way, or pruned, or in a file that cannot be read" in " ".join(said.out.split())


# -- real runs --------------------------------------------------------------------------------------------------------


def books_of(shell: Shell, path: Path, but: Collection[str] = (), **changes: Any) -> Path:
    """The books of the simulator as a bill, with a change to the first call that was billed and is none of these."""
    with urllib.request.urlopen(f"{shell.base.removesuffix('/api/paas/v4')}/_sim/books") as answer:
        records = [record for record in json.load(answer) if record["route"] in ("chat", "submit")]
    next(record for record in records if record["billed"] and record["client_call_id"] not in but).update(changes)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(records[0]))
        writer.writeheader()
        writer.writerows(records)
    return path


def test_the_books_of_the_provider_are_a_bill_that_agrees(shell: Shell, cli: Cli, tmp_path: Path) -> None:
    """Equal by call, by day and by model, with failed rows and answers without usage; one that was changed is found."""
    texts = ["Tell me.", "This is struck.", "Tell me more.", "This is silent."]
    folder = shell.write([{"id": f"r{n}", "text": texts[n % 4]} for n in range(12)])
    shell.sections["limits"] = ["max_attempts = 2"]
    folder = shell.write([{"id": f"r{n}", "text": texts[n % 4]} for n in range(12)])
    assert shell("run", folder).code == 1
    said = cli("cost", shell.out, "--reconcile", books_of(shell, tmp_path / "bill.csv"))
    assert said.code == 0, said.out
    assert "The book and the bill agree" in said.out
    told = json.loads(cli("cost", shell.out, "--reconcile", tmp_path / "bill.csv", "--json").out)
    assert told["agrees"]
    assert {Decimal(one["left"]) for one in told["compared"]} == {Decimal(0)}
    plain = json.loads(cli("cost", shell.out, "--json").out)["totals"][0]
    assert Decimal(plain["cost"]) == sum(Decimal(one["booked"]) for one in told["compared"]) > 0
    unknown_here = {one["id"] for one in told["differences"]}
    changes = {"completion_tokens": 999_999, "total_tokens": 999_999, "cost": "77"}
    changed = books_of(shell, tmp_path / "changed.csv", unknown_here, **changes)
    said = cli("cost", shell.out, "--reconcile", changed, "--csv")
    assert said.code == 1
    kinds = [line["kind"] for line in csv.DictReader(io.StringIO(said.out))]
    assert {"tokens", "cost"} < set(kinds)
    assert next(csv.reader(io.StringIO(said.out))) == list(DIFFERENCE_KEYS)
    assert "The book and the bill differ in" in cli("cost", shell.out, "--reconcile", changed).out


def test_calls_that_are_not_published_count_and_a_renamed_job_keeps_its_older_name(shell: Shell, cli: Cli) -> None:
    """A run that is killed before it publishes has its calls in the ledger alone."""
    shell.more["PROMPTMILL_FAILPOINT"] = "publish.calls_written"
    folder = shell.write(shell.rows(3))
    assert shell("run", folder).code == -9
    said = cli("cost", shell.out, "--by", "job")
    assert "unpublished       3 calls in a ledger alone so far, counted too" in said.out
    assert "without a row     3 answered calls" in said.out
    before = json.loads(cli("cost", shell.out, "--by", "job", "--json").out)
    assert (before["unpublished_calls"], before["groups"][0]["calls"]) == (3, 3)
    del shell.more["PROMPTMILL_FAILPOINT"]
    assert shell("run", folder).code == 0
    after = json.loads(cli("cost", shell.out, "--by", "job", "--json").out)
    assert (after["unpublished_calls"], after["calls_without_row"]) == (0, 0)
    assert after["totals"][0]["cost"] == before["totals"][0]["cost"]
    shell.write(shell.rows(5))
    job = folder / "job.toml"
    job.write_text(job.read_text().replace('name = "shell"', 'name = "renamed"'))
    assert shell("run", folder).code == 0
    found = json.loads(cli("cost", shell.out, "--by", "job", "--json").out)
    assert {group["job"]: group["calls"] for group in found["groups"]} == {"shell": 3, "renamed": 2}
