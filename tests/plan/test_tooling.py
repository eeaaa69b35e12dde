"""The tools of a job before it starts: what no tool gets is refused, and what fails in a worker is found at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from batch.core import redaction
from batch.core.errors import JobError
from batch.job.job import Job
from batch.plan import tooling
from tests.support.jobtext import SOUND, faults, load

TOOLS = 'import os\nfrom batch import tool\n@tool\ndef add(a: int) -> int:\n    """Add."""\n    return a\n'
SECRET = "Zq7kPw3mVx9tRb2c"


def job_of(folder: Path, *lines: str, tools: str = TOOLS) -> Job:
    """A job with these lines in `[tools]`."""
    (folder / "tools.py").write_text(tools, encoding="utf-8")
    return load(folder, "\n".join([SOUND, "[tools]", *lines]))


def refused(job: Job, environ: dict[str, str]) -> list[str]:
    with pytest.raises(JobError) as caught:
        tooling.confine(job, environ)
    return caught.value.faults


@pytest.mark.parametrize("name", ["ZAI_API_KEY", "OPENAI_API_KEY", "DASHSCOPE_API_KEY", "OURS", "THEIRS", "COPY"])
def test_a_key_is_never_in_the_environment_of_a_tool(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of any provider, of the job's own, named by `api_key_env`, or a copy of one; asked for, it is refused."""
    monkeypatch.setattr(redaction, "process", redaction.Masker())
    redaction.hide(SECRET)
    text = SOUND.replace('name = "glm-4"', 'name = "glm-4"\napi_key_env = "OURS"')
    text += '\n[provider.mycorp]\nbase_url = "http://h/v1"\napi_key_env = "THEIRS"\n[tools]\nmodule = "tools.py"\n'
    environ = {"ZAI_API_KEY": "a" * 20, "OURS": "b" * 20, "THEIRS": "c" * 20, "COPY": SECRET, "HOME": "/h", "FINE": "f"}
    job = load(tmp_path, f'{text}environment = ["FINE", "{name}"]')
    assert refused(job, environ) == [
        f"tools.environment: {name} holds a key of a provider, which no tool gets: take it out"
    ]
    job = load(tmp_path, f'{text}environment = ["FINE"]')
    assert dict(tooling.confine(job, environ).environment) == {"HOME": "/h", "FINE": "f"}


def test_its_limits_are_those_of_the_job(tmp_path: Path) -> None:
    """And its working folder is the job's."""
    job = job_of(tmp_path, 'module = "tools.py"', "timeout_s = 2.5", 'memory = "100MB"')
    found = tooling.confine(job, {})
    assert (found.folder, found.timeout_s, found.memory) == (tmp_path, 2.5, 100_000_000)
    assert found.workers >= 2


@pytest.mark.parametrize(
    ("folder", "says"),
    [
        (".", "the job itself is in it"),
        ("..", "the job itself is in it"),
        ("/", "the job itself is in it"),
        ("out", "overlap"),
        ("out/label-tickets/results", "overlap"),
        ("link", "the job itself is in it"),
        ("code", "the tools file is in it"),
    ],
)
def test_the_model_may_not_write_where_the_job_or_its_output_is(folder: str, says: str, tmp_path: Path) -> None:
    """It would change what the job does, or the table, with the text of a row."""
    (tmp_path / "link").symlink_to(".")
    (tmp_path / "code").mkdir()
    module = "code/tools.py" if folder == "code" else "tools.py"
    job = job_of(tmp_path, f'module = "{module}"', 'shipped = ["write_file"]', f'folder = "{folder}"')
    (fault,) = refused(job, {})
    assert fault.startswith("tools.folder: ")
    assert says in fault
    tooling.confine(job_of(tmp_path, 'module = "tools.py"', f'folder = "{folder}"'), {})  # nobody writes there


