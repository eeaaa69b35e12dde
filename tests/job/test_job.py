"""The job file: what it may hold, what stands when it does not, and what depends on it."""

import re
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec
import pytest

from batch.core.errors import JobError
from batch.job.job import InputSpec, Job, LimitSpec, ModelLimitSpec, ModelSpec, OutputSpec, PromptSpec
from batch.job.labelspec import LabelSpec
from batch.job.toolspec import ToolSpec
from tests.support.jobtext import SOUND, faults, load


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "label"
    folder.mkdir()
    return folder


def test_a_job_with_every_key_is_read_as_it_stands(folder: Path) -> None:
    """design.md 4: the keys of the first step, each with a value that is not its default."""
    job = load(
        folder,
        """
        name = "label-tickets"
        tags = { team = "support" }
        [input]
        path = "../in/tickets.jsonl"
        key = "ticket_id"
        format = "rows"
        max_row_bytes = "64KiB"
        types = { amount = "decimal(12,2)", at = "timestamp[us]", "odd name" = "list<string>" }
        [prompt]
        system = "Label."
        messages = "chat"
        [model]
        provider = "glm"
        name = "glm-4"
        lane = "task"
        served = "same"
        parameters = { temperature = 0.1, stop = ["x"], response_format = { type = "json_object" } }
        base_url = "http://127.0.0.1:8311/api/paas/v4"
        api_key_env = "ZAI_API_KEY"
        [limits]
        concurrency = 64
        requests_per_minute = 600
        call_timeout_s = 30
        task_timeout_s = 3600.5
        max_attempts = 3
        [tools]
        module = "tools.py"
        max_turns = 4
        [output]
        path = "/srv/{name}/out"
        rows_per_part = 500
        columns = ["ticket_id", "subject"]
        messages = "all"
        """,
    )
    assert job == Job(
        name="label-tickets",
        folder=folder,
        tags={"team": "support"},
        input=InputSpec(
            path=folder.parent / "in" / "tickets.jsonl",
            key="ticket_id",
            max_row_bytes=65_536,
            types={"amount": "decimal(12,2)", "at": "timestamp[us]", "odd name": "list<string>"},
        ),
        prompt=PromptSpec(system="Label.", messages="chat"),
        model=ModelSpec(
            provider="glm",
            name="glm-4",
            lane="task",
            served="same",
            parameters={"temperature": 0.1, "stop": ["x"], "response_format": {"type": "json_object"}},
            base_url="http://127.0.0.1:8311/api/paas/v4",
            api_key_env="ZAI_API_KEY",
        ),
        limits=LimitSpec(
            concurrency=64, requests_per_minute=600.0, call_timeout_s=30.0, task_timeout_s=3600.5, max_attempts=3
        ),
        tools=ToolSpec(module=folder / "tools.py", max_turns=4, folder=folder / "files"),
        output=OutputSpec(
            path=Path("/srv/label-tickets/out"), rows_per_part=500, columns=("ticket_id", "subject"), messages="all"
        ),
    )


def test_what_is_left_out_has_the_documented_default(folder: Path) -> None:
    """design.md 4 again, from the other side."""
    job = load(folder, SOUND)
    assert (job.input.key, job.input.format, job.input.max_row_bytes, job.input.types) == (None, "rows", 16_000_000, {})
    assert (job.model.lane, job.model.served, job.model.parameters) == ("sync", "any", {})
    assert job.limits == LimitSpec(
        concurrency=50, requests_per_minute=None, call_timeout_s=600.0, task_timeout_s=86_400.0, max_attempts=8
    )
    assert job.tools is None
    assert job.output == OutputSpec(path=folder / "out" / "label-tickets", rows_per_part=10_000)
    assert (job.output.columns, job.output.messages, job.tags) == (None, "turns", {})


