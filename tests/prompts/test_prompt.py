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
        "prompt.system: {{ subjcet }} is no column of the input. Did you mean 'subject'?",
        "prompt.user: {{ file }} is no column of the input. It has: body, subject.",
        "prompt.user: {{ zzz }} is no column of the input. It has: body, subject.",
    ]
    assert prompt(messages="chats").check(["chat"]) == [
        "prompt.messages: 'chats' is no column of the input. Did you mean 'chat'?"
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
