"""`batch.prompts.template`: a row is data, whatever stands in it, and a template does no harm."""

import datetime as dt
import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.job.job import PromptSpec
from batch.prompts.inserts import MAX_MESSAGE_BYTES
from batch.prompts.prompt import Prompt
from batch.prompts.template import PromptFault

FOLDER = Path("/jobs/label")


def prompt(folder: Path = FOLDER, /, **spec: Any) -> Prompt:
    return Prompt(PromptSpec(**spec), folder)


def user(template: str, **record: Any) -> str:
    [message] = prompt(user=template).render(record)
    assert message["role"] == "user"
    content: str = message["content"]
    return content


def fault(template: str, **record: Any) -> str:
    with pytest.raises(PromptFault) as caught:
        prompt(user=template).render(record)
    return str(caught.value)


@given(st.text())
def test_any_text_of_a_row_comes_out_character_for_character(value: str) -> None:
    """Markup, controls, surrogates, newlines: nothing is escaped, trimmed or evaluated."""
    assert user("<{{ a }}>\n", a=value) == f"<{value}>\n"


@given(st.text("{}%#-+ 7*'\"_abcgilnoqrtu|()[].\n<>&\\", max_size=60))
def test_template_syntax_in_a_row_stays_literal(value: str) -> None:
    """0 evaluations in generated rows."""
    assert user("{{ a }}|{{ b }}", a=value, b=f"{{{{ {value} }}}}") == f"{value}|{{{{ {value} }}}}"


@pytest.mark.parametrize(
    "value",
    [
        "{{ 7*7 }}",
        "{% for x in range(9) %}x{% endfor %}",
        "{# gone #}",
        "{{ ''.__class__.__mro__ }}",
        "{{ config }}{{ self }}",
        "%(a)s {a} ${a}",
        "\x00\x1b]8;;http://x\x07\u202e\u2028\u0085",
        "line\r\nline\r\n\n",
    ],
)
def test_known_injections_appear_as_they_were_written(value: str) -> None:
    """The same, with the attacks by name, in both messages."""
    messages = prompt(system="{{ a }}", user="{{ a }}{{ b.c[0] }}").render({"a": value, "b": {"c": [value]}})
    assert [message["content"] for message in messages] == [value, value + value]


def test_a_null_cell_is_empty_text_and_other_types_read_as_python_writes_them() -> None:
    """Documented at the head of the module."""
    assert user("[{{ a }}]", a=None) == "[]"
    assert user("{{ a }}|{{ b }}|{{ c }}", a=3, b=2.5, c=True) == "3|2.5|True"
    assert user("{{ a }} {{ b }}", a=Decimal("12.50"), b=dt.date(2024, 1, 2)) == "12.50 2024-01-02"
    assert user("{% if a is none %}none{% endif %}", a=None) == "none"
    assert user("{{ a.b }}", a={"b": None}) == ""


def test_keys_of_a_dict_come_before_its_methods() -> None:
    """`items`, `values` and `copy` are ordinary names in data."""
    record = {"order": {"items": ["pen"], "keys": 2}}
    assert user("{{ order['items'][0] }} {{ order.keys }} {{ order.items[0] }}", **record) == "pen 2 pen"
    assert user("{% for k, v in a.items() %}{{ k }}={{ v }};{% endfor %}", a={"x": 1, "y": 2}) == "x=1;y=2;"


def test_tojson_writes_plain_json_without_html_escapes() -> None:
    """Jinja's own filter would turn < into an escape that only a browser undoes."""
    assert user("{{ a | tojson }}", a={"t": "<b> & 'é'", "n": None}) == """{"t":"<b> & 'é'","n":null}"""
    assert json.loads(user("{{ a | tojson(indent=2) }}", a=[1, {"b": 2}])) == [1, {"b": 2}]


@pytest.mark.parametrize("template", ["{% include 'x' %}", "{% extends a %}", "{% import 'm' as m %}"])
def test_templates_that_load_others_are_refused_before_the_run(template: str) -> None:
    """There is nothing to load from; without the check it would fail row by row."""
    assert "have nothing to load" in prompt(user=template).check(["a"])[0]


@pytest.mark.parametrize(
    "template", ["{{ a | nofilter }}", "{% if a is notest %}{% endif %}", "{% if a %}{{ a | nofilter }}{% endif %}"]
)
def test_an_unknown_filter_is_found_before_the_run(template: str) -> None:
    """It is wrong for every row."""
    assert len(prompt(user=template).check(["a"])) == 1


def test_a_fault_of_one_row_says_which_line_and_why() -> None:
    """The text ends up in `error_message`; it must be enough to find the place."""
    assert fault("x\n{{ a.b }}\n", a={}) == "prompt.user line 2: 'dict object' has no attribute 'b'"
    assert fault("\n\n{{ a + 1 }}", a="x").startswith("prompt.user line 3: TypeError: ")
    assert fault("{{ 1 // a }}", a=0).startswith("prompt.user line 1: ZeroDivisionError: ")
    assert fault("{{ a }}") == "prompt.user: column 'a' is missing in this row"
    assert "KeyError" in fault("{{ '%(x)s' % a }}", a={"a": 1})