def test_a_job_may_be_named_by_its_folder_or_its_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All paths are absolute, so that a later change of directory changes nothing."""
    job = load(folder, SOUND)
    assert Job.load(folder / "job.toml") == job
    monkeypatch.chdir(folder.parent)
    assert Job.load("label") == job
    monkeypatch.chdir(folder)
    assert Job.load(".") == job


def test_a_job_without_a_name_is_called_like_its_folder(folder: Path) -> None:
    """The name only labels the output folder."""
    job = load(folder, SOUND.replace('name = "label-tickets"\n', "", 1))
    assert (job.name, job.output.path) == ("label", folder / "out" / "label")


@pytest.mark.parametrize(
    ("size", "count"),
    [('"16MB"', 16_000_000), ('"1 MiB"', 1 << 20), ('"64k"', 64_000), ('"7"', 7), ("512", 512), ('"1gb"', 10**9)],
)
def test_sizes_are_bytes_or_text_with_a_unit(folder: Path, size: str, count: int) -> None:
    """MB is a million, MiB 2**20."""
    text = SOUND.replace("[prompt]", f"max_row_bytes = {size}\n[prompt]")
    assert load(folder, text).input.max_row_bytes == count


def test_flags_lie_over_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--set` reads TOML, and plain text where that is no TOML; -o is from the working directory."""
    monkeypatch.chdir(folder.parent)
    job = load(
        folder,
        SOUND,
        overrides=[
            "limits.concurrency=64",
            "limits.concurrency=65",
            "model.name=glm-4-plus",
            "model.parameters.temperature=0.5",
            'output.columns=["a"]',
            'input.types."odd.name"=int64',
            "name=2024-01-01",
            "tags.team = a=b",
            "prompt.user=line\nother = 1",
        ],
        output=Path("elsewhere"),
        lane="task",
    )
    assert job.limits.concurrency == 65, "the last one counts"
    assert (job.model.name, job.model.parameters, job.model.lane) == ("glm-4-plus", {"temperature": 0.5}, "task")
    assert (job.output.columns, job.output.path) == (("a",), folder.parent / "elsewhere")
    assert (job.input.types, job.name, job.tags) == ({"odd.name": "int64"}, "2024-01-01", {"team": "a=b"})
    assert job.prompt.user == "line\nother = 1"


def test_a_job_built_in_code_is_checked_and_resolved_like_a_file(tmp_path: Path) -> None:
    """design.md 4: the same things exist in Python."""
    job = Job(
        name="x",
        folder=tmp_path / "a" / "..",
        input=InputSpec(path=Path("rows.jsonl")),
        prompt=PromptSpec(user="{{ a }}"),
        model=ModelSpec(provider="glm", name="glm-4"),
        tools=ToolSpec(module=Path("tools.py")),
    )
    assert (job.input.path, job.output.path) == (tmp_path / "rows.jsonl", tmp_path / "out" / "x")
    assert job.tools == ToolSpec(module=tmp_path / "tools.py", folder=tmp_path / "files")
    assert msgspec.structs.replace(job, name="y").output.path == tmp_path / "out" / "x", "resolved once"
    with pytest.raises(JobError) as caught:
        Job(
            name="a/b",
            folder=tmp_path,
            input=InputSpec(path="rows.jsonl", max_row_bytes=-1),
            prompt=PromptSpec(user=""),
            model=ModelSpec(provider="glm", name="glm-4", lane="boat"),  # type: ignore[arg-type]  # the fault
            limits=LimitSpec(concurrency=0),
            output={"path": "x"},  # type: ignore[arg-type]  # the fault
        )
    assert [fault.split(" ")[0].rstrip(":") for fault in caught.value.faults] == [
        "input.max_row_bytes",
        "prompt.user",
        "model.lane",
        "limits.concurrency",
        "output",
        "name",
    ]
    with pytest.raises(JobError, match="neither user, messages nor turns"):
        Job(name="x", folder=tmp_path, input=job.input, prompt=PromptSpec(), model=job.model)


