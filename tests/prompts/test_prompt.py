"""`batch.prompts.prompt`: the parts of a prompt in their order, and what is wrong with it said before the run."""

from pathlib import Path
from typing import Any

import pytest

from batch.job.job import PromptSpec
from batch.prompts.prompt import Prompt
from batch.prompts.template import PromptFault

FOLDER = Path("/jobs/label")


def prompt(folder: Path = FOLDER, /, **spec: Any) -> Prompt:
    return Prompt(PromptSpec(**spec), folder)


def test_system_comes_first_and_both_read_the_row() -> None:
    """The order every provider wants."""
    made = prompt(system="Topic {{ topic }}.", user="{{ text }}")
    assert made.columns == {"topic", "text"}
    assert made.render({"topic": "tax", "text": "Hi", "other": 1}) == [
        {"role": "system", "content": "Topic tax."},
        {"role": "user", "content": "Hi"},
    ]


def test_columns_are_what_the_templates_read_and_nothing_else() -> None:
    """Spills hold exactly these; loop variables and functions of the sandbox are no columns."""
    template = "{% for i in range(n) %}{% set x = i %}{{ x }}{{ rows[i] }}{% endfor %}{{ dict }}{{ joiner }}"
    assert prompt(user=template).columns == {"n", "rows", "dict", "joiner"}
    assert prompt(user="fixed").columns == frozenset()
    assert prompt(messages="chat", system="{{ a }}").columns == {"chat", "a"}


def test_a_sound_prompt_has_no_faults() -> None:
    """What `check` says over a matching input."""
    assert prompt(system="x {{ a }}", user="{{ b }}").check(["a", "b", "c"]) == []
    assert prompt(messages="chat").check({"chat"}) == []


def test_every_unknown_column_is_named_with_the_nearest_one() -> None:
    """A typo in a template must not cost a run."""
    faults = prompt(system="{{ subjcet }}", user="{{ body }}{{ zzz }}{{ file }}").check(["subject", "body"])
    assert faults == [
        "prompt.system: {{ subjcet }} is no column of the input. Did you mean subject?",
        "prompt.user: {{ file }} is no column of the input. It has: body, subject.",
        "prompt.user: {{ zzz }} is no column of the input. It has: body, subject.",
    ]
    assert prompt(messages="chats").check(["chat"]) == [
        "prompt.messages: 'chats' is no column of the input. Did you mean chat?"
    ]


def test_a_syntax_error_is_a_fault_with_its_line_and_refuses_every_row() -> None:
    """Building a prompt never raises, so that a job's other faults are reported beside it."""
    made = prompt(system="{{ a", user="one\ntwo\n{% for %}\n")
    faults = made.check(["a"])
    assert [fault.split(":")[0] for fault in faults] == ["prompt.system line 1", "prompt.user line 3"]
    with pytest.raises(PromptFault, match=r"prompt\.system line 1"):
        made.render({"a": 1})


def test_pictures_go_into_the_first_message_that_is_the_rows_own() -> None:
    """Not into seeded ones, not into every turn."""
    start = ({"role": "user", "content": "Look at pictures."}, {"role": "assistant", "content": "Show me."})
    asked = prompt(turns="said", start=start, images=("a", "b"))
    assert asked.columns == {"said", "a", "b"}
    first, later = asked.conversation({"said": ["This?", "Sure?"], "a": "https://h/1", "b": ["https://h/2", None]})
    assert [type(message["content"]) for message in first] == [str, str, list]
    assert [part.get("text") or part["image_url"]["url"] for part in first[2]["content"]] == [
        "This?",
        "https://h/1",
        "https://h/2",
    ]
    assert later == ({"role": "user", "content": "Sure?"},)
    assert asked.render({"said": ["This?"], "a": None, "b": []})[2] == {"role": "user", "content": "This?"}


def test_a_picture_that_is_none_is_one_failed_row_that_names_its_column() -> None:
    """Other rows go on."""
    with pytest.raises(PromptFault, match=r"prompt\.images: column 'photo': .*outside"):
        prompt(user="x", images=("photo",)).render({"photo": "../../etc/passwd"})


NAMES = ["first name", "a.b", "user-id", "2nd", "if", "q"]


def test_a_column_of_any_name_is_read_from_the_row() -> None:
    """FIELD 39. Blanks, dots, dashes, digits in front, words of the template language; by a dot where the name is one."""
    template = "".join(f"{{{{ row['{name}'] }}}}," for name in NAMES) + "{{ row.q }}"
    made = prompt(user=template, system="{{ q }}{% if row['a.b'] %}!{% endif %}")
    assert made.columns == set(NAMES)
    assert made.check(NAMES) == []
    [system, user] = made.render({name: f"<{name}>" for name in NAMES})
    assert system["content"] == "<q>!"
    assert user["content"] == ",".join(f"<{name}>" for name in NAMES) + ",<q>"
    assert prompt(user="{{ row['first_name'] }}").check(NAMES) == [
        "prompt.user: {{ first_name }} is no column of the input. Did you mean 'first name'?"
    ]


