"""What the client raises, told in our words."""

from __future__ import annotations

import errno
import importlib

import pytest
from huggingface_hub import errors

from backprop.effects.probe import hub_errors as translation
from backprop.effects.probe.hub_errors import NOT_FOUND, hub_errors
from backprop.plan.decision import Problem
from backprop.plan.errors import CATALOGUE, BackpropError

WRAPPED = errors.LocalEntryNotFoundError("An error happened while trying to locate the file on the Hub")


def told(error: BaseException, *, cause: BaseException | None = None) -> Problem:
    with pytest.raises(BackpropError) as raised, hub_errors("the model a/b", not_found="X_NOT_FOUND", where="--model"):
        raise error from cause
    return raised.value.problems[0]


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, "RUNTIME_DISK_FULL"),
        (errno.EDQUOT, "RUNTIME_DISK_FULL"),
        (errno.EACCES, "RUNTIME_PERMISSION_DENIED"),
        (errno.EROFS, "RUNTIME_PERMISSION_DENIED"),
    ],
)
def test_what_the_disk_refuses_is_not_the_hubs_fault(number: int, code: str) -> None:
    problem = told(OSError(number, "no"))
    assert problem.code == code
    assert problem.message.endswith("cannot be stored in the Hub cache: no.")
    assert problem.message.lower().count("the model a/b") == 1


def test_the_cause_tells_more_than_its_wrapper() -> None:
    assert "HF_HUB_OFFLINE" in told(WRAPPED, cause=errors.OfflineModeIsEnabled("off")).message
    assert told(WRAPPED).message == "The model a/b is not on this machine, and the Hub cannot be reached."


def test_a_name_that_cannot_be_is_not_found() -> None:
    assert told(errors.HFValidationError("bad")).code == "X_NOT_FOUND"


def test_an_error_of_unknown_kind_is_told_by_its_first_line_without_secrets() -> None:
    problem = told(OSError("refused hf_abcdefghijklmnopqrstuvwxyz012345\nmore"))
    assert problem.code == "HUB_RESPONSE_UNKNOWN"
    assert "refused" in problem.message
    assert "hf_abc" not in problem.message
    assert "more" not in problem.message


def test_our_own_mistakes_are_not_taken_for_the_hubs() -> None:
    with pytest.raises(KeyError), hub_errors("the model a/b", not_found="X", where=""):
        raise KeyError("ours")


def test_our_own_errors_pass_unchanged() -> None:
    problem = Problem("INPUT_DATASET_NOT_FOUND", "Nothing here.")
    assert told(BackpropError(problem)) is problem


def test_every_class_that_is_told_by_name_is_one_that_the_client_has() -> None:
    package = vars(errors)["HTTPError"].__module__.partition(".")[0]  # httpx, under either name
    transport = importlib.import_module(package)
    known = {name for module in (errors, transport) for name in dir(module)}
    assert set(translation._BY_CLASS) <= known


def test_every_code_is_in_the_catalogue() -> None:
    tables = (translation._BY_CLASS, translation._BY_STATUS)
    assert {code for table in tables for code, _ in table.values()} - {NOT_FOUND} <= set(CATALOGUE)
