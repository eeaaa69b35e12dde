"""`batch.prompts.inserts`: a template that only inserts columns gives what Jinja would, character for character."""

import datetime as dt
import math
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch.prompts import inserts
from batch.prompts.images import Files
from batch.prompts.inserts import MAX_MESSAGE_BYTES
from batch.prompts.sandbox import Sandbox, compiled
from batch.prompts.template import Environment, PromptFault, Template

FOLDER = Path("/jobs/label")

NAMES = ["a", "b", "row", "true", "none", "self", "loop", "file", "items", "_x", "文本", "ﬁ", "not", "class"]
PIECES = [
    *("{{ a }}", "{{b}}", "{{ a.b }}", "{{ a.items }}", "{{ a.b.c }}", "{{\n文本 }}", "{{ _x }}", "{{ a._x }}"),
    *('{{ row["first name"] }}', "{{ row['a'] }}", "{{ row.b }}", "{{ row.a.b }}", "{{ row }}", '{{ row["\\n"] }}'),
    *("{{ true }}", "{{ none }}", "{{ self }}", "{{ loop }}", "{{ file }}", "{{ not }}", "{{ class }}", "{{ ﬁ }}"),
    *("{{- a }}", "{{ a -}}", "{{ a | upper }}", "{% if a %}", "{% endif %}", "{# a #}", "{{ a ~ b }}", "{{ a.0 }}"),
    *("{", "}", "%", "%s", "#", "}}", "\r\n", "\r", "\n", " ", "x", "<&>", "{{", '{{ row["a }}', "{{ ² }}", "\u2028"),
]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=4)
    | st.sampled_from([Decimal("1.50"), dt.date(2024, 1, 2), "{{ a }}", "%s", math.nan, "\ud800"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["b", "c", "items", "_x"]), inner),
    max_leaves=6,
)


def outcome(template: Any, record: dict[str, Any]) -> tuple[str, str]:
    """What one row gives: its text, or what is said of it."""
    try:
        return "text", template.render(record)
    except PromptFault as exc:
        return "fault", str(exc)


@settings(max_examples=150)
@given(
    st.lists(st.sampled_from(PIECES), max_size=6).map("".join),
    st.dictionaries(st.sampled_from([*NAMES, "first name"]), VALUES),
    st.booleans(),
)
def test_whatever_a_template_and_a_row_are_jinja_says_the_same(
    source: str, record: dict[str, Any], own_row: bool
) -> None:
    """Text, faults with their lines, the columns that are read, the text between them, what is refused."""
    how: dict[str, Any] = {"part": "user", "folder": FOLDER, "own_row": own_row}
    try:
        theirs = compiled(Sandbox(Files(FOLDER)), source, **how)
    except PromptFault as exc:
        with pytest.raises(PromptFault) as caught:
            Template(Environment(Files(FOLDER)), source, **how)
        assert str(caught.value) == str(exc)
        return
    ours = Template(Environment(Files(FOLDER)), source, **how)
    assert (ours.reads, ours.plain, ours.bare) == (theirs.reads, theirs.plain, theirs.bare)
    missing = ours.reads - set(record)
    if len(missing) > 1:  # which of them is named is a matter of the order of a set
        record |= dict.fromkeys(sorted(missing)[1:], "there")
    assert outcome(ours, record) == outcome(theirs, record)


@pytest.mark.parametrize(
    ("source", "own_row"),
    [
        ("{{ a }}", False),
        ("Ticket {{ id }}:\n{{ text }}\n", False),
        ("{{ order.items }} 100 % of {{ order.address.city }}", False),
        ('{{ row["first name"] }} {{ row.a }}', False),
        ("no column at all", False),
        ("{{ 文本 }}", False),
        ("{{ row }}", True),
        ("{{ row.a }}", True),
    ],
)
def test_the_usual_templates_are_rendered_without_jinja(source: str, own_row: bool) -> None:
    """Else the tests above would compare Jinja with itself."""
    assert inserts.read(source, own_row=own_row) is not None


@pytest.mark.parametrize(
    "source", ["{{ a | trim }}", "{% if a %}x{% endif %}", "{# c #}", "{{{ a }}}", "{{ file('x') }}"]
)
def test_all_others_are_left_to_jinja(source: str) -> None:
    """A filter, a condition, a comment, a brace too many, a function."""
    assert inserts.read(source, own_row=False) is None


def test_a_row_that_would_be_too_large_is_not_put_together() -> None:
    """Only Jinja's own way counts while it renders; here the sizes are known before."""
    template = inserts.read("{{ a }}" * 1_000, own_row=False)
    assert template is not None
    assert template.render({"a": "x" * 1_000_000}) is None
    one = inserts.read("{{ a }}", own_row=False)
    assert one is not None
    assert one.render({"a": "日" * (MAX_MESSAGE_BYTES // 3 + 1)}) is None
    assert one.render({"a": "\ud800" * (MAX_MESSAGE_BYTES // 4 + 1)}) is not None


def test_a_value_that_python_does_not_write_is_a_fault_with_its_line() -> None:
    """A number of 5,000 digits; the text is Jinja's."""
    how: dict[str, Any] = {"part": "user", "folder": FOLDER, "own_row": False}
    template, record = "one\n{{ a }}", {"a": 10**5000}
    said = outcome(Template(Environment(Files(FOLDER)), template, **how), record)
    assert said == outcome(compiled(Sandbox(Files(FOLDER)), template, **how), record)
    assert said[1].startswith("prompt.user line 2: ValueError: ")


@pytest.mark.slow
def test_jinja_is_loaded_only_by_a_template_that_needs_it() -> None:
    """It takes as long as the interpreter itself, three times over."""
    program = (
        "import sys; from pathlib import Path; from batch.job.job import PromptSpec; from batch.prompts.prompt import Prompt\n"
        "asked = Prompt(PromptSpec(system='Label it.', user='{{ text }}'), Path('.'))\n"
        "asked.render({'text': 'x'}); before = 'jinja2' in sys.modules\n"
        "Prompt(PromptSpec(user='{{ text | trim }}'), Path('.')).render({'text': 'x'})\n"
        "print(before, 'jinja2' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