@pytest.mark.parametrize(
    "template",
    [
        "{{ a.__class__ }}",
        "{{ a | attr('__class__') }}",
        "{{ '{0.__class__}'.format(a) }}",
        "{{ b.append(1) }}",
        "{{ c.update(x=1) }}",
        "{{ range(10000000) | list }}",
        "{{ a * 100000000 }}",
        "{{ 100000000 * 'ab' }}",
        "{{ 9 ** (9 ** 9) }}",
        "{{ 2 ** 100000 }}",
        "{{ a() }}",
    ],
)
def test_the_sandbox_holds_against_hostile_templates(template: str) -> None:
    """Attributes, mutation, and memory made of a dozen characters."""
    values: dict[str, Any] = {"a": "text", "b": [1], "c": {}}
    fault(template, **values)
    assert values == {"a": "text", "b": [1], "c": {}}


def test_ordinary_arithmetic_still_works() -> None:
    """The guard is against size, not against sums."""
    assert (
        user("{{ '-' * 3 }} {{ n * 2 }} {{ 2 ** 10 }} {{ 2 ** 0.5 > 1 }} {{ [0] * 2 }}", n=2.5)
        == "--- 5.0 1024 True [0, 0]"
    )


def test_a_message_larger_than_the_cap_is_one_failed_row() -> None:
    """And rendering stops there instead of filling memory first; the cap counts bytes, not characters."""
    assert "larger than 16 MiB" in fault("{% for i in range(90000) %}{{ a }}{% endfor %}", a="x" * 1000)
    assert "larger than 16 MiB" in fault("{{ a }}", a="日" * (MAX_MESSAGE_BYTES // 3 + 1))
    assert len(user("{{ a }}", a="x" * MAX_MESSAGE_BYTES)) == MAX_MESSAGE_BYTES


def test_file_puts_the_text_of_a_file_into_the_message(tmp_path: Path) -> None:
    """Byte for byte but for a byte order mark; what looks like a template in it is text."""
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "guide.md").write_bytes("\ufeff# 指南\r\n{{ 7*7 }} <b>\n".encode())
    asked = prompt(tmp_path, system="{{ file('notes/guide.md') }}|{{ file(which) }}", user="x")
    assert asked.columns == {"which"}
    text = "# 指南\r\n{{ 7*7 }} <b>\n"
    assert asked.render({"which": "notes/guide.md"})[0]["content"] == f"{text}|{text}"


def test_file_in_a_loop_reads_once_and_is_bounded(tmp_path: Path) -> None:
    """A hundred thousand times a megabyte stops at the size of a message."""
    (tmp_path / "big.txt").write_text("x" * 1_000_000, encoding="utf-8")
    asked = prompt(tmp_path, user="{% for i in range(n) %}{{ file('big.txt') }}{% endfor %}")
    assert len(asked.render({"n": 3})[0]["content"]) == 3_000_000
    (tmp_path / "big.txt").unlink()
    with pytest.raises(PromptFault, match="16 MiB"):
        asked.render({"n": 100_000})


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("'none.md'", "No such file"),
        ("'../secret.md'", "outside"),
        ("'/etc/passwd'", "outside"),
        ("'/proc/self/environ'", "outside"),
        ("'out.md'", "outside"),
        ("'folder'", "no regular file"),
        ("'latin.md'", "not UTF-8"),
        ("''", "no name of a file"),
        ("7", "name of a file is wanted"),
        ("none", "name of a file is wanted"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_before_the_run_and_refuses_every_row(
    name: str, reason: str, tmp_path: Path
) -> None:
    """With its line; a name from a row is that row's failure alone."""
    folder = tmp_path / "job"
    (folder / "folder").mkdir(parents=True)
    (tmp_path / "secret.md").write_text("secret", encoding="utf-8")
    (folder / "out.md").symlink_to(tmp_path / "secret.md")
    (folder / "latin.md").write_bytes(b"caf\xe9")
    asked = prompt(folder, user=f"one\n{{{{ file({name}) }}}}")
    (told,) = asked.check([])
    assert told.startswith("prompt.user line 2: ")
    assert reason in told
    with pytest.raises(PromptFault, match=reason):
        asked.render({})
    by_row = prompt(folder, user="{{ file(name) }}")
    assert by_row.check(["name"]) == []
    with pytest.raises(PromptFault, match=reason):
        by_row.render({"name": {"7": 7, "none": None}.get(name, name.strip("'"))})


def test_a_column_may_have_the_name_of_a_function() -> None:
    """`{{ file }}` is the column; a bound method in a prompt would be paid for without a word."""
    for name in ("file", "range", "namespace"):
        assert prompt(user=f"{{{{ {name} }}}}").columns == {name}
        assert user(f"<{{{{ {name} }}}}>", **{name: "a.txt"}) == "<a.txt>"


def test_a_column_and_a_function_of_one_name_in_one_template_are_refused(tmp_path: Path) -> None:
    """Which is meant cannot be told."""
    (tmp_path / "guide.md").write_text("x", encoding="utf-8")
    (told,) = prompt(tmp_path, user="{{ file }}{{ file('guide.md') }}").check(["file"])
    assert "Rename the column" in told


@pytest.mark.slow
def test_jinja_is_not_needed_to_import_the_job() -> None:
    """`--help` reads job types and must stay fast."""
    code = "import sys, batch.job; print('jinja2' in sys.modules, 'pyarrow' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert done.stdout.split() == ["False", "False"]
