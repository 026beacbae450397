from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch

from backprop.effects.train.translation import is_card_full, is_out_of_memory, translated
from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError


def raised_by(wrong: Exception, where: Path | str = "") -> Problem:
    with (
        pytest.raises(BackpropError) as error,
        translated("RUNTIME_TRAINING_FAILED", "Training stopped", where=str(where)),
    ):
        raise wrong
    assert error.value.__cause__ is wrong
    return error.value.problems[0]


def test_an_error_of_a_library_is_told_by_its_first_line() -> None:
    problem = raised_by(ValueError("a shape is wrong\nmore"))
    assert (problem.code, problem.message) == ("RUNTIME_TRAINING_FAILED", "Training stopped: a shape is wrong")


def test_an_error_without_words_is_told_by_its_kind() -> None:
    assert raised_by(KeyError()).message == "Training stopped: KeyError"


def test_memory_and_disk_have_codes_of_their_own(tmp_path: Path) -> None:
    assert raised_by(torch.OutOfMemoryError("CUDA out of memory")).code == "RUNTIME_GPU_OOM"
    assert raised_by(OSError(errno.ENOSPC, "No space left on device"), tmp_path).code == "RUNTIME_DISK_FULL"


def test_memory_that_ran_out_is_known_by_whoever_says_so() -> None:
    with pytest.raises(RuntimeError) as on_the_processor:
        torch.empty(10**15)
    assert is_out_of_memory(on_the_processor.value)
    assert not is_card_full(on_the_processor.value)
    for words in ("CUDA error: out of memory", "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"):
        assert is_card_full(RuntimeError(words))
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(ValueError("CUDA error: out of memory"))


def test_a_failed_write_with_room_left_is_not_a_full_disk(tmp_path: Path) -> None:
    assert raised_by(RuntimeError("cannot write header"), tmp_path).code == "RUNTIME_TRAINING_FAILED"


def test_what_is_translated_already_and_an_interrupt_pass() -> None:
    with pytest.raises(BackpropError) as error, translated("RUNTIME_TRAINING_FAILED", "x"):
        raise BackpropError(Problem("RUNTIME_TRAINING_DIVERGED", "nan"))
    assert error.value.problems[0].code == "RUNTIME_TRAINING_DIVERGED"
    with pytest.raises(KeyboardInterrupt), translated("RUNTIME_TRAINING_FAILED", "x"):
        raise KeyboardInterrupt
