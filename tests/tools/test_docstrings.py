"""What a docstring says to the model: of the function, and of each parameter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.tools.docstrings import read_docstring


@pytest.mark.parametrize(
    ("text", "summary", "texts"),
    [
        (None, "", {}),
        ("Look: at\nit.\n\nTwice.", "Look: at it.\n\nTwice.", {}),
        ("Look.\n\nNote:\n    Slowly.\n\nArgs:\n    a: One.\n\n        Two.\n", "Look.", {"a": "One. Two."}),
        ("Look.\n\nAttributes:\n    a: no\n\nKeyword Args:\n    a (int, optional): yes\n", "Look.", {"a": "yes"}),
        ("Look.\n\nExample:\n    >>> look()\n\nRaises:\n    ValueError: a: b\n", "Look.", {}),
        ("Look.\n\nOther Parameters\n----------------\na : int\n    yes\n\nNotes\n-----\nno\n", "Look.", {"a": "yes"}),
        ("Look.\n\nArgs:\n    see the manual\n", "Look.\n\nArgs: see the manual", {}),
        ("Look.\n\n:param: broken\n", "Look.\n\n:param: broken", {}),
    ],
)
def test_what_a_docstring_says_goes_to_the_model_and_never_stops_a_tool(
    text: str | None, summary: str, texts: dict[str, str]
) -> None:
    """Sections that are not for the model are left out; what is in no known form is all text."""
    assert read_docstring(text)[:2] == (summary, texts)


@given(
    st.lists(
        st.sampled_from(
            [
                "Args:",
                "参数：",
                "x（float）：数",
                "返回:",
                "    a: x",
                ":param a: b",
                "Returns:",
                "----",
                "a : int",
                "",
                ":param:",
                "(",
                ":x",
                "@",
            ]
        )
        | st.text(max_size=8),
        max_size=8,
    )
)
def test_any_docstring_can_be_read(lines: list[str]) -> None:
    """A form that is begun and not kept must not keep a job from starting."""
    read_docstring("\n".join(lines))


TUTORIAL = """
    计算一个数的阶乘。
    结果是整数。

    参数:
    x (float): 要计算阶乘的数，
        非负
    y: 第二个数

    返回:
    float: x的阶乘

    示例:
    >>> factorial(5)
    120
    """
INDENTED = """计算一个数的阶乘。
    结果是整数。

    参数：
        x（float）：要计算阶乘的数，
            非负
        - y：第二个数

    返回值：
        x的阶乘
    """
MIXED = """计算一个数的阶乘。
    结果是整数。

    Args:
        x (float)：要计算阶乘的数，
            非负
        y： 第二个数
    Returns:
        float: x的阶乘
    """
SPHINX = """计算一个数的阶乘。
    结果是整数。

    :param x: 要计算阶乘的数，
        非负
    :param y: 第二个数
    :return: x的阶乘
    """


@pytest.mark.parametrize("text", [TUTORIAL, INDENTED, MIXED, SPHINX])
def test_chinese_docstrings_are_read_in_the_forms_of_the_tutorials(text: str) -> None:
    """With or without an indent below the heading, with full-width punctuation or without."""
    summary, parameters, _ = read_docstring(text)
    assert summary == "计算一个数的阶乘。 结果是整数。"
    assert parameters == {"x": "要计算阶乘的数， 非负", "y": "第二个数"}


@pytest.mark.parametrize(
    ("text", "summary", "parameters"),
    [
        ("查询天气。城市：北京", "查询天气。城市：北京", {}),
        ("查询天气。\n\n参数：\n\n    city：城市：任何语言", "查询天气。", {"city": "城市：任何语言"}),
        ("查询天气。\n参数说明：\n城市：名称", "查询天气。", {"城市": "名称"}),
        ("查询天气。\n\n注意：\n只在白天。", "查询天气。", {}),
        ("查询天气。\n\n参数：见手册", "查询天气。\n\n参数：见手册", {}),
    ],
)
def test_what_only_looks_like_a_heading_stays_text(text: str, summary: str, parameters: dict[str, str]) -> None:
    """A colon within a sentence opens no section."""
    assert read_docstring(text)[:2] == (summary, parameters)


def test_the_attributes_of_a_class_are_told_apart_from_parameters() -> None:
    """They are the texts of its fields."""
    assert read_docstring("A box.\n\nAttributes:\n    size: how large.\n").attributes == {"size": "how large."}
    assert read_docstring("盒子。\n\n属性：\nsize：大小\n").attributes == {"size": "大小"}