def test_shipped_tools_need_no_file(tmp_path: Path) -> None:
    """Nor do they hide those of one."""
    alone = job_of(tmp_path, 'shipped = ["memory_info", "read_file"]')
    assert tooling.load(alone).names == ("memory_info", "read_file")
    both = job_of(tmp_path, 'module = "tools.py"', 'shipped = ["memory_info"]')
    assert tooling.load(both).names == ("add", "memory_info")
    twice = job_of(tmp_path, 'module = "tools.py"', 'shipped = ["read_file"]', tools=TOOLS.replace("add", "read_file"))
    with pytest.raises(JobError, match="a second tool is called 'read_file'"):
        tooling.load(twice)


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        (
            "max_turns = 2",
            "tools.module (line 13): is missing: add module to [tools], a Python file with @tool functions",
        ),
        ("shipped = []", "tools.shipped = [] (line 14): names no tool, and there is no module: name one"),
        ('shipped = ["memory_info", "memory_info"]', "tools.shipped"),
        ('shipped = ["shell"]', 'tools.shipped = ["shell"] (line 14): expected a list of "read_file"'),
        ('module = "t.py"\nmemory = "1MB"', "tools.memory = 1000000 (line 15): expected bytes, or a size"),
        ('module = "t.py"\nenvironment = ["A=1"]', 'tools.environment = ["A=1"] (line 15): expected a list of NAMES'),
        ('module = "t.py"\ntimeout_s = 0', "tools.timeout_s = 0 (line 15): expected seconds"),
    ],
)
def test_what_is_wrong_in_the_section_is_told(lines: str, fault: str, tmp_path: Path) -> None:
    """With its key, line and way out."""
    (told,) = faults(tmp_path, f"{SOUND}\n[tools]\n{lines}\n")
    assert told.startswith(fault)


def test_what_is_usual_changes_no_digest(tmp_path: Path) -> None:
    """A job from before there were these keys is the same job; another limit is another."""
    plain = job_of(tmp_path, 'module = "tools.py"')
    usual = job_of(
        *(tmp_path, 'module = "tools.py"', 'folder = "files"', "timeout_s = 60", 'memory = "2GB"'),
        *("environment = []", "shipped = []"),
    )
    assert usual.digest() == plain.digest()
    for line in ("timeout_s = 61", 'memory = "1GB"', 'environment = ["X"]', 'shipped = ["read_file"]'):
        assert job_of(tmp_path, 'module = "tools.py"', line).digest() != plain.digest()
    read = ('module = "tools.py"', 'shipped = ["read_file"]')
    assert job_of(tmp_path, *read, 'folder = "x"').digest() != job_of(tmp_path, *read).digest()
    assert job_of(tmp_path, 'module = "tools.py"', 'folder = "x"').digest() == plain.digest()


def test_a_variable_that_is_named_and_not_set_is_told(tmp_path: Path) -> None:
    """It may be left out on purpose, so the job starts."""
    job = job_of(tmp_path, 'module = "tools.py"', 'environment = ["THERE", "GONE"]')
    assert tooling.unset(job, {"THERE": ""}) == ("tools.environment: GONE is not set, so no tool sees it",)
    assert tooling.unset(load(tmp_path, SOUND), {}) == ()


@pytest.mark.slow
def test_tools_that_load_here_and_not_in_a_worker_are_found_before_the_first_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else every row would be told of it, one by one, and paid for."""
    monkeypatch.setenv("DATABASE_URL", "db")
    source = f'{TOOLS}url = os.environ["DATABASE_URL"]\n'
    job = job_of(tmp_path, 'module = "tools.py"', tools=source)
    told: list[str] = []
    tooling.prepare(job, os.environ, told)
    (fault,) = told
    assert fault == (
        "tools.module: a worker process cannot load the tools: tools.py:7: KeyError: 'DATABASE_URL'; a tool sees only "
        "the variables that tools.environment names, and has tools.memory bytes"
    )
    named = job_of(tmp_path, 'module = "tools.py"', 'environment = ["DATABASE_URL"]', tools=source)
    told.clear()
    tools, confinement = tooling.prepare(named, os.environ, told)
    assert (told, tools.names) == ([], ("add",))
    assert confinement is not None
    assert confinement.environment["DATABASE_URL"] == "db"


def test_quick_tools_and_no_tools_start_no_process(tmp_path: Path) -> None:
    """This test is one of the fast ones, which must not start any."""
    job = job_of(tmp_path, 'module = "tools.py"', tools=TOOLS.replace("@tool", "@tool(quick=True)"))
    told: list[str] = []
    tools, confinement = tooling.prepare(job, {}, told)
    assert (tools.names, confinement is None) == (("add",), False)
    bare = load(tmp_path, SOUND)
    tools, confinement = tooling.prepare(bare, {}, told)
    assert (tools.names, confinement) == ((), None)
    assert told == []
