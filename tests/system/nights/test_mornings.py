"""What a team finds in the morning: five nights over one table of tickets, told so that a person can read them.

Each night somebody changes the file of tickets, cron runs the job, and in the morning the table is looked at: whose
tickets they are, what stands beside them, and in which night each was answered. Only the subject is asked about; the
owner is there to know whom to call.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

import duckdb
import pytest

from batch.cli import main
from tests.simulator.conftest import Gate, Start, start
from tests.support import processes
from tests.system.runs.conftest import KEY, Mill

__all__ = ["start"]


class Team:
    """One job over `tickets.jsonl`, whose lines are written as people write them: `T1 ann Where is my parcel?`."""

    def __init__(self, mill: Mill, gate: Gate, capsys: pytest.CaptureFixture[str]) -> None:
        self.mill = mill
        self.gate = gate
        self._capsys = capsys
        self._nights: dict[str, int] = {}
        mill.input, mill.key, mill.user = "tickets.jsonl", "id", "{{ subject }}"
        mill.output = {"rows_per_part": 3}

    def tickets(self, text: str) -> None:
        """The file of tickets; a line that ends in `…` was not copied to its end."""
        lines = []
        for line in text.strip().splitlines():
            ticket, owner, subject = line.split(None, 2)
            written = f'{{"id": "{ticket}", "owner": "{owner}", "subject": "{subject}"}}'
            lines.append(written[:-12] if subject.endswith("…") else written)
        (self.mill.folder / self.mill.input).write_text("\n".join(lines) + "\n", encoding="utf-8")

    def night(self) -> tuple[int, int]:
        """Cron runs the job: its exit code, and how many questions were paid for."""
        assert self.mill.sim is not None
        before = len(self.mill.books())
        report = self.mill.run()
        if report.run is not None:
            self._nights.setdefault(report.run, len(self._nights) + 1)
        return report.exit_code, len(self.mill.books()) - before

    def cron(self, *options: str) -> str:
        """The same, as cron gives the command: what it prints."""
        main(["run", str(self.mill.save()), "--progress", "none", *options])
        told = self._capsys.readouterr()
        return told.out + told.err

    def morning(self) -> str:
        """The table: ticket, owner, whether there is an answer, and the night that gave it."""
        rows = self.mill.results("row_id, owner, status, run, error_code")
        lines = []
        for ticket, owner, status, run, code in rows:
            name = ticket if not ticket.startswith("bad-") else "a line"
            lines.append(f"{name} {owner or '-'} {status if status == 'ok' else code} in night {self._nights[run]}")
        return "\n".join(lines)

    def say(self, command: str, *words: str) -> str:
        """What a command over the output folder tells."""
        main([command, str(self.mill.out), *words])
        told = self._capsys.readouterr()
        return told.out + told.err

    def killed(self, command: str, *words: str, failpoint: str) -> None:
        """A command whose process is killed at a place."""
        line = [sys.executable, "-m", "batch", command, str(self.mill.out), *words]
        process = processes.start(line, env={**os.environ, **self.mill.environ, "PROMPTMILL_FAILPOINT": failpoint})
        process.communicate(timeout=60)
        assert process.returncode == -9


def table(text: str) -> str:
    """Lines as they stand in a test, without what indents them."""
    return "\n".join(line.strip() for line in text.strip().splitlines())


@pytest.fixture
def team(tmp_path: Path, start: Start, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Team:
    """A team with a provider in good health, whose gate is open."""
    monkeypatch.setenv("ZHIPUAI_API_KEY", KEY)
    gate = Gate()
    gate.open()
    return Team(Mill(tmp_path / "job", start("[latency]\nchat_ms = [1, 1]\n", gate)), gate, capsys)


def test_five_nights_of_a_team_and_what_it_finds_in_the_morning(team: Team) -> None:
    """FIELD 28, FIELD 29, FIELD 30: the table follows its input, and never loses what was paid for."""
    job = str(team.mill.folder)

    # Night 1: the file is still being copied when cron starts.
    team.tickets("""
        T1 ann Where is my parcel?
        T2 ann The invoice is wrong
        T3 bob I cannot log in
        T4 bob Please send it back to…
    """)
    assert team.night() == (1, 3)
    assert team.morning() == table("""
        T1 ann ok in night 1
        T2 ann ok in night 1
        T3 bob ok in night 1
        a line - unreadable in night 1
    """)
    assert "1 for good" in team.say("status")

    # Night 2: the copy is whole, and bob's tickets are cid's now. One question is new; the half line is forgotten.
    team.tickets("""
        T1 ann Where is my parcel?
        T2 ann The invoice is wrong
        T3 cid I cannot log in
        T4 cid Please send it back to me
    """)
    assert team.night() == (0, 1)
    assert team.morning() == table("""
        T1 ann ok in night 1
        T2 ann ok in night 1
        T3 cid ok in night 1
        T4 cid ok in night 2
    """)
    assert "for good" not in team.say("status")

    # Night 3: the file is a window of the last days. What left it stays in the table, and everybody says so.
    team.tickets("""
        T3 cid I cannot log in
        T4 cid Please send it back to me
        T5 eve Do you ship to Norway?
    """)
    assert team.night() == (0, 1)
    assert team.morning() == table("""
        T1 ann ok in night 1
        T2 ann ok in night 1
        T3 cid ok in night 1
        T4 cid ok in night 2
        T5 eve ok in night 3
    """)
    assert "2 rows of the table not in the input any more: they stay" in team.say("status")
    assert team.night() == (0, 0)

    # Before night 4 somebody prunes. The machine goes down in the middle; the same command goes on.
    assert "give --yes to remove them" in team.say("prune", job)
    team.killed("prune", job, "--yes", failpoint="prune.part_written")
    assert "2 rows removed from the table" in team.say("prune", job, "--yes")
    assert team.morning() == table("""
        T3 cid ok in night 1
        T4 cid ok in night 2
        T5 eve ok in night 3
    """)
    assert "gone" not in team.say("status")

    # Night 4: all of them go to dan, and the disk is slow: cron's run is killed while the table is written.
    team.tickets("""
        T3 dan I cannot log in
        T4 dan Please send it back to me
        T5 dan Do you ship to Norway?
    """)
    code, said = team.mill.command(failpoint="publish.rewrite_named")
    assert code == -9, said
    assert team.night() == (0, 0)
    assert team.morning() == table("""
        T3 dan ok in night 1
        T4 dan ok in night 2
        T5 dan ok in night 3
    """)

    # Night 5: a ticket comes back from last week. It is new, and paid for once more; the others cost nothing.
    team.tickets("""
        T1 ann Where is my parcel?
        T3 dan I cannot log in
        T4 dan Please send it back to me
        T5 dan Do you ship to Norway?
    """)
    assert team.night() == (0, 1)
    assert team.morning() == table("""
        T3 dan ok in night 1
        T4 dan ok in night 2
        T5 dan ok in night 3
        T1 ann ok in night 5
    """)
    assert team.night() == (0, 0)
    team.mill.check_books()


def test_what_a_team_sees_before_the_morning_and_of_answers_that_are_not_whole(team: Team) -> None:
    """FIELD 31, FIELD 32, FIELD 33, FIELD 34: a key that comes later, a table that grows, cut answers, what is left."""
    mill, gate = team.mill, team.gate
    mill.output = {"rows_per_part": 1_000, "publish_every_s": 0.05}

    # Somebody tries the job on one ticket first, and is told that this was not all.
    team.tickets("""
        T1 ann Where is my parcel?
        T2 bob I cannot log in
        T3 eve Do you ship to Norway?
    """)
    assert "stopped at --limit 1: the rest was not looked at" in team.cron("--limit", "1")
    assert "the rest was not looked at" in team.say("status")
    assert "3 rows in" in team.cron()

    # From now on tickets have a language. The prompt names it, although no ticket had one when the table was begun.
    tickets = [{"id": f"T{n}", "owner": "ann", "subject": f"Ticket {n}", "language": "nb"} for n in range(1, 31)]
    mill.write(tickets)
    mill.user = "{{ subject }} ({{ language or 'en' }})"
    mill.limits = {"concurrency": 1}
    gate.shut()
    gate.let_pass(12)
    process = mill.start()
    seen = 3
    while seen == 3:
        assert process.poll() is None, process.communicate()
        with contextlib.suppress(duckdb.Error):  # a part may be replaced in the moment between two looks
            seen = mill.results("count(*)")[0][0]
    assert 3 < seen <= 12, "the table grows while the run is at work"
    gate.open()
    said = process.communicate()
    assert process.returncode == 0, said
    assert mill.results("count(DISTINCT row_id), count(*)") == [(30, 30)]
    assert "nb" in mill.one("input_rest")[-1]

    # Then somebody sets max_tokens far too low. Every answer is there, and none is whole: it is said, with the way out.
    mill.limits = {"concurrency": 16}
    mill.more = "[model.parameters]\nmax_tokens = 1"
    assert "30 truncated: raise max_tokens" in team.cron()
    assert "30 truncated (such as T" in team.say("status")
