"""`batch.prompts.variants`: variants of a job, parameters from columns, and when two rows ask for the same."""

import base64
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.job.job import InputSpec, Job, ModelSpec, PromptSpec
from batch.prompts.template import PromptFault
from batch.prompts.variants import Variant, Variants, column_of, old_models
from batch.providers.registry import find
from batch.tools.registry import ToolSet
from tests.prompts.test_images import GIF, PNG

ROW = {"text": "hi", "most": 5, "heat": 0.5}


def questions(
    folder: Path = Path("/jobs/x"), *, prompt: dict[str, Any] | None = None, checked: bool = True, **model: Any
) -> Variants:
    asks = ModelSpec(**{"provider": "glm", "name": "" if "names" in model else "glm-4", **model})
    spec = PromptSpec(**(prompt or {"user": "{{ text }}"}))
    job = Job(name="x", folder=folder, input=InputSpec(path=Path("rows.jsonl")), model=asks, prompt=spec)
    return Variants(job, ToolSet.empty(), find("glm", {}) if checked else None)


def only(asked: Variants) -> Variant:
    (question,) = asked
    return question


def printed(question: Variant, **row: Any) -> bytes:
    return question.fingerprint(question.request({**ROW, **row}))


SHORT = {"short": {"user": "{{ text }}?"}, "long": {"user": "{{ text }} Explain.", "system": "{{ tone }}"}}


@pytest.mark.parametrize(
    ("prompt", "names", "variants", "models"),
    [
        (None, (), [None], ["glm-4"]),
        (None, ("glm-4",), ["glm-4"], ["glm-4"]),
        (None, ("glm-4", "glm-3-turbo"), ["glm-4", "glm-3-turbo"], ["glm-4", "glm-3-turbo"]),
        ({"variants": SHORT}, (), ["short", "long"], ["glm-4", "glm-4"]),
        (
            {"variants": SHORT},
            ("b", "a"),
            ["b/short", "b/long", "a/short", "a/long"],
            ["b", "b", "a", "a"],
        ),
    ],
)
def test_variants_are_models_times_prompts_in_the_order_of_the_job(
    prompt: dict[str, Any] | None, names: tuple[str, ...], variants: list[str | None], models: list[str]
) -> None:
    """A job with one question has no variant; what stands in a list is named, also when it stands there alone."""
    model: dict[str, Any] = {"names": names} if names else {}
    asked = questions(prompt=prompt, **model)
    assert asked.names == variants
    assert [question.model for question in asked] == models
    assert [question.number for question in asked] == list(range(len(asked)))
    assert all(asked.named(question.name) is question for question in asked)
    assert asked.named("gone") is None
    assert asked.first.number == 0
    request = {"model": models[0], "names": list(names), "variants": (prompt or {}).get("variants") or {}}
    assert old_models(request) == {question.name: question.model for question in asked}


def test_a_variant_lies_over_the_prompt_of_the_job() -> None:
    """What it does not say stays as the job has it; columns are those of all of them."""
    prompt = {
        "system": "Be kind.",
        "user": "{{ text }}",
        "variants": {"as is": {}, "terse": {"system": "Be {{ tone }}."}},
    }
    asked = questions(prompt=prompt)
    assert asked.columns == {"text", "tone"}
    said = [question.request({"text": "hi", "tone": "terse"}).messages[0]["content"] for question in asked]
    assert said == ["Be kind.", "Be terse."]
    (told,) = asked.check(["text"])
    assert told.startswith("prompt.system: {{ tone }} is no column")


def test_a_fault_that_all_variants_share_is_told_once() -> None:
    """Four variants, one typing mistake."""
    assert len(questions(prompt={"user": "{{ txet }}"}, names=("a", "b", "c", "d")).check(["text"])) == 1


# -- parameters from columns ----------------------------------------------------------------------------------------


def test_a_parameter_is_read_from_the_row_and_left_out_where_that_is_null() -> None:
    """`max_tokens = { column = "most" }`."""
    question = only(questions(parameters={"max_tokens": {"column": "most"}, "temperature": 0.1}))
    assert question.columns == {"text", "most"}
    assert question.request(ROW).parameters == {"max_tokens": 5, "temperature": 0.1}
    assert question.request({**ROW, "most": None}).parameters == {"temperature": 0.1}
    assert question.request({"text": "hi"}).parameters == {"temperature": 0.1}
    assert question.check(["text"]) == ["model.parameters.max_tokens: 'most' is no column of the input"]


@pytest.mark.parametrize("value", [0, -1, "many", 5.5, True, [], {"column": "most"}])
def test_a_value_the_service_would_refuse_is_one_failed_row(value: Any) -> None:
    """The same rules as for the job's own parameters, row by row."""
    question = only(questions(parameters={"max_tokens": {"column": "most"}}))
    with pytest.raises(PromptFault, match="max_tokens"):
        question.request({**ROW, "most": value})
    unchecked = only(questions(parameters={"max_tokens": {"column": "most"}}, checked=False))
    assert unchecked.request({**ROW, "most": value}).parameters == {"max_tokens": value}


