"""Tells whether a tool does what it did: a hash of its source, and of what it uses of its own file.

Owns what counts as a change: the code of the function, of functions and classes of the same file that it names,
however far, and of plain constants it names. Comments, layout and docstrings do not count, and neither does what it
imports. The hash only warns; what asks rows again is the version of the tool.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
import types
from collections.abc import Callable, Iterator
from hashlib import blake2b
from typing import Any

_PLAIN = (str, bytes, int, float, bool, tuple, type(None))


def source_digest(function: Callable[..., Any]) -> str:
    """A hash of what a function does, as 16 hex digits; empty when its source cannot be read."""
    try:
        parts = dict(_parts(inspect.unwrap(function)))
    except (OSError, TypeError, SyntaxError, ValueError, RecursionError):
        return ""
    text = "\n".join(f"{name}: {parts[name]}" for name in sorted(parts))
    return blake2b(text.encode("utf-8", "replace"), digest_size=8).hexdigest()


def _parts(function: Callable[..., Any]) -> Iterator[tuple[str, str]]:
    """The function and all that it names of its own file, by name."""
    namespace = getattr(function, "__globals__", {})
    module = function.__module__
    met: set[str] = {function.__name__}
    yield function.__name__, _code(function)
    waiting = _names(function.__code__)
    while waiting:
        name = waiting.pop()
        value = namespace.get(name)
        if name in met or name not in namespace:
            continue
        met.add(name)
        if isinstance(value, types.FunctionType | type) and value.__module__ == module:
            yield name, _code(value)
            members = vars(value).values() if isinstance(value, type) else (value,)
            waiting |= {used for one in members if isinstance(one, types.FunctionType) for used in _names(one.__code__)}
        elif isinstance(value, _PLAIN):
            yield name, repr(value)


def _names(code: types.CodeType) -> set[str]:
    """The global names that a piece of code uses, those of the functions inside it included."""
    inner = [_names(part) for part in code.co_consts if isinstance(part, types.CodeType)]
    return set(code.co_names).union(*inner)


def _code(thing: Any) -> str:
    """The code without its layout, comments, docstring and decorators."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(thing))).body
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            node.decorator_list = []
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and len(node.body) > 1:
                del node.body[0]
    return ast.unparse(tree)
