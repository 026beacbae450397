"""The catalogue of errors: every code is used, every used code is there, and each exits as promised."""

from __future__ import annotations

import ast
import pickle
import re
from pathlib import Path

import pytest

import backprop
from backprop.plan.decision import Problem, warning
from backprop.plan.errors import CATALOGUE, FAMILY_EXIT_CODE, BackpropError, Family, hint_for
from backprop.plan.exit_code import exit_code_for

SOURCE = Path(backprop.__file__).parent
CODE = re.compile(rf"(?:{'|'.join(f.value for f in Family)})_[A-Z0-9_]+")
EXIT_CODES = {
    "INPUT_PATH_UNUSABLE": 77,
    "INPUT_DATASET_REPORT_THRESHOLD": 65,
    "INPUT_DATASET_VALIDATION_FAILED": 65,
    "DEP_PACKAGE_MISSING": 1,
    "HUB_UNREACHABLE": 69,
    "HUB_PUSH_NETWORK": 69,
    "HUB_PUSH_SECRET": 1,
    "RUNTIME_TRAINING_ABORTED": 130,
    "RUNTIME_GPU_OOM": 137,
    "RUNTIME_PERMISSION_DENIED": 77,
    "RUNTIME_INTERRUPTED": 130,
    "RUNTIME_BUG": 70,
    "STATE_RUN_ACTIVE": 1,
    "STATE_INPUTS_CHANGED": 1,
}
"""What differs from the exit code of the family."""


def codes_in(path: Path) -> set[str]:
    """The texts in a module that look like error codes, and are not part of a longer text."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    texts = {n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    return {text for text in texts if CODE.fullmatch(text)}


def test_an_error_passes_from_one_process_to_another() -> None:
    problems = (Problem("CONFIG_INVALID", "one"), Problem("CONFIG_INVALID", "two", where="x"))
    copy = pickle.loads(pickle.dumps(BackpropError(*problems)))
    assert (type(copy), copy.problems, str(copy)) == (
        BackpropError,
        problems,
        "[CONFIG_INVALID] one; [CONFIG_INVALID] two",
    )


def used_codes() -> set[str]:
    modules = (p for p in SOURCE.rglob("*.py") if p != SOURCE / "plan" / "errors.py")
    return set().union(*(codes_in(p) for p in modules))


def test_every_code_that_is_used_is_in_the_catalogue() -> None:
    assert used_codes() - CATALOGUE.keys() == set()


def test_every_code_of_the_catalogue_is_used() -> None:
    assert CATALOGUE.keys() - used_codes() == set()


@pytest.mark.parametrize("code", CATALOGUE)
def test_each_code_exits_as_promised(code: str) -> None:
    expected = EXIT_CODES.get(code, FAMILY_EXIT_CODE[Family(code.split("_")[0])])
    assert exit_code_for([Problem(code, "")]) == expected


@pytest.mark.parametrize("entry", CATALOGUE.values(), ids=lambda e: e.code)
def test_each_entry_says_what_it_means_and_the_next_step_in_sentences(entry: object) -> None:
    assert isinstance(entry, type(CATALOGUE["CONFIG_INVALID"]))
    assert entry.meaning.endswith(".")
    assert entry.hint.endswith(".")


def test_the_first_stopping_problem_decides_and_warnings_do_not() -> None:
    said, bad, bug = warning("RUNTIME_GPU_OOM", ""), Problem("CONFIG_INVALID", ""), Problem("RUNTIME_BUG", "")
    assert exit_code_for([said]) == 0
    assert exit_code_for([said, bad, bug]) == 1
    assert exit_code_for([said, bug, bad]) == 70


def test_a_problem_without_a_hint_has_that_of_its_code() -> None:
    assert hint_for(Problem("CONFIG_INVALID", "")) == CATALOGUE["CONFIG_INVALID"].hint
    assert hint_for(Problem("CONFIG_INVALID", "", hint="This.")) == "This."


def test_an_error_reads_as_its_problems() -> None:
    error = BackpropError(Problem("CONFIG_INVALID", "One."), Problem("RUNTIME_BUG", "Two."))
    assert str(error) == "[CONFIG_INVALID] One.; [RUNTIME_BUG] Two."