def test_only_what_is_asked_changes_the_request_part(folder: Path) -> None:
    """design.md 2 and 4: lane, limits, base_url and output never re-buy an answer."""
    job = load(folder, SOUND)
    same = ["limits.concurrency=1", "model.lane=task", "model.base_url=http://x", "output.rows_per_part=5", "tags.a=b",
            "model.served=same", "input.max_row_bytes=5", "tools.module=t.py"]  # fmt: skip
    other = ["model.provider=zai", "model.name=x", "model.parameters.top_p=1", "prompt.user=x", "prompt.system=x",
             "input.key=id", "input.path=other.parquet", "input.types.a=int64"]  # fmt: skip
    for flag in same:
        changed = load(folder, SOUND, overrides=[flag])
        assert changed.request_part() == job.request_part(), flag
        assert changed.digest() != job.digest(), flag
    for flag in other:
        changed = load(folder, SOUND, overrides=[flag])
        assert changed.request_part() != job.request_part(), flag
        assert changed.digest() != job.digest(), flag
    assert load(folder, SOUND).digest() == job.digest()
    assert len(job.digest()) == 32
    msgspec.json.encode(job.request_part())


@pytest.mark.parametrize("text", ["0", "-1", "inf", "nan", '"often"', "31_536_001"])
def test_the_time_after_which_a_part_can_be_read_is_checked(folder: Path, text: str) -> None:
    """FIELD 32. Seconds, and more than none: the message says which key and what it takes."""
    (fault,) = faults(folder, f"{SOUND}\n[output]\npublish_every_s = {text}\n")
    assert fault.startswith("output.publish_every_s = ")
    assert "expected seconds, more than 0" in fault


def test_the_time_after_which_a_part_can_be_read_is_no_part_of_what_is_asked(folder: Path) -> None:
    """FIELD 32. A minute unless the job says otherwise; a job that says nothing is the one it was before there was the key."""
    job = load(folder, SOUND)
    assert job.output.publish_every_s == 60
    changed = load(folder, SOUND, overrides=["output.publish_every_s=5"])
    assert changed.request_part() == job.request_part()
    assert changed.digest() != job.digest()
    whole = msgspec.to_builtins(job, enc_hook=str)
    del whole["output"]["publish_every_s"], whole["limits"]["model"], whole["labels"], whole["prices"]
    del whole["prompt"]["empty"], whole["prompt"]["dedupe"], whole["budget"], whole["limits"]["hours"]
    del whole["limits"]["max_spill"], whole["limits"]["deadline_s"], whole["limits"]["share"], whole["bulk"]
    del whole["model"]["key_file"], whole["model"]["key_command"]
    for name in ("delimiter", "hive_partitioning", "file_column"):
        del whole["input"][name]
    before = blake2b(msgspec.json.encode(whole, order="sorted"), digest_size=16).hexdigest()
    assert job.digest() == before


def test_the_room_on_the_disk_is_a_size_and_makes_no_row_need_work(folder: Path) -> None:
    """Two gigabytes unless the job says otherwise; more of it for one night changes nothing in the job."""
    job = load(folder, SOUND)
    assert job.limits.max_spill == 2_000_000_000
    more = load(folder, f'{SOUND}\n[limits]\nmax_spill = "10 GiB"\n')
    assert more.limits.max_spill == 10 << 30
    assert more.digest() == job.digest()
    (fault,) = faults(folder, f'{SOUND}\n[limits]\nmax_spill = "much"\n')
    assert fault.startswith("limits.max_spill = ")


def several(folder: Path, limits: str) -> Job:
    """The sound job over three models, with these lines in `[limits]` and after it."""
    names = 'names = ["glm-4", "glm-4.5", "glm-3-turbo"]'
    return load(folder, SOUND.replace('name = "glm-4"', names, 1) + f"\n[limits]\n{limits}\n")


