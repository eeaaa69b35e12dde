"""Flags in the summary of a run and in `status`: how many rows have each, and what to do about it."""

from __future__ import annotations

import json
import re

import pytest

from batch.cli.sums import flags_text
from batch.core.flags import FLAGS, Flag
from batch.output.columns import RESULTS
from tests.cli.conftest import Cli, Shell

TOOLS = '''
from batch import tool


@tool
def divide(a: float, b: float) -> float:
    """Divide two numbers."""
    return a / b
'''


def test_truncated_answers_and_failed_tools_are_counted_with_the_way_out(shell: Shell, cli: Cli) -> None:
    """FIELD 33. In the summary those of the run; in `status` those of the table, whatever the last run did."""
    (shell.folder / "tools.py").write_text(TOOLS, encoding="utf-8")
    shell.sections["tools"] = ['module = "tools.py"']
    folder = shell.write(
        [{"id": "by-0", "text": "What is 6 divided by 0?"}, {"id": "by-3", "text": "What is 6 divided by 3?"}]
    )
    done = shell("run", folder)
    assert done.code == 0, done
    assert "  flags    1 tool_failed: look at one; promptmill tools JOB NAME JSON runs a tool by hand\n" in done.out
    del shell.sections["tools"]
    shell.sections["model.parameters"] = ["max_tokens = 2"]
    folder = shell.write(shell.rows(4))
    done = shell("run", folder)
    assert "  flags    4 truncated: raise max_tokens, which asks the rows anew\n" in done.out
    shell.write(shell.rows(4))
    assert "raise max_tokens" not in shell("run", folder).out
    said = cli("status", shell.out).out
    assert "4 truncated (such as r-000): raise max_tokens, which asks the rows anew\n" in said
    assert "1 tool_failed (such as by-0): look at one; promptmill tools JOB NAME JSON runs a tool by hand\n" in said
    assert "tool_failed" in cli("show", shell.out, "by-0").out
    found = json.loads(cli("status", shell.out, "--json").out)
    flagged = {entry["flag"]: entry["rows"] for entry in found["flagged"]}
    assert flagged == {"truncated": 4, "tool_failed": 1}
    assert found["totals"]["flags"] == {}


def test_every_flag_has_a_line_of_its_own_in_a_fixed_order() -> None:
    """FIELD 33. Those that ask for something to be done come first; none is told when no row has it."""
    assert flags_text({}) == ""
    lines = flags_text(dict.fromkeys(reversed(FLAGS), 1_234)).split("\n")
    assert [re.findall(r"^1,234 (\w+): ", line) for line in lines] == [[flag] for flag in FLAGS]
    assert next(iter(FLAGS)) == "truncated"
    assert "flags" in [column.name for column in RESULTS]


@pytest.mark.parametrize("flag", FLAGS)
def test_the_advice_of_a_flag_is_one_line(flag: Flag) -> None:
    """FIELD 33. It stands behind the number."""
    assert "\n" not in FLAGS[flag].advice
    assert FLAGS[flag].meaning
