"""`promptmill check`: how many tokens a prompt is, before anything is sent."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from batch.limits.tokens import about
from batch.simulator.books.tokens import of_messages
from tests.cli.conftest import ROOT, Cli

SIZE = re.compile(r"size +about ([\d,]+) prompt tokens \(([\d,]+) to ([\d,]+), by the model's tokenizer\)")


def test_the_tokens_of_a_local_text_are_told_before_the_run_with_their_error(
    tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Markdown file in the system message: the number another tokenizer counts lies between the ends that are named."""
    job = tmp_path / "job"
    shutil.copytree(ROOT / "jobs" / "long_document", job)
    handbook = (job / "handbook.md").read_text("utf-8")
    (job / "handbook.md").write_text(handbook * 20, encoding="utf-8")
    monkeypatch.setenv("ZAI_API_KEY", "0123456789abcdef.0123456789abcdef")
    said = cli("check", job)
    assert said.code == 0, said.err
    likely, least, most = (int(number.replace(",", "")) for number in SIZE.findall(said.out)[0])
    counted = of_messages([{"role": "system", "content": handbook * 20}])
    assert least < likely < most
    assert least <= counted <= most
    assert most <= 4 * least


@pytest.mark.parametrize("text", ["plain English words, many of them. " * 50, "这是一个关于标注工单的提示。" * 50])
def test_prose_lies_within_the_error(text: str) -> None:
    """English and Chinese, by the simulator's tokenizer."""
    messages = [{"role": "user", "content": text}]
    _, least, most = about(messages)
    assert least <= of_messages(messages) <= most
