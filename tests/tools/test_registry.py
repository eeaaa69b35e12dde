"""Tools files: what is found in them, and how they are refused."""

import sys
from pathlib import Path

import pytest

from batch.core.errors import JobError
from batch.tools.registry import ToolSet, tool

HEAD = "from batch.tools.registry import tool\n"


def written(folder: Path, text: str, name: str = "tools.py") -> Path:
    """A tools file with this text."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_marked_functions_are_found_in_the_order_of_the_file(tmp_path: Path) -> None:
    """Helpers, aliases and imported classes are no tools."""
    text = HEAD + (
        "def helper(x): return x\n"
        "@tool\ndef second(a: int) -> int: return a\n"
        "@tool(name='first', version='7')\nasync def other(b: str) -> str: return b\n"
        "alias = second\n"
    )
    tools = ToolSet.load(written(tmp_path, text))
    assert tools.names == ("second", "first")
    assert len(tools) == 2
    first, second = tools.get("first"), tools.get("second")
    assert first is not None
    assert second is not None
    assert (first.is_async, first.version, second.is_async, second.version) == (True, "7", False, "1")
    assert tools.get("helper") is None


def test_files_of_the_same_name_do_not_collide(tmp_path: Path) -> None:
    """Every job calls its file tools.py; dataclasses and postponed hints find their own module."""
    sets = []
    for value in (1, 2):
        folder = tmp_path / str(value)
        folder.mkdir()
        text = (
            "from __future__ import annotations\nfrom dataclasses import dataclass\n" + HEAD + f"N = {value}\n"
            "@dataclass\nclass P:\n    x: int = N\n@tool\ndef f(p: P) -> int: return N\n"
        )
        sets.append(ToolSet.load(written(folder, text)))
    functions = [entry.function for tools in sets if (entry := tools.get("f"))]
    assert [function(None) for function in functions] == [1, 2]
    assert "tools" not in sys.modules


def test_loading_leaves_nothing_in_the_job_folder(tmp_path: Path) -> None:
    """A job folder may be read-only, and belongs to its owner."""
    ToolSet.load(written(tmp_path, HEAD + "@tool\ndef f() -> int: return 1\n"))
    assert [path.name for path in tmp_path.iterdir()] == ["tools.py"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x = 1\ny = 1 / 0\n", "tools.py:2: ZeroDivisionError: division by zero"),
        ("def f(:\n", "tools.py:1: SyntaxError"),
        ("\nimport no_such_module_at_all\n", "tools.py:2: ModuleNotFoundError: No module named"),
        ("raise SystemExit(3)\n", "tools.py:1: SystemExit: 3"),
        ("def g():\n    return int('x')\n\ng()\n", "tools.py:2: ValueError"),
        ("import json\njson.loads('{')\n", "tools.py:2: JSONDecodeError"),
        ("x = '\0'\n", "tools.py"),
        ("x = 1\n", "no function in it is marked"),
        (HEAD + "@tool\nclass X: pass\n", "tools.py:2: TypeError: @tool belongs on a function"),
        (HEAD + "@tool(name='has space')\ndef f() -> int: return 1\n", "tools.py:2: tool 'has space': a name is"),
        (HEAD + f"@tool(name='{'x' * 65}')\ndef f() -> int: return 1\n", "a name is 1 to 64"),
        (HEAD + "@tool\ndef 加(a: int) -> int: return a\n", "give it one with @tool(name=…)"),
        (HEAD + "@tool\ndef f(a: set) -> int: return a\n", "tools.py:2: tool 'f', parameter 'a': the hint set is not"),
        (HEAD + "@tool\ndef f(a: 'Nope') -> int: return a\n", "type hints cannot be read (NameError"),
        (HEAD + "@tool\ndef f(a: int):\n    yield a\n", "a generator has no single result"),
        (
            HEAD + "@tool\ndef f() -> int: return 1\n@tool(name='f')\ndef g() -> int: return 1\n",
            "tools.py:4: a second tool is called 'f'",
        ),
    ],
)
def test_a_faulty_file_is_refused_with_file_line_and_reason(tmp_path: Path, text: str, says: str) -> None:
    """Before anything is sent; never with a traceback."""
    path = written(tmp_path, text)
    before = set(sys.modules)
    with pytest.raises(JobError) as caught:
        ToolSet.load(path)
    assert says in str(caught.value)
    assert str(path) in str(caught.value)
    assert not [name for name in set(sys.modules) - before if name.startswith("_promptmill")]


def test_functions_without_hints_are_offered_and_told_in_one_warning(tmp_path: Path) -> None:
    """Plain functions of a notebook work as they are; what is lost is said once, whatever their number."""
    path = written(tmp_path, HEAD + "@tool\ndef f(a, b: int, c=1): return a\n@tool\ndef g(x): return x\n" + HEAD)
    tools = ToolSet.load(path)
    properties = [schema["function"]["parameters"]["properties"] for schema in tools.schemas()]
    assert properties == [{"a": {}, "b": {"type": "integer"}, "c": {"default": 1}}, {"x": {}}]
    assert tools.schemas()[0]["function"]["parameters"]["required"] == ["a", "b"]
    (warning,) = tools.warnings
    assert "f(a, c), g(x)" in warning
    assert str(path) in warning
    assert "`a: float`" in warning
    hinted = ToolSet.load(written(tmp_path, HEAD + "@tool\ndef f(a: int): return a\n"))
    assert hinted.warnings == ToolSet.empty().warnings == ()


def test_a_long_list_of_functions_without_hints_is_cut(tmp_path: Path) -> None:
    """A warning is read, a page is not."""
    (warning,) = ToolSet.load(
        written(tmp_path, HEAD + "".join(f"@tool\ndef f{n}(a): return a\n" for n in range(20)))
    ).warnings
    assert "f7(a) and 12 more" in warning


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """The message points at the key of the job."""
    with pytest.raises(JobError, match=r"No such file.*\[tools\] module"):
        ToolSet.load(tmp_path / "tools.py")


def test_the_fingerprint_part_changes_with_schema_and_version_only() -> None:
    """A raised version asks rows again, a changed body alone does not."""

    def make(version: str, default: int) -> ToolSet:
        @tool(version=version)
        def f(a: int = default) -> int:
            """Do it."""
            return a + default * 0

        return ToolSet.of([f])

    assert make("1", 0).digest_part() == make("1", 0).digest_part()
    assert make("1", 0).digest_part() != make("2", 0).digest_part()
    assert make("1", 0).digest_part() != make("1", 5).digest_part()
    assert make("1", 0).schemas() == make("2", 0).schemas()


def test_a_job_without_tools_has_an_empty_set() -> None:
    """Nothing is offered to the model then."""
    tools = ToolSet.empty()
    assert (tools.names, tools.schemas(), tools.digest_part(), tools.get("f")) == ((), (), [], None)


def test_an_unmarked_function_is_refused() -> None:
    """Only what its author offered is callable by a model."""
    with pytest.raises(JobError, match="not marked"):
        ToolSet.of([len])


def test_what_has_effects_is_not_pure() -> None:
    """The mark is refused where it stands."""
    with pytest.raises(TypeError, match="what has effects is not pure"):
        tool(effects=True, cache=True)


def test_effects_and_cache_are_known_of_a_tool_and_no_part_of_the_question() -> None:
    """Marking a tool asks no row again."""

    def look(a: int) -> int:
        """Look."""
        return a

    plain = ToolSet.of([tool(look)])
    acting, pure = ToolSet.of([tool(effects=True)(look)]), ToolSet.of([tool(cache=True)(look)])
    assert plain.digest_part() == acting.digest_part() == pure.digest_part()
    assert [(one.effects, one.cache) for one in (acting.get("look"), pure.get("look")) if one] == [
        (True, False),
        (False, True),
    ]


def test_a_set_may_be_cut_down_to_some_of_its_tools_in_the_order_of_the_file() -> None:
    """The order of the names in the job is not that of the request."""

    @tool
    def one() -> int:
        """One."""
        return 1

    @tool
    def two() -> int:
        """Two."""
        return 2

    @tool
    def three() -> int:
        """Three."""
        return 3

    tools = ToolSet.of([one, two, three])
    assert tools.only(["three", "one"]).names == ("one", "three")
    assert tools.only(tools.names).digest_part() == tools.digest_part()
    with pytest.raises(JobError, match="no tool 'tree'. Did you mean three"):
        tools.only(["tree"])
    with pytest.raises(JobError, match="names no tool"):
        tools.only([])
