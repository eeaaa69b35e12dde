"""The house of `batch/`: wings in order, entered by their doors; each module owns one noun and fits on a few screens."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "batch"

WINGS: dict[str, str] = {
    "core": "*",
    "job": "job endpointspec labelspec faults keys lanes options providers toolspec budgetspec bulkspec shard",
    "money": "prices advice pricekeys rates bounds days pots",
    "tokens": "measure model calibration learner",
    "tools": "registry execute shared content confinement workers shipped",
    "labels": "schema loading asking answers tries nodes samples confidence votes quality",
    "http": "client download environment headers sse urls wirelog",
    "ledger": "writer direct reader copies effects published unpublished pruning index totals model_sums schema wal "
    "saved waves orphans paid late levels bounds totals_texts",
    "input": "source batches content spill",
    "limits": "limiter endpoints sharing used holding lease outage sockets tokens hours pollrate",
    "providers": "registry pool keysource base batch_files stream service parameters message_rules folding",
    "prompts": "variants template inserts conversation steps labelled judging images finish_reasons",
    "output": "columns folder place integrity publish parts files tables rebuild removal labelled mirror uploads shards "
    "unreadable answers",
    "submit": "attempt targets books observer call_ids rows evidence overtime policy polls sync stream task bulk results "
    "retry afford purse slices untold reached wave_holds lost_lines",
    "plan": "preflight kept continuation numbers planner lookups question admission respill gone tooling budgeting "
    "sizes survey spending pricing forecast doctor doctor_provider timely",
    "run": "blocking command metrics_file metric_families progress prune status_files",
    "report": "*",
    "cli": "",
}
"""Every wing, from the ground up, and its doors: a module imports only from wings above it in this list, and from outside
a wing only its doors. `*`: every module of it is one."""
ORDER = list(WINGS)
OUTSIDE = {"", "__main__", "simulator"}
"""`batch` itself, which re-exports, its entry point, and the provider, which shares nothing with what it judges."""

LONGEST_MODULE, LONGEST_FUNCTION = 350, 60
LONGER: dict[str, int] = {}
"""Modules (`a/b.py`) and functions (`a/b.py:name`) that are longer, with their exact length; they may only shrink."""

PRINTS = {"print", "builtins.print"}
MODULES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))


def unit(module: str) -> str:
    """What `batch.<module>` stands under in the table: its first part."""
    return module.partition(".")[0]


def dotted(path: Path) -> str:
    """`a/b.py` → `a.b`, `a/__init__.py` → `a`, `__init__.py` → ``."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {dotted(path) for path in MODULES}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse((PACKAGE / path).read_text(encoding="utf-8"))


@pytest.fixture(autouse=True, scope="module")
def _trees_for_this_module() -> Iterator[None]:
    """They are read once for all that looks at them, and every later collection of garbage would look at them, too."""
    yield
    tree.cache_clear()


def imports(path: Path, *, only_at_import: bool = False) -> set[str]:
    """The modules of `batch` that this one imports, inside functions and under TYPE_CHECKING too."""
    found: set[str] = set()
    for node in _at_import(tree(path)) if only_at_import else ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name.removeprefix("batch.") for alias in node.names if alias.name.startswith("batch.")}
            assert all(alias.name != "batch" for alias in node.names), f"{path}:{node.lineno}"
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise AssertionError(f"{path}:{node.lineno}: imports are absolute")
            if node.module == "batch":
                found |= {alias.name for alias in node.names}
            elif node.module and node.module.startswith("batch."):
                inner = node.module.removeprefix("batch.")
                found |= {
                    f"{inner}.{alias.name}" if f"{inner}.{alias.name}" in NAMES else inner for alias in node.names
                }
    return found


