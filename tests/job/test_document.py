"""What a person is told when a job file or a flag is wrong: all of it, with its place and the way out."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.core.errors import JobError
from batch.job import document
from batch.job.faults import Fault
from batch.job.job import Job
from tests.support.jobtext import SOUND, faults, load

LANES = '"sync", "stream", "task" or "bulk", or "auto", or bulk and what takes over: ["bulk", "sync"]'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "label"
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("[prompt]", "keys = 'a'\n[prompt]", 'input.keys = "a" (line 6): unknown key. Did you mean key?'),
        ("[prompt]", "format = 'csv'\n[prompt]", 'input.format = "csv" (line 6): expected "rows" or "openai-batch"'),
        (
            "[prompt]",
            "max_row_bytes = '16 apples'\n[prompt]",
            'input.max_row_bytes = "16 apples" (line 6): expected bytes',
        ),
        ("[prompt]", "max_row_bytes = 0\n[prompt]", "input.max_row_bytes = 0 (line 6): expected bytes"),
        ("[prompt]", "types = {a = 'intt'}\n[prompt]", 'input.types.a = "intt" (line 6): no Arrow type is called that'),
        (
            "[prompt]",
            "types = {a = 'number'}\n[prompt]",
            'input.types.a = "number" (line 6): no Arrow type is called that',
        ),
        (
            "[prompt]",
            "types = {a = 'binary'}\n[prompt]",
            'input.types.a = "binary" (line 6): JSON has no values of this',
        ),
        ('"tickets.jsonl"', '"x.parquet"\ntypes = {a = "int8"}', "input.types (line 5): only JSONL and CSV need them"),
        ('"tickets.jsonl"', '""', 'input.path = "" (line 4): expected a file, a folder or a pattern'),
        ('"tickets.jsonl"', "7", "input.path = 7 (line 4): expected a file, a folder or a pattern"),
        ('user = "{{ body }}"', "", "prompt (line 6): has neither user, messages nor turns"),
        ('user = "{{ body }}"', 'user = ""', 'prompt.user = "" (line 7): expected a template that is not empty'),
        ("[model]", 'messages = "chat"\n[model]', 'prompt.messages = "chat" (line 9): stands beside user'),
        ("[model]", 'pictures = ["x"]\n[model]', 'prompt.pictures = ["x"] (line 9): unknown key: '),
        ('name = "glm-4"', 'nam = "x"', 'model.nam = "x" (line 11): unknown key. Did you mean name?'),
        (
            'name = "glm-4"',
            'name = "x"\nlane = "boat"',
            'model.lane = "boat" (line 12): expected "sync", "stream", "task" or "bulk"',
        ),
        ('name = "glm-4"', 'name = "x"\nserved = true', 'model.served = true (line 12): expected "any" or "same"'),
        ('name = "glm-4"', 'name = "x"\nparameters = 1', "model.parameters = 1 (line 12): expected a table"),
        (
            'name = "glm-4"',
            'name = "x"\nbase_url = "ftp://x"',
            'model.base_url = "ftp://x" (line 12): expected an http',
        ),
        (
            'name = "glm-4"',
            'name = "x"\nmax_turns = 3',
            "model.max_turns = 3 (line 12): unknown key: it belongs in [tools]",
        ),
        (
            'name = "glm-4"',
            'name = "x"\n[limits]\nconcurrency = 0',
            "limits.concurrency = 0 (line 13): expected a whole number from 1 to 10000",
        ),
        ('name = "glm-4"', 'name = "x"\n[limits]\nconcurrency = 1.5', "limits.concurrency = 1.5 (line 13): expected"),
        ('name = "glm-4"', 'name = "x"\n[limits]\nconcurrency = true', "limits.concurrency = true (line 13): expected"),
        ('name = "glm-4"', 'name = "x"\n[limits]\nconcurrency = "5"', 'limits.concurrency = "5" (line 13): expected'),
        (
            'name = "glm-4"',
            'name = "x"\n[limits]\ncall_timeout_s = 0',
            "limits.call_timeout_s = 0 (line 13): expected seconds",
        ),
        (
            'name = "glm-4"',
            'name = "x"\n[limits]\ntask_timeout_s = inf',
            "limits.task_timeout_s = inf (line 13): expected",
        ),
        (
            'name = "glm-4"',
            'name = "x"\n[limits]\ncall_timeout_s = nan',
            "limits.call_timeout_s = nan (line 13): expected",
        ),
        (
            'name = "glm-4"',
            'name = "x"\n[limits]\nrequests_per_minute = -1',
            "limits.requests_per_minute = -1 (line 13): expected",
        ),
        (
            'name = "glm-4"',
            'name = "x"\n[limits]\ntokens_per_minute = 0',
            "limits.tokens_per_minute = 0 (line 13): expected tokens per minute",
        ),
        ('name = "glm-4"', 'name = "x"\n[tools]', "tools.module (line 12): is missing: add module to [tools]"),
        (
            'name = "glm-4"',
            'name = "x"\n[output]\npath = "{nam}"',
            'output.path = "{nam}" (line 13): the only placeholder',
        ),
        ('name = "glm-4"', 'name = "x"\n[output]\nrows_per_part = 0', "output.rows_per_part = 0 (line 13): expected"),
        ('name = "glm-4"', 'name = "x"\n[output]\ncolumns = "a"', 'output.columns = "a" (line 13): expected a list'),
        (
            'name = "glm-4"',
            'name = "x"\n[output]\ncolumns = ["a","a"]',
            'output.columns = ["a", "a"] (line 13): has \'a\' twice',
        ),
        (
            'name = "glm-4"',
            'name = "x"\n[money]\nmax_cost = "5 CNY"',
            "money = {…} (line 12): unknown key: the job has name,",
        ),
        ('name = "glm-4"', 'name = "x"\n[modell]\na = 1', "modell = {…} (line 12): unknown key. Did you mean model?"),
        ('name = "label-tickets"', 'name = "../x"', 'name = "../x" (line 1): expected a name'),
        ('name = "label-tickets"', "concurrency = 5", "concurrency = 5 (line 1): unknown key: it belongs in [limits]"),
        (
            'name = "label-tickets"',
            "input = 5",
            "input = 5 (line 1): expected a section: write [input] on a line of its own",
        ),
        ('name = "label-tickets"', "tags = { a = 1 }", "tags = {…} (line 1): expected a table of texts"),
        ('[input]\npath = "tickets.jsonl"\n', "", "input: the section [input] is missing; it needs path"),
    ],
)
def test_one_mistake_is_one_line_with_path_value_line_number_and_way_out(
    folder: Path, old: str, new: str, expected: str
) -> None:
    """design.md 4: unknown keys are errors with the nearest name; keys of later steps do not exist yet."""
    text = SOUND.replace(old, new, 1)
    if new == "input = 5":
        text = text.replace('[input]\npath = "tickets.jsonl"\n', "")
    found = faults(folder, text)
    assert [line for line in found if line.startswith(expected)], found
    others = [line for line in found if not line.startswith(expected)]
    assert all("is missing" in line for line in others), found


def test_all_mistakes_are_reported_in_one_go_in_the_order_of_the_file(folder: Path) -> None:
    """Nobody wants to correct a file nine times; flags come last."""
    text = """
    nme = "x"
    [input]
    types = { a = "nothing" }
    [prompt]
    user = 5
    [model]
    provider = "glm"
    name = ""
    parameters = { a = nan, model = "x", when = 2024-01-01, inner = { api_key = 1, deep = [inf] }, api_key = "x" }
    [limits]
    concurrency = 0
    max_attempts = 0
    """
    found = faults(folder, text, overrides=["limits.call_timeout_s=-1", "nonsense", "model.lane=x"])
    assert [line.split(" ")[0].rstrip(":") for line in found] == [
        "nme",
        "input.path",
        "input.types.a",
        "prompt.user",
        "model.lane",
        "model.name",
        "model.parameters.model",
        "model.parameters.a",
        "model.parameters.when",
        "model.parameters.inner.deep.0",
        "model.parameters.api_key",
        "limits.call_timeout_s",
        "limits.concurrency",
        "limits.max_attempts",
        "--set",
    ]
    error = JobError(found)
    assert str(error).startswith("job.toml: 15 faults\n  nme")


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ('api_key = "abc123"', "model.api_key"),
        ('apikey = "abc123"', "model.apikey"),
        ('API-KEY = "abc123"', "model.API-KEY"),
        ('parameters = { api_key = "abc123" }', "model.parameters.api_key"),
    ],
)
def test_an_api_key_in_the_file_is_refused_and_never_shown(folder: Path, line: str, path: str) -> None:
    """design.md 4: keys never stand in a job; promise 8: secrets never land in error texts."""
    found = faults(folder, SOUND + line + "\n")
    assert len(found) == 1
    assert found[0].startswith(f"{path} = **** (line 12): keys never stand in a job")
    assert "abc123" not in str(found)


def test_values_that_look_like_keys_are_masked_wherever_they_stand(folder: Path) -> None:
    """A key pasted into the wrong place, or onto the command line, is still a key."""
    key = "0123456789abcdef0123456789abcdef.0123456789abcdef"
    text = SOUND + f'api_key_env = "{key}"\nbase_url = "https://me:pass@host/v1"\nfoo = ["{key}"]\npassword = 5\n'
    flags = [f"model.api_key={key}", f"zzz=sk-{key}", f"=x.{key}", f"model.api_key_env={key}"]
    shown = str(faults(folder, text, overrides=flags))
    assert "0123456789abcdef" not in shown
    assert "pass@" not in shown
    assert shown.count("****") >= 6


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('name = "x"\npath = = 2\n', "line 2, column 8: not TOML: Invalid value"),
        ("name = glm\n", "line 1, column 8: not TOML"),
        ("[input]\na = 1\na = 2\n", "not TOML: Cannot overwrite a value"),
        ('name = """x', "at the end of the file: not TOML"),
    ],
)
def test_a_syntax_error_names_file_line_and_column(folder: Path, text: str, expected: str) -> None:
    """The parser's own place, in words."""
    [fault] = faults(folder, text)
    assert expected in fault


