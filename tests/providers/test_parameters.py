"""Parameters and messages held against what each service takes, before anything is sent."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.core.records import Lane, Message
from batch.job.providers import ProviderSpec
from batch.providers import message_rules, parameters, registry
from batch.providers.registry import PROVIDERS

OWN = registry.find("own", {"own": ProviderSpec(base_url="http://h", never_send=("seed",))})


def said(
    name: str, model: str, given: dict[str, Any], *, tools: tuple[str, ...] = (), lane: Lane = "sync"
) -> list[str]:
    service = OWN if name == "own" else PROVIDERS[name]
    found = parameters.check(service, model, given, tools=tools, lane=lane)
    return [f"{finding.level}: {finding.line()}" for finding in found]


USUAL: list[tuple[str, str, dict[str, Any]]] = [
    ("glm", "glm-4", {"temperature": 0.1, "max_tokens": 64, "stop": ["x"], "top_p": 0.7, "do_sample": True}),
    ("glm", "glm-4.6", {"temperature": 0, "top_p": 1, "thinking": {"type": "enabled", "clear_thinking": False}}),
    ("glm", "glm-4.5-air", {"temperature": 1.0, "max_tokens": 98_304, "response_format": {"type": "json_object"}}),
    ("glm", "glm-4-plus", {"tools": [{"type": "web_search", "web_search": {"enable": True}}], "tool_choice": "auto"}),
    ("glm", "charglm-3", {"meta": {"user_info": "a"}}),
    ("zai", "glm-5.3", {"reasoning_effort": "high", "watermark_enabled": True, "user_id": "abcdef"}),
    ("openai", "gpt-5-mini", {"max_completion_tokens": 9, "reasoning_effort": "low", "metadata": {"a": "b"}}),
    ("openai", "gpt-4.1", {"max_tokens": 9, "temperature": 2, "stop": "x", "seed": 1, "presence_penalty": -2, "n": 1}),
    ("openai", "gpt-5-chat-latest", {"max_tokens": 9, "temperature": 0.2}),
    (
        "openai",
        "gpt-4.1",
        {"response_format": {"type": "json_schema", "json_schema": {"name": "Label_1", "schema": {}, "strict": True}}},
    ),
    ("dashscope", "qwen-plus", {"temperature": 1.99, "top_p": 1, "seed": 0, "enable_search": True, "top_k": 20}),
    ("deepseek", "deepseek-chat", {"stop": [str(number) for number in range(16)], "thinking": {"type": "enabled"}}),
    ("moonshot", "kimi-latest", {"temperature": 1, "max_tokens": 5}),
    ("vllm", "anything", {"guided_json": {"type": "object"}, "top_k": -1, "temperature": 5, "something_new": 1}),
    ("own", "anything", {"something_new": {"deep": 1}, "temperature": 0.1}),
]


@pytest.mark.parametrize(("name", "model", "given"), USUAL)
def test_what_is_documented_is_not_talked_about(name: str, model: str, given: dict[str, Any]) -> None:
    """A warning that comes every time is read by nobody."""
    assert said(name, model, given) == []


WRONG: list[tuple[str, str, dict[str, Any], str]] = [
    ("glm", "glm-4.6", {"temperature": 1.01}, "error: model.parameters.temperature = 1.01: expected a number from 0 to 1"),
    ("glm", "glm-4.6", {"temperature": True}, "error: model.parameters.temperature = true: expected a number"),
    ("glm", "glm-4.6", {"temperature": "0.1"}, 'error: model.parameters.temperature = "0.1": expected a number'),
    ("glm", "glm-4", {"temperature": 1.01}, "error: model.parameters.temperature = 1.01: expected a number from 0 to 1"),
    ("openai", "o3", {"temperature": 2.1}, "error: model.parameters.temperature = 2.1: expected a number from 0 to 2"),
    ("glm", "glm-4", {"stop": list("abcde")}, "error: model.parameters.stop = "),
    ("glm", "glm-4", {"temperature": 0}, "warning: model.parameters.temperature = 0: glm-4 is documented to take a numb"),
    ("glm", "glm-3-turbo", {"temperature": 1.0}, "warning: model.parameters.temperature = 1.0: glm-3-turbo is document"),
    ("simulator", "GLM-4V", {"top_p": 1}, "warning: model.parameters.top_p = 1: GLM-4V is documented to take a number ab"),
    ("glm", "glm-4.6", {"top_p": 0}, "error: model.parameters.top_p = 0: expected a number from 0.01 to 1"),
    ("glm", "glm-4.6", {"max_tokens": 0}, "error: model.parameters.max_tokens = 0: expected a whole number from 1 up"),
    ("glm", "glm-4.6", {"max_tokens": 1.5}, "error: model.parameters.max_tokens = 1.5: expected a whole number"),
    ("glm", "glm-4-plus", {"max_tokens": 4096}, ("warning: model.parameters.max_tokens = 4096: glm-4-plus is documented to "
     "write at most 4,095 tokens")),
    ("glm", "glm-4.6v", {"max_tokens": 40_000}, ("warning: model.parameters.max_tokens = 40000: glm-4.6v is documented to "
     "write at most 32,768")),
    ("glm", "glm-4.6", {"stop": "x"}, 'error: model.parameters.stop = "x": expected a list of texts, at most 4; BigModel takes'),
    ("glm", "glm-4.6", {"stop": list("abcde")}, "error: model.parameters.stop = "),
    ("glm", "glm-4.6", {"stop": [1]}, "error: model.parameters.stop.0 = 1: expected a text"),
    ("glm", "glm-4", {"stop": ["a", "b"]}, "warning: model.parameters.stop = "),
    ("glm", "glm-4.6", {"n": 2}, "error: model.parameters.n = 2: expected 1; a row has one answer"),
    ("glm", "glm-4.6", {"n": 1}, "warning: model.parameters.n = 1: is never sent to glm, which does not document it"),
    ("glm", "glm-4.6", {"logprobs": True}, "warning: model.parameters.logprobs = true: is never sent to glm"),
    ("glm", "glm-4.6", {"stream_options": {}}, "error: model.parameters.stream_options = {…}: is set by promptmill"),
    ("glm", "glm-4.6", {"temprature": 0.1}, ("warning: model.parameters.temprature = 0.1: is not known at glm and is sent "
     "as it is. Did you mean temperature?")),
    ("glm", "glm-4.6", {"zzz": 1}, "warning: model.parameters.zzz = 1: is not known at glm and is sent as it is"),
    ("glm", "glm-4", {"thinking": {"type": "enabled"}}, "warning: model.parameters.thinking = {…}: is for GLM-4.5 and"),
    ("glm", "glm-4.6", {"thinking": {"type": "on"}}, 'error: model.parameters.thinking.type = "on": expected "enabled" or'),
    ("glm", "glm-4.6", {"thinking": True}, "error: model.parameters.thinking = true: expected a table"),
    ("zai", "glm-5.3", {"thinking": {"type": "disabled"}}, 'warning: model.parameters.thinking.type = "disabled": glm-5.3'),
    ("zai", "glm-4.7", {"reasoning_effort": "low"}, 'warning: model.parameters.reasoning_effort = "low": is for GLM-5.2'),
    ("glm", "glm-4.6", {"meta": {}}, "warning: model.parameters.meta = {…}: is for the role-play models"),
    ("glm", "glm-4.6", {"seed": 1}, "warning: model.parameters.seed = 1: has no documented effect"),
    ("glm", "glm-4.6", {"watermark_enabled": True}, "warning: model.parameters.watermark_enabled = true: is not known at"),
    ("glm", "glm-4.6", {"user_id": "abc"}, 'error: model.parameters.user_id = "abc": expected a text, 6 to 128 characters'),
    ("glm", "glm-4.6", {"response_format": {"type": "json_schema"}}, "warning: model.parameters.response_format.type = "),
    ("glm", "glm-4v-plus", {"response_format": {"type": "text"}}, "warning: model.parameters.response_format = {…}: is fo"),
    ("glm", "glm-4.6", {"do_sample": False, "top_p": 0.5}, "warning: model.parameters.top_p = 0.5: is ignored with do_sam"),
    ("glm", "glm-4.6", {"tool_stream": True}, "warning: model.parameters.tool_stream = true: has no effect on the lane s"),
    ("openai", "gpt-5-mini", {"max_tokens": 9}, ("error: model.parameters.max_tokens = 9: is refused by models that reason: "
     "use max_completion_tokens")),
    ("openai", "o3-mini", {"max_tokens": 9}, "error: model.parameters.max_tokens = 9: is refused by models that reason"),
    ("openai", "gpt-5.1", {"temperature": 0.5}, "warning: model.parameters.temperature = 0.5: gpt-5.1 is documented to tak"),
    ("openai", "gpt-4.1", {"n": 2}, "error: model.parameters.n = 2: expected 1"),
    ("openai", "gpt-4.1", {"stop": list("abcde")}, "error: model.parameters.stop = "),
    ("openai", "gpt-4.1", {"stream": True}, "error: model.parameters.stream = true: is set by promptmill for the lane"),
    ("openai", "gpt-4.1", {"logprobs": True}, "warning: model.parameters.logprobs = true: are asked for and not kept"),
    ("openai", "gpt-4.1", {"top_logprobs": 3}, "warning: model.parameters.top_logprobs = 3: needs logprobs = true"),
    ("openai", "gpt-4.1", {"logit_bias": {"50256": -101}}, "error: model.parameters.logit_bias.50256 = -101: expected a nu"),
    ("openai", "gpt-4.1", {"frequency_penalty": 2.1}, ("error: model.parameters.frequency_penalty = 2.1: expected a number "
     "from -2 to 2")),
    ("openai", "gpt-4.1", {"response_format": {"type": "json_schema", "json_schema": {"name": "a b"}}},
     'error: model.parameters.response_format.json_schema.name = "a b": expected a text of the form'),
    ("openai", "gpt-4.1", {"metadata": {"a": 1}}, "error: model.parameters.metadata.a = 1: expected a text"),
    ("openai", "gpt-4.1", {"service_tier": "flex"}, 'warning: model.parameters.service_tier = "flex": changes the price'),
    ("openai", "gpt-4.1", {"functions": []}, "error: model.parameters.functions = []: is the old form"),
    ("dashscope", "qwen-plus", {"temperature": 2}, "error: model.parameters.temperature = 2: expected a number from 0 to b"),
    ("dashscope", "qwen-plus", {"top_p": 0}, "error: model.parameters.top_p = 0: expected a number above 0 to 1"),
    ("dashscope", "qwen-plus", {"seed": 2**31}, ("error: model.parameters.seed = 2147483648: expected a whole number from 0"
     " to 2147483647")),
    ("dashscope", "qwen3-8b", {"enable_thinking": True}, "warning: model.parameters.enable_thinking = true: some models th"),
    ("deepseek", "deepseek-chat", {"stop": [""] * 17}, "error: model.parameters.stop = "),
    ("deepseek", "deepseek-reasoner", {"temperature": 1}, "warning: model.parameters.temperature = 1: has no effect"),
    ("deepseek", "deepseek-reasoner", {"logprobs": True}, "error: model.parameters.logprobs = true: is refused by this"),
    ("moonshot", "kimi-latest", {"temperature": 1.5}, "error: model.parameters.temperature = 1.5: expected a number from 0"),
    ("moonshot", "kimi-k2.5", {"temperature": 0.6}, "warning: model.parameters.temperature = 0.6: is fixed for several of"),
    ("vllm", "x", {"temprature": 1}, "warning: model.parameters.temprature = 1: is not known at vllm and is sent as it is"),
    ("own", "x", {"seed": 1}, "warning: model.parameters.seed = 1: is never sent to own, as the table says"),
    ("own", "x", {"n": 3}, "error: model.parameters.n = 3: expected 1"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "model", "given", "expected"), WRONG)
def test_what_is_wrong_or_doubtful_is_one_line_with_the_way_out(
    name: str, model: str, given: dict[str, Any], expected: str
) -> None:
    """An error for what is refused, a warning for what may be; upper and lower case of a model are the same."""
    found = said(name, model, given)
    assert len(found) == 1
    assert found[0].startswith(expected)


NAMED = {"type": "function", "function": {"name": "add"}}


@pytest.mark.parametrize(
    ("name", "model", "choice", "expected"),
    [
        ("glm", "glm-4", "auto", None),
        ("glm", "glm-4", "required", "warning"),
        ("glm", "glm-4", "none", "warning"),
        ("glm", "glm-4", NAMED, "warning"),
        ("glm", "glm-4", "add", "warning"),
        ("glm", "glm-4", {"name": "add"}, "warning"),
        ("openai", "gpt-4.1", "auto", None),
        ("openai", "gpt-4.1", "required", None),
        ("openai", "gpt-4.1", "none", None),
        ("openai", "gpt-4.1", NAMED, None),
        ("openai", "gpt-4.1", {"type": "allowed_tools", "allowed_tools": {}}, None),
        ("openai", "gpt-4.1", "add", "error"),
        ("openai", "gpt-4.1", {"name": "add"}, "error"),
        ("dashscope", "qwen-plus", NAMED, None),
        ("dashscope", "qwen-plus", "required", "error"),
        ("dashscope", "deepseek-v3", "required", "warning"),
        ("dashscope", "qwen-plus", "add", "warning"),
        ("deepseek", "deepseek-chat", "required", None),
        ("deepseek", "deepseek-reasoner", "required", "error"),
        ("deepseek", "deepseek-chat", {"name": "add"}, "warning"),
        ("moonshot", "kimi-latest", "none", None),
        ("moonshot", "kimi-latest", "required", "warning"),
        ("vllm", "x", "required", None),
        ("vllm", "x", NAMED, None),
        ("glm", "glm-4", 5, "error"),
        ("glm", "glm-4", {"type": "function"}, "error"),
        ("openai", "gpt-4.1", {"type": "function", "function": {"name": "ad"}}, "error"),
        ("glm", "glm-4", "multiply", "error"),
    ],
)
def test_a_forced_tool_is_written_as_its_service_takes_it(
    name: str, model: str, choice: Any, expected: str | None
) -> None:
    """The table of forms: every form at every service; a function that is not there is an error everywhere."""
    found = said(name, model, {"tool_choice": choice}, tools=("add",))
    levels = {line.partition(":")[0] for line in found}
    assert ("error" if "error" in levels else next(iter(levels), None)) == expected


def test_a_thinking_model_of_deepseek_is_not_forced() -> None:
    """It answers 400."""
    thinking = {"tool_choice": "required", "thinking": {"type": "enabled"}}
    assert said("deepseek", "deepseek-chat", thinking, tools=("add",))[0].startswith(
        "error: model.parameters.tool_choi"
    )


def test_a_choice_without_tools_is_pointed_out() -> None:
    """Nothing to choose from."""
    assert said("glm", "glm-4", {"tool_choice": "auto"}) == [
        'warning: model.parameters.tool_choice = "auto": says how to use tools, and the job has none: take it out'
    ]


def test_of_several_kinds_of_tools_the_winner_is_named() -> None:
    """At BigModel function > retrieval > web_search; our own functions count."""
    tools = [{"type": "web_search", "web_search": {}}, {"type": "retrieval", "retrieval": {}}]
    assert said("glm", "glm-4", {"tools": tools}) == [
        "warning: model.parameters.tools: only one kind of tool takes effect: retrieval wins, web_search will do nothing"
    ]
    assert "function wins, retrieval and web_search" in said("glm", "glm-4", {"tools": tools}, tools=("add",))[0]
    assert said("glm", "glm-4", {"tools": tools[:1]}) == []


@pytest.mark.parametrize(
    ("tool", "expected"),
    [
        ("x", "error: model.parameters.tools.0: expected a table with a type"),
        ({"type": "function"}, "error: model.parameters.tools.0.function.name: expected a name"),
        ({"type": "function", "function": {"name": "a b"}}, 'error: model.parameters.tools.0.function.name = "a b": '),
        (
            {"type": "function", "function": {"name": "add"}},
            'error: model.parameters.tools.0.function.name = "add": is in',
        ),
        (
            {"type": "function", "function": {"name": "sub"}},
            "warning: model.parameters.tools: nothing runs these functi",
        ),
    ],
)
def test_functions_in_a_parameter_are_checked_and_not_run(tool: Any, expected: str) -> None:
    """Their calls stay in the table; what is to run is in tools.module."""
    assert said("openai", "gpt-4.1", {"tools": [tool]}, tools=("add",))[0].startswith(expected)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=9,
)
NAMES = st.sampled_from(sorted({name for service in PROVIDERS.values() for name in service.fields})) | st.text(
    max_size=9
)


@given(st.sampled_from(sorted(PROVIDERS)), st.text(max_size=9), st.dictionaries(NAMES, JSON_VALUES, max_size=4))
def test_no_parameters_can_break_the_check(name: str, model: str, given: dict[str, Any]) -> None:
    """Whatever stands in a job or was built in code gives findings, not a traceback."""
    for line in said(name, model, given):
        assert "\n" not in line.partition(": ")[0]


SYSTEM: Message = {"role": "system", "content": "s"}
USER: Message = {"role": "user", "content": "u"}
ASSISTANT: Message = {"role": "assistant", "content": "a"}
RESULT: Message = {"role": "tool", "content": "5", "tool_call_id": "c"}


@pytest.mark.parametrize("messages", [[SYSTEM], [ASSISTANT], [SYSTEM, ASSISTANT], []])
def test_a_conversation_that_asks_nothing_is_refused_with_the_services_own_code(messages: list[Message]) -> None:
    """For free: it is never sent. Only where the service would refuse it, too."""
    for name in ("glm", "zai", "simulator"):
        failure = message_rules.refused(PROVIDERS[name], messages)
        assert failure is not None
        assert (failure.kind, failure.code, failure.verdict) == ("bad_request", "1214", "fail")
        assert failure.message.startswith("messages 参数非法。请检查文档。")
        assert not failure.sent
        found = message_rules.findings(PROVIDERS[name], "glm-4", messages)
        assert [finding.level for finding in found] == ["error"]
    assert message_rules.refused(PROVIDERS["openai"], messages) is None


@pytest.mark.parametrize(
    "messages", [[USER], [SYSTEM, USER], [USER, ASSISTANT], [SYSTEM, RESULT], [USER, ASSISTANT, USER]]
)
def test_a_conversation_that_asks_something_is_not(messages: list[Message]) -> None:
    """Wherever the question stands."""
    assert message_rules.refused(PROVIDERS["glm"], messages) is None
    assert message_rules.findings(PROVIDERS["glm"], "glm-4", messages) == []


def test_the_order_of_messages_is_warned_of() -> None:
    """A late system message is ignored, of several user messages the last one is answered."""
    found = message_rules.findings(PROVIDERS["glm"], "glm-4", [USER, SYSTEM, USER, USER])
    assert [(finding.level, finding.path) for finding in found] == [
        ("warning", ("messages", "1")),
        ("warning", ("messages", "3")),
    ]


def test_json_mode_wants_the_word() -> None:
    """OpenAI and Model Studio refuse it without; BigModel does not say so."""
    wanted = {"response_format": {"type": "json_object"}}
    for name, count in (("openai", 1), ("dashscope", 1), ("deepseek", 1), ("glm", 0), ("vllm", 0)):
        assert len(message_rules.findings(PROVIDERS[name], "m", [USER], wanted)) == count
        spoken: Message = {"role": "user", "content": [{"type": "text", "text": "as Json"}]}
        assert message_rules.findings(PROVIDERS[name], "m", [spoken], wanted) == []
        assert message_rules.findings(PROVIDERS[name], "m", [USER], {}) == []


def test_more_pictures_than_a_model_takes_are_pointed_out() -> None:
    """1, 5 or 50, by model."""
    picture = {"type": "image_url", "image_url": {"url": "https://x/y.png"}}
    message: Message = {"role": "user", "content": [picture, picture]}
    found = message_rules.findings(PROVIDERS["glm"], "glm-4v-flash", [message])
    assert [finding.text for finding in found] == ["2 images: glm-4v-flash is documented to take at most 1"]
    assert message_rules.findings(PROVIDERS["glm"], "glm-4v-plus-0111", [message]) == []
