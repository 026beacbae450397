"""The core is a function of its arguments: it imports nothing that reaches the world, and asks for no clock."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import backprop.plan

ROOT = Path(backprop.plan.__path__[0])
FILES = sorted(str(path.relative_to(ROOT)) for path in ROOT.rglob("*.py"))
PURE = frozenset(
    {"__future__", "array", "attrs", "bisect", "cattrs", "collections", "datetime", "difflib", "enum", "functools"}
    | {"hashlib", "html", "itertools", "json", "math", "numpy", "operator", "re", "shlex", "typing", "unicodedata"}
)
EXCEPTIONS = {
    "settings/commands.py": frozenset({"importlib"}),
    "memory/autograd.py": frozenset({"contextlib", "heapq", "weakref", "id()"}),
    "memory/operators.py": frozenset({"id()"}),
}
"""What a command takes is loaded when it is asked for; simulated tensors are alive while something refers to them."""
IMPURE_CALLS = frozenset(
    {"open", "print", "input", "hash", "id", "eval", "exec", "compile", "__import__", "breakpoint"}
)
"""Builtins that reach the world, or whose value differs from one process to the next."""
CLOCKS = frozenset({"now", "utcnow", "today"})


def offences(source: str, allowed: frozenset[str] = PURE) -> Iterator[str]:
    """Each import and call in the source that the core may not have."""
    for node in ast.walk(ast.parse(source)):
        for module in _imported(node):
            if module.split(".")[0] not in allowed and not f"{module}.".startswith("backprop.plan."):
                yield f"line {node.lineno}: imports {module}"  # type: ignore[attr-defined]
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id in IMPURE_CALLS and f"{node.func.id}()" not in allowed:
                yield f"line {node.lineno}: calls {node.func.id}()"
        elif isinstance(node, ast.Attribute) and node.attr in CLOCKS:
            yield f"line {node.lineno}: asks for .{node.attr}"


def _imported(node: ast.AST) -> tuple[str, ...]:
    if isinstance(node, ast.Import):
        return tuple(alias.name for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        return ("." * node.level + (node.module or ""),)
    return ()


@pytest.mark.parametrize("name", FILES)
def test_a_module_of_the_core_is_pure(name: str) -> None:
    allowed = PURE | EXCEPTIONS.get(name, frozenset())
    assert list(offences((ROOT / name).read_text("utf-8"), allowed)) == []


def test_every_exception_is_a_module_that_needs_it() -> None:
    for name, modules in EXCEPTIONS.items():
        found = list(offences((ROOT / name).read_text("utf-8")))
        assert {offence.rsplit(" ", 1)[1] for offence in found} == modules


@pytest.mark.parametrize(
    "source",
    [
        "import os",
        "import os.path",
        "from time import time",
        "def late():\n    import random",
        "from backprop.effects import log",
        "from backprop import train",
        "import backprop.planner",
        "from . import events",
        "open('x')",
        "print(1)",
        "hash('a')",
        "import datetime\ndatetime.datetime.now()",
        "from datetime import date\nclock = date.today",
        "datetime.utcnow()",
    ],
)
def test_what_reaches_the_world_is_found(source: str) -> None:
    assert list(offences(source))


def test_what_is_pure_is_left_alone() -> None:
    source = (
        "import re\nfrom collections.abc import Mapping\nfrom backprop.plan.data import rows\nre.compile('a')\nnow = 1"
    )
    assert list(offences(source)) == []