def test_files_that_are_not_there_or_not_text_are_explained(folder: Path) -> None:
    """The commonest first mistakes of all."""
    with pytest.raises(JobError, match=r"there is no job\.toml in this folder"):
        Job.load(folder)
    load(folder, SOUND)
    with pytest.raises(JobError, match=r"no such job. Did you mean .*label\?"):
        Job.load(folder.parent / "labl")
    with pytest.raises(JobError, match=r"no such job. `promptmill init DIR`"):
        Job.load("/nowhere/at/all")
    with pytest.raises(JobError, match="cannot be read"):
        Job.load(folder / "job.toml" / "x")
    (folder / "job.toml").write_bytes('name = "a"\n# caf\xe9\n'.encode("latin-1"))
    with pytest.raises(JobError, match="line 2: is not UTF-8"):
        Job.load(folder)
    (folder / "job.toml").write_bytes(b"\xef\xbb\xbf" + SOUND.replace("\n", "\r\n").encode())
    assert Job.load(folder).name == "label-tickets"


def test_a_wrong_flag_is_named_as_a_flag_and_not_as_a_line(folder: Path) -> None:
    """Else people look for it in the file."""
    found = faults(
        folder, SOUND, overrides=["limits.foo=3", "model.name.x=1", "=5", "a b=1"], lane="boat", output=Path("{x}")
    )
    assert found == [
        'model.lane = "boat" (--lane boat): expected ' + LANES,
        found[1],
        found[2],
        "--set model.name.x=1: model.name is no table, so nothing can be set in it",
        "--set =5: expected section.key=value, for example --set limits.concurrency=64",
        "--set a b=1: expected section.key=value, for example --set limits.concurrency=64",
    ]
    assert found[1].startswith("limits.foo = 3 (--set limits.foo=3): unknown key: [limits] has concurrency, ")
    assert "(-o {x}): the only placeholder is {name}" in found[2]