def test_each_model_may_have_limits_of_its_own(folder: Path) -> None:
    """FIELD 21: beside those of the job as a whole."""
    job = several(
        folder,
        "concurrency = 9\n[limits.model.glm-4]\nrequests_per_minute = 60\n"
        '[limits.model."glm-4.5"]\nconcurrency = 3\ntokens_per_minute = 1000',
    )
    assert job.limits.concurrency == 9
    assert job.limits.model == {
        "glm-4": ModelLimitSpec(requests_per_minute=60.0),
        "glm-4.5": ModelLimitSpec(concurrency=3, tokens_per_minute=1000.0),
    }
    assert Job.load(folder, overrides=['limits.model."glm-4".concurrency=7']).limits.model["glm-4"].concurrency == 7


@pytest.mark.parametrize(
    ("limits", "fault"),
    [
        (
            '[limits.model."glm-4-x"]\nconcurrency = 1',
            "limits.model.glm-4-x: the job asks no such model. Did you mean glm-4?",
        ),
        (
            '[limits.model."qwen"]\nconcurrency = 1',
            "limits.model.qwen: the job asks no such model. It asks glm-4, glm-4.5, glm-3-turbo",
        ),
        (
            "[limits.model.glm-4.5]\nconcurrency = 1",
            'limits.model.glm-4: a name with a dot stands in quotes: [limits.model."glm-4.5"]',
        ),
        (
            "[limits.model.glm-4]\nrequest_per_minute = 1",
            "limits.model.glm-4.request_per_minute = 1: unknown key. Did you mean requests_per_minute?",
        ),
        (
            "[limits.model.glm-4]\nconcurrency = 0",
            "limits.model.glm-4.concurrency = 0: expected a whole number from 1 to 10000",
        ),
        (
            "[limits.model]\nconcurrency = 1",
            "limits.model: has no name: write [limits.model.NAME], and the NAME as model.name",
        ),
        ("model = 1", "limits.model = 1: expected a table with a name of its own: [limits.model.NAME]"),
    ],
)
def test_what_is_wrong_with_the_limits_of_a_model_is_told(folder: Path, limits: str, fault: str) -> None:
    """FIELD 21: an unknown model is an error with the nearest name."""
    with pytest.raises(JobError) as caught:
        several(folder, limits)
    assert re.sub(r" \(line \d+\)", "", str(caught.value)).splitlines()[1:] == [f"  {fault}"]


def test_the_limits_of_a_model_are_checked_in_code_as_well(folder: Path) -> None:
    """FIELD 21: with the same words."""
    job = several(folder, "concurrency = 9")
    for name, limits in (("glm-4", ModelLimitSpec(concurrency=0)), ("glm-5", ModelLimitSpec())):
        with pytest.raises(JobError, match=f"limits.model.{name}"):
            msgspec.structs.replace(job, limits=LimitSpec(model={name: limits}))