@pytest.mark.parametrize(
    "value", [{"column": 7}, {"column": "a", "more": 1}, {"Column": "a"}, {}, "a", ["a"], None, {"type": "json_object"}]
)
def test_only_a_table_with_the_one_key_column_names_a_column(value: Any) -> None:
    """Everything else is a value."""
    assert column_of(value) is None


# -- fingerprints ---------------------------------------------------------------------------------------------------


def test_what_a_row_has_of_its_own_is_in_its_fingerprint() -> None:
    """Another bound asks for another answer; a column that is not used does not."""
    question = only(questions(parameters={"max_tokens": {"column": "most"}}))
    assert printed(question) == printed(question, heat=0.9)
    assert len({printed(question), printed(question, most=6), printed(question, most=None)}) == 3


def test_the_turns_a_row_has_still_to_say_are_in_its_fingerprint() -> None:
    """The same first message with another second one is another conversation; blank turns are none."""
    question = only(questions(prompt={"turns": "said"}))
    prints = [printed(question, said=said) for said in (["a"], ["a", "b"], ["a", "c"], ["a", "b", "c"], ["a", "bc"])]
    assert len(set(prints)) == len(prints)
    assert printed(question, said=["a", "", None, "b"]) == prints[1]


def test_variants_never_share_a_fingerprint_unless_they_ask_the_same() -> None:
    """Model and prompt are both part of it."""
    asked = questions(
        prompt={"variants": {"a": {"user": "{{ text }}"}, "b": {"user": "{{ text }}."}}}, names=("m", "n")
    )
    assert len({printed(question) for question in asked}) == 4
    alone = only(questions(name="n"))
    assert printed(alone) == printed(asked.named("n/a") or alone)


def test_a_picture_is_known_by_its_bytes_not_by_its_name(tmp_path: Path) -> None:
    """A file that moved buys no answer again; one that changed does."""
    (tmp_path / "a.png").write_bytes(PNG)
    (tmp_path / "b.png").write_bytes(PNG)
    (tmp_path / "c.png").write_bytes(GIF)
    question = only(questions(tmp_path, prompt={"user": "What?", "images": ("photo",)}))
    same = [
        printed(question, photo=cell) for cell in ("a.png", "b.png", ["a.png"], PNG, base64.b64encode(PNG).decode())
    ]
    assert len(set(same)) == 1
    others = [printed(question, photo=cell) for cell in ("c.png", ["a.png", "b.png"], None, "https://h/a.png")]
    assert len({same[0], *others}) == 5


def test_a_file_that_changed_asks_every_row_again(tmp_path: Path) -> None:
    """The text of `file()` is part of what is asked."""
    prints = []
    for text in ("one", "two", "one"):
        (tmp_path / "guide.md").write_text(text, encoding="utf-8")
        prints.append(printed(only(questions(tmp_path, prompt={"system": "{{ file('guide.md') }}", "user": "x"}))))
    assert prints[0] == prints[2] != prints[1]


@given(st.lists(st.text(max_size=5), min_size=1, max_size=4), st.lists(st.text(max_size=5), min_size=1, max_size=4))
def test_two_conversations_have_one_fingerprint_only_if_they_say_the_same(one: list[str], two: list[str]) -> None:
    """Blank turns apart."""
    question = only(questions(prompt={"turns": "said"}))
    said = [[text for text in turns if text.strip()] for turns in (one, two)]
    try:
        prints = [printed(question, said=turns) for turns in (one, two)]
    except PromptFault:
        assert [] in said
        return
    assert (prints[0] == prints[1]) == (said[0] == said[1])


# -- what is refused unsent -----------------------------------------------------------------------------------------


def test_a_row_that_asks_nothing_is_refused_with_the_code_of_the_service() -> None:
    """System and assistant messages only: 1214, and nothing is sent for it."""
    question = only(questions(prompt={"messages": "chat"}))
    chat = [{"role": "system", "content": "Be kind."}, {"role": "assistant", "content": "Hello."}]
    failure = question.refused(question.request({"chat": chat}))
    assert failure is not None
    assert (failure.kind, failure.code, failure.verdict, failure.sent) == ("bad_request", "1214", "fail", False)
    assert question.refused(question.request({"chat": [*chat, {"role": "user", "content": "Hi"}]})) is None
    assert only(questions(prompt={"messages": "chat"}, checked=False)).refused(question.request({"chat": chat})) is None


def test_of_a_run_whose_job_is_lost_nothing_is_known_but_that_it_asked() -> None:
    """A ledger made again without the file of the run has an empty request; `compare` and `check` fell over it."""
    assert old_models({}) == {"": ""}