def test_line_numbers_survive_multi_line_texts_dotted_keys_and_inline_tables(folder: Path) -> None:
    """A prompt often holds lines that look like keys."""
    text = """\
[prompt]
user = '''
[limits]
concurrency = 1
'''
system = \"\"\"one line\"\"\"
[input]
path = "x"
[model]
provider = "glm"
name = "x"
[limits]
concurrency = 0
"""
    assert faults(folder, text)[0].startswith("limits.concurrency = 0 (line 13)")
    text = 'input.path = "x"\nprompt = {user = "x"}\nmodel = {provider = "glm", name = "x", lane = 5}\n'
    text += '"limits".concurrency = 0\n'
    found = faults(folder, text)
    assert found[0].startswith("model.lane = 5 (line 3)")
    assert found[1].startswith("limits.concurrency = 0 (line 4)")


@given(st.text(max_size=30), st.text(max_size=30))
def test_no_setting_can_raise_anything_but_a_job_error(name: str, value: str) -> None:
    """Flags come from a shell and hold anything."""
    file = document.Document(Path("job.toml"), "", {"limits": {}})
    file.override([f"{name}={value}", name, f"limits.{name}={value}", f"limits.concurrency={value}"])
    file.override([f"provider.{name}={value}", f"provider.x.{name}={value}"])
    from batch.job.job import SECTIONS, TABLES

    _, _, found = file.sections(SECTIONS, {}, optional=frozenset(), tables=TABLES)
    assert file.lines(found)