def test_in_code_a_value_may_be_what_it_may_be_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FIELD 46. `Job(folder=".")` fell with an AttributeError of our own; texts, lists and sizes are what people write."""
    monkeypatch.chdir(tmp_path)
    text = SOUND.replace('name = "label-tickets"', "").replace(
        'path = "tickets.jsonl"', 'path = "tickets.jsonl"\nmax_row_bytes = "4MB"'
    )
    text += 'names = ["glm-4"]\n[tools]\nmodule = "t.py"\n[limits]\ncall_timeout_s = 5\n[output]\ncolumns = ["a"]\npath = "o"\n'
    text = text.replace('name = "glm-4"\n', "")
    given: dict[str, Any] = {
        "input": InputSpec(path="tickets.jsonl", max_row_bytes="4MB"),  # type: ignore[arg-type]  # what a file may say
        "prompt": PromptSpec(user="{{ body }}"),
        "model": ModelSpec(provider="glm", names=["glm-4"]),  # type: ignore[arg-type]  # what a file may say
        "tools": ToolSpec(module="t.py"),
        "limits": LimitSpec(call_timeout_s=5),
        "output": OutputSpec(path="o", columns=["a"]),  # type: ignore[arg-type]  # what a file may say
    }
    loaded = load(tmp_path, text)
    for folder in (".", Path(), tmp_path, str(tmp_path)):
        built = Job(folder=folder, **given)
        assert built == loaded
        assert built.digest() == loaded.digest()
    assert Job(**given) == loaded, "the working directory"
    assert (loaded.name, loaded.folder) == (tmp_path.name, tmp_path)


def test_in_code_a_wrong_value_is_told_as_in_a_file(tmp_path: Path) -> None:
    """FIELD 46. Every fault with its key, none as a traceback of ours."""
    with pytest.raises(JobError) as caught:
        Job(
            folder=3,
            input=InputSpec(path="", max_row_bytes="big"),  # type: ignore[arg-type]  # the fault
            prompt=PromptSpec(user="{{ a }}"),
            model=ModelSpec(provider="glm", name="glm-4"),
            limits=LimitSpec(model={"glm-4": {"concurrency": 1}}),  # type: ignore[dict-item]  # the fault
            provider=[],  # type: ignore[arg-type]  # the fault
            output={"path": "x"},  # type: ignore[arg-type]  # the fault
        )
    assert [fault.split(":")[0].split(" ")[0] for fault in caught.value.faults] == [
        "folder",
        "input.path",
        "input.max_row_bytes",
        "limits.model.glm-4",
        "output",
        "provider",
    ]
    assert str(caught.value).startswith("job: 6 faults")


LABELLED = f'{SOUND}\n[labels]\nnames = ["billing", "other"]\n'


def test_labels_are_names_or_a_schema_with_defaults_for_the_rest(folder: Path) -> None:
    """A job without them is the one it was before there were any."""
    spec = load(folder, LABELLED).labels
    assert spec == LabelSpec(names=("billing", "other"), reasks=2, escalate=None, gold=None)
    schema = load(folder, f'{SOUND}\n[labels]\nschema = "tools.py:Label"\n').labels
    assert schema is not None
    assert (schema.names, schema.schema) == ((), "tools.py:Label")
    assert load(folder, SOUND).labels is None
    assert load(folder, LABELLED).request_part() == load(folder, SOUND).request_part(), "the caller adds what they say"
    assert load(folder, LABELLED).digest() != load(folder, SOUND).digest()


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        ("", "has neither names nor schema"),
        ("names = []", "is an empty list"),
        ('names = ["a"]', "needs at least two labels"),
        ('names = ["a", "b", "a"]', "has 'a' twice: once is enough"),
        ('names = ["a", "b "]', "'b ' begins or ends with a blank"),
        ('names = ["a", "b\\nc"]', "holds a line break"),
        ('names = ["a", ""]', "expected a list of labels"),
        ('names = ["a", "b"]\nschema = "x.json"', "stands beside names, and a label is one or the other"),
        ('names = ["a", "b"]\nreasks = -1', "expected a whole number from 0 to 20"),
        ('names = ["a", "b"]\nescalate = "glm-4"', "is the model that is asked already"),
        ('names = ["a", "b"]\nsamples = 0', "a whole number from 1 to 100"),
        ('names = ["a", "b"]\nsample = 3', "unknown key. Did you mean samples?"),
        ('names = ["a", "b"]\nconfidence = 0.8', "true or false"),
    ],
)
def test_what_is_wrong_with_labels_is_told(folder: Path, lines: str, fault: str) -> None:
    """One fault each, with the key and the way out."""
    (told,) = faults(folder, f"{SOUND}\n[labels]\n{lines}\n")
    assert fault in told


def test_the_model_that_is_asked_in_the_end_may_have_limits(folder: Path) -> None:
    """It is one of the job's models; one that nobody asks is none."""
    limits = '[limits.model."glm-4-plus"]\nconcurrency = 2\n'
    job = load(folder, f'{LABELLED}escalate = "glm-4-plus"\n{limits}')
    assert job.limits.model["glm-4-plus"].concurrency == 2
    (fault,) = faults(folder, f"{LABELLED}{limits}")
    assert "the job asks no such model" in fault