def test_a_column_called_row_stays_that_column() -> None:
    """FIELD 39. Jobs that read one went before; a name of the template's own is no column either."""
    made = Prompt(PromptSpec(user="{{ row['x'] }} {{ row.y }}"), FOLDER, ["row", "x"])
    assert made.columns == {"row"}
    assert made.render({"row": {"x": 1, "y": 2}})[0]["content"] == "1 2"
    own = prompt(user="{% for row in rows %}{{ row['x'] }}{% endfor %}")
    assert own.columns == {"rows"}
    assert own.render({"rows": [{"x": 1}, {"x": 2}]})[0]["content"] == "12"


def test_a_template_that_does_not_end_is_told_in_whole_sentences() -> None:
    """The reason is a sentence of Jinja's own, with a full stop or without."""
    [told] = prompt(user="{{ q").check(NAMES)
    assert told.startswith("prompt.user line 1: unexpected end of template, expected 'end of print statement'. Correct")


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("{{ row[q] }}", 'prompt.user line 1: row[…] takes the name of a column in quotes: row["first name"].'),
        ("{{ row['q'] }}\n{{ row }}", 'prompt.user line 2: row alone is no text. Name a column: row["first name"].'),
        (
            "{{ row }}",
            'prompt.user: {{ row }} is no column of the input. Name a column of it: {{ row["first name"] }}.',
        ),
        (
            "{{ user-id }}",
            'prompt.user: {{ user }} is no column of the input. Did you mean {{ row["user-id"] }}?',
        ),
        ("{{ a.b }}", 'prompt.user: {{ a }} is no column of the input. Did you mean {{ row["a.b"] }}?'),
    ],
)
def test_a_name_that_is_no_word_is_told_with_the_way_to_write_it(template: str, told: str) -> None:
    """FIELD 39. `{{ user-id }}` would be a subtraction."""
    assert told in prompt(user=template).check(NAMES)


def test_a_syntax_error_tells_how_odd_names_are_written() -> None:
    """FIELD 39. `{{ first name }}` is none of Jinja's."""
    [told] = prompt(user="{{ first name }}").check(NAMES)
    assert told.startswith("prompt.user line 1: expected token 'end of print statement'")
    assert told.endswith('a column whose name has blanks, dots or dashes is {{ row["first name"] }}.')


def test_single_braces_around_a_column_are_told() -> None:
    """FIELD 39. Where nothing else is read they are refused: every row would ask the same."""
    odd = prompt(system="JSON like {first name} {x}", user="{{ q }} { q }")
    assert odd.check(NAMES) == []
    assert odd.doubts(NAMES) == [
        'prompt.system: {first name} is plain text and is sent as it stands; the column is {{ row["first name"] }}',
        "prompt.user: {q} is plain text and is sent as it stands; the column is {{ q }}",
    ]
    assert prompt(user="Say {q}").check(NAMES) == [
        "prompt.user: {q} is plain text and is sent as it stands; the column is {{ q }}. No column is read at all."
    ]
    assert prompt(user="{{ '{q}' }}{% raw %}{{ q }}{% endraw %}").check(NAMES) == []


def test_a_prompt_that_reads_no_column_is_doubted() -> None:
    """FIELD 39. Ten thousand rows would be asked the same."""
    told = "prompt: no column of the input is read, so every row asks the same"
    assert prompt(user="Hello").doubts(NAMES) == [told]
    assert prompt(user="Hello {x}").check(NAMES) == []
    for spec in ({"user": "{{ q }}"}, {"messages": "q"}, {"user": "What is it?", "images": ["q"]}):
        assert prompt(**spec).doubts(NAMES) == []


def test_a_list_that_a_template_writes_out_is_told() -> None:
    """FIELD 39. A column of messages in a user message would be sent as Python's own text."""
    made = prompt(
        user="{{ chat }} {{ row['a b'] }} {{ chat | tojson }} {{ chat[0] }} {{ q }}", system="{{ chat | length }}"
    )
    assert made.notes({"chat": [1], "a b": {"x": 1}, "q": "x"}) == [
        "column 'a b' is an object, written as Python writes it; for JSON write {{ row[\"a b\"] | tojson }}",
        (
            "column 'chat' is a list, written as Python writes it; for JSON write {{ chat | tojson }}, "
            'for the messages of a chat set prompt.messages = "chat"'
        ),
    ]
    assert prompt(system="{{ chat | tojson }}", user="{{ q }}").notes({"chat": [1], "q": "x"}) == []