@given(st.text(max_size=60))
def test_any_text_is_a_job_or_a_job_error(text: str) -> None:
    """Line numbers are looked up by a loose scanner, which must not trip over odd files."""
    document.Document(Path("job.toml"), text, {}).lines([Fault(("a", "b"), "x")])


@pytest.mark.parametrize("place", ["file", "flag"])
@pytest.mark.parametrize(
    "address", ["https://h/v1?key=K3yOfMine", "https://h#K3yOfMine", "https://me:K3yOfMine@h", "me:K3yOfMine@h"]
)
def test_an_address_with_a_key_in_it_is_refused_and_not_shown(address: str, place: str, tmp_path: Path) -> None:
    """FIELD 20. In the file, by --set, and in a provider's own table."""
    table = f'[provider.mine]\nbase_url = "{address}"\n'
    text = SOUND + (f'base_url = "{address}"\n' if place == "file" else "") + table
    (tmp_path / "job.toml").write_text(text)
    overrides = [] if place == "file" else [f"model.base_url={address}"]
    with pytest.raises(JobError) as caught:
        Job.load(tmp_path, overrides=overrides)
    said = str(caught.value)
    assert said.count("address without a password, ? or # in it") == 2
    assert "K3yOfMine" not in said


def test_what_is_meant_by_a_folder_without_a_job_is_never_that_folder(tmp_path: Path) -> None:
    """FIELD 48: "there is no job.toml in this folder. Did you mean" and the same folder again; or one with no job in it."""
    empty, other = tmp_path / "label", tmp_path / "labels"
    for folder in (empty, other):
        folder.mkdir()
    for path in (empty, tmp_path / "labe"):
        with pytest.raises(JobError, match=r"`promptmill init DIR` makes a sample job\.$"):
            Job.load(path)
    (other / "job.toml").write_text("")
    with pytest.raises(JobError, match=rf"Did you mean {other}\?$"):
        Job.load(empty)
    (empty / "jobs.toml").write_text("")
    with pytest.raises(JobError, match=rf"Did you mean {empty / 'jobs.toml'}\?$"):
        Job.load(empty)
    (empty / "more.toml").write_text("")
    with pytest.raises(JobError, match=rf"Did you mean {other}\?$"):
        Job.load(empty)