def _at_import(node: ast.AST) -> Iterator[ast.AST]:
    """What runs when the module is imported: no function bodies, nothing under TYPE_CHECKING."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from _at_import(child)


def test_every_wing_stands_in_the_list() -> None:
    """A new wing says where it stands before it imports anything; doors that were walled up leave the list."""
    assert {unit(name) for name in NAMES} - OUTSIDE == set(WINGS)
    assert not {f"{wing}.{door}" for wing, doors in WINGS.items() if doors != "*" for door in doors.split()} - NAMES, (
        "doors that are no modules"
    )


def test_a_wing_names_its_doors() -> None:
    """Whoever opens a wing sees in its `__init__.py` which of its modules are for others."""
    for wing, doors in WINGS.items():
        _, _, named = (ast.get_docstring(tree(Path(wing, "__init__.py"))) or "").partition("Door")
        unnamed = [] if doors == "*" else [door for door in doors.split() if f"`{door}`" not in named]
        assert unnamed == [], f"batch/{wing}/__init__.py"


@pytest.mark.parametrize("own", ORDER)
def test_a_wing_imports_only_from_those_above_it_and_by_their_doors(own: str) -> None:
    """Data goes one way; inside a wing its modules may use each other, unless that makes a circle."""
    for path in (path for path in MODULES if unit(dotted(path)) == own):
        for name in imports(path):
            other = unit(name)
            if other in {own, *({"simulator"} if own == "cli" else ())}:
                continue
            assert other in ORDER[: ORDER.index(own)], f"{path}: {name} stands below {own}"
            door = name.removeprefix(f"{other}.").partition(".")[0]
            assert WINGS[other] == "*" or door in WINGS[other].split(), f"{path}: {name} is no door"


def test_the_simulator_shares_nothing_with_what_it_judges() -> None:
    """A shared constant would hide a shared mistake; only the command starts it."""
    for path in MODULES:
        own, used = unit(dotted(path)), {unit(name) for name in imports(path)}
        if own == "simulator":
            assert used <= {"simulator"}, path
        elif own != "cli":
            assert "simulator" not in used, path


def test_no_module_is_imported_by_what_it_imports() -> None:
    """Also inside a package, and at import time alone: an import never depends on who was first."""
    needs = {dotted(path): imports(path, only_at_import=True) & NAMES for path in MODULES}
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " → ".join((*above, name))
        if name not in done:
            for inner in sorted(needs[name]):
                visit(inner, (*above, name))
            done.add(name)

    for name in sorted(NAMES):
        visit(name, ())


def test_only_the_package_itself_offers_names_of_others() -> None:
    """Inner `__init__` files hold a docstring; `batch.cli` has the entry point of the command besides."""
    for path in MODULES:
        if path.name == "__init__.py" and path.parent != Path():
            used = imports(path)
            assert used <= ({"cli.app"} if path.parent == Path("cli") else set()), path
        if path.name != "__init__.py":
            names = [ast.unparse(t) for node in tree(path).body if isinstance(node, ast.Assign) for t in node.targets]
            assert "__all__" not in names, path


@pytest.mark.slow
def test_the_public_surface_is_what_the_package_says() -> None:
    """Every name of `__all__` is there; importing the package alone loads neither Arrow nor SQLite."""
    program = (
        "import sys, batch\n"
        "heavy = {'pyarrow', 'apsw', 'anyio', 'httpx'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert all(getattr(batch, name) is not None for name in batch.__all__)\n"
        "assert set(batch.__all__) <= set(dir(batch))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def _named(node: ast.AST) -> str:
    """The last part of a name; empty for what is none."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def test_every_task_belongs_to_a_group_and_nobody_prints_but_the_command() -> None:
    """`create_task`, `gather` and `ensure_future` leave tasks that nobody owns; stdout is for data."""
    for path in MODULES:
        for node in ast.walk(tree(path)):
            name = _named(node)
            where = f"{path}:{getattr(node, 'lineno', 0)}"
            assert name not in {"create_task", "gather", "ensure_future", "run_coroutine_threadsafe"}, where
            if isinstance(node, ast.Call) and _named(node.func) == "print" and ast.unparse(node.func) in PRINTS:
                assert unit(dotted(path)) == "cli" or path == Path("simulator/server.py"), where


def test_only_the_clock_reads_a_clock_or_sleeps() -> None:
    """Else a test could not move it by hand; the simulator has a clock of its own, and what is shown to people is now."""
    forbidden = {"time.time", "time.monotonic", "time.sleep", "asyncio.sleep", "datetime.now", "datetime.utcnow"}
    for path in MODULES:
        if dotted(path) == "core.clock" or unit(dotted(path)) in {"simulator", "cli", "report"}:
            continue
        attributes = (node for node in ast.walk(tree(path)) if isinstance(node, ast.Attribute))
        found = {ast.unparse(node) for node in attributes if node.attr in {name.split(".")[1] for name in forbidden}}
        assert not found & forbidden, path


@cache
def lengths() -> dict[str, int]:
    """Lines of every module, and of every function and method with its decorators."""
    found: dict[str, int] = {}
    for path in MODULES:
        parsed = tree(path)
        found[str(path)] = len((PACKAGE / path).read_text(encoding="utf-8").splitlines())
        for node in ast.walk(parsed):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                start = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
                assert node.end_lineno is not None
                key = f"{path}:{node.name}"
                found[key] = max(found.get(key, 0), node.end_lineno - start + 1)
    return found


def test_modules_and_functions_stay_short() -> None:
    """400 lines a module, 60 a function; what is longer stands in `LONGER` and may only shrink."""
    longer = {
        name: lines
        for name, lines in lengths().items()
        if lines > (LONGEST_FUNCTION if ":" in name else LONGEST_MODULE)
    }
    assert longer == LONGER


def test_nine_functions_of_ten_are_seen_at_a_glance() -> None:
    """30 lines or fewer."""
    functions = [lines for name, lines in lengths().items() if ":" in name]
    assert sum(lines <= 30 for lines in functions) >= 0.9 * len(functions)


def test_every_module_says_what_it_owns() -> None:
    """A docstring that begins with a sentence of its own."""
    texts = {path: ast.get_docstring(tree(path)) or "" for path in MODULES if path.name != "__main__.py"}
    assert [path for path, text in texts.items() if len(text.partition("\n")[0]) < 20] == []


def test_no_docstring_says_who_uses_it() -> None:
    """Such a line is not changed when its user is: of 45 there once were, 5 were false. `grep` knows better."""
    said = re.compile(r"\bused\s+by\b", re.IGNORECASE)
    for path in MODULES:
        if not said.search((PACKAGE / path).read_text(encoding="utf-8")):
            continue
        for node in ast.walk(tree(path)):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                assert not said.search(ast.get_docstring(node) or ""), f"{path}: {getattr(node, 'name', 'the module')}"
