"""A real browser, and `promptmill view` over folders to look at. Without a browser the tests are skipped, in CI they fail."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support import browser as chromium
from tests.support import processes
from tests.support.browser import Browser
from tests.support.labelled import EARLIER, labelled
from tests.support.outfolders import RUN
from tests.support.shown import shown
from tests.system.kills.stage import simulator

KEY = "0123456789abcdef0123456789abcdef.PagesPagesPages1"
HUGE = 10 << 20
"""Characters of the longest answer."""


@pytest.fixture(scope="session")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for all tests of a process."""
    if chromium.found() is None:
        reason = "Chromium is not here: scripts/setup --real installs it"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    with chromium.started(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture
def browser(started: Browser) -> Iterator[Browser]:
    """The browser, as a person has it at a desk in daylight; left on an empty page."""
    started.look()
    yield started
    started.leave()


@contextmanager
def view(*outs: Path) -> Iterator[str]:
    """`promptmill view` over some folders; gives its address."""
    words = [sys.executable, "-m", "batch", "view", *map(str, outs)]
    with processes.start(words) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()
            _, said = process.communicate(timeout=120)
            assert said == ""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Tickets with nasty texts; two variants that differ; one answer of 10 MB; two nights with two columns of labels."""
    home = tmp_path_factory.mktemp("folders")
    texts = [
        {"text": f"question {n}", "row_id": f"q{n}", "variant": variant, "label": label}
        for n in range(12)
        for variant, label in (("long", "a"), ("short", "b" if n % 3 == 0 else "a"))
    ]
    nights = [
        {
            "text": f"t{n}",
            "row_id": f"n{n}",
            "run": RUN if n < 60 else EARLIER,
            "label": "new" if n < 30 else "old",
            "label_urgent": n % 2 == 0,
        }
        for n in range(120)
    ]
    return [
        shown(home / "tickets").root,
        labelled(home / "variants", texts).root,
        labelled(home / "huge", [{"text": "x", "answer": "long " * (HUGE // 5), "label": "a"}]).root,
        labelled(home / "nights", nights).root,
    ]


@pytest.fixture(scope="module")
def address(folders: list[Path]) -> Iterator[str]:
    """A view over all of them."""
    with view(*folders) as found:
        yield found


class Working(NamedTuple):
    """A run at work and a view over its folder."""

    address: str
    out: Path
    interrupt: Callable[[], None]
    """End the run as Ctrl-C does, and wait until it has ended."""


@pytest.fixture
def working(tmp_path: Path) -> Iterator[Working]:
    """A run that goes on until it is interrupted."""
    rows = "".join(
        json.dumps({"id": f"r{n}", "text": f"ticket {n} 订单"}, ensure_ascii=False) + "\n" for n in range(20_000)
    )
    (tmp_path / "rows.jsonl").write_text(rows, encoding="utf-8")
    (tmp_path / "job.toml").write_text(
        'name = "at-work"\ntags = { team = "support" }\n'
        '[input]\npath = "rows.jsonl"\nkey = "id"\n'
        '[prompt]\nuser = "{{ text }}"\n'
        '[model]\nprovider = "glm"\nname = "glm-4"\nnames = ["glm-4", "glm-4-flash"]\n'.replace(
            'name = "glm-4"\n', "", 1
        )
        + "[limits]\nconcurrency = 8\n"
        '[labels]\nnames = ["billing", "shipping"]\n'
        '[output]\npath = "out"\nrows_per_part = 20\npublish_every_s = 1\n',
        encoding="utf-8",
    )
    with simulator(tmp_path, "[latency]\nchat_ms = [60, 120]\n") as url:
        environ = {**os.environ, "ZHIPUAI_API_KEY": KEY, "ZHIPUAI_BASE_URL": f"{url}/api/paas/v4"}
        run = [sys.executable, "-m", "batch", "run", str(tmp_path), "--progress", "none"]
        with processes.start(run, env=environ, stderr=subprocess.STDOUT) as process:

            def interrupt() -> None:
                if process.poll() is None:
                    process.send_signal(signal.SIGINT)
                    process.communicate(timeout=120)

            try:
                out = tmp_path / "out"
                _until_published(out, process)
                with view(out) as found:
                    yield Working(found, out, interrupt)
            finally:
                interrupt()


def _until_published(out: Path, process: subprocess.Popen[str]) -> None:
    """Wait for the first part."""
    import time

    end = time.monotonic() + 60
    while not list((out / "results").glob("part-*.parquet")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)
