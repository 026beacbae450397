"""The prediction against what the executor's own steps take on the CPU, storage by storage."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from benchmarks.memory_cases import CASES, Case
from benchmarks.memory_measured import BOUND_PERCENT, Comparison, evaluation, training_steps
from benchmarks.storage_tracker import measure


def figures(row: Comparison) -> str:
    largest = "\n".join(f"{s.bytes:12,d} B  {s.count:4d} × {s.description} of {s.operator}" for s in row.measured.alive)
    return (
        f"{row.name}: {row.error_percent:+.3f} %, predicted {row.predicted.peak_bytes:,} B ({row.predicted.moment}), "
        f"measured {row.measured.peak_bytes:,} B ({row.measured.moment}, {row.measured.operator}):\n{largest}"
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_training_steps_take_what_is_predicted(case: Case, tmp_path: Path) -> None:
    row = training_steps(case, tmp_path)
    assert abs(row.error_percent) <= BOUND_PERCENT, figures(row)


@pytest.mark.parametrize("case", CASES[1:3], ids=lambda case: case.name)
def test_an_evaluation_takes_what_is_predicted(case: Case, tmp_path: Path) -> None:
    row = evaluation(case, tmp_path)
    assert abs(row.error_percent) <= BOUND_PERCENT, figures(row)


def test_the_cases_are_strained_in_different_moments() -> None:
    assert {case.predicted.moment for case in CASES} == {"loss", "layer backward", "optimizer step"}


def test_the_tracker_counts_what_is_alive_and_nothing_else() -> None:
    def run() -> None:
        weight = torch.ones(1000, requires_grad=True)
        doubled = weight * 2
        view = doubled.view(10, 100)
        torch.autograd.backward((view * view).sum())

    measured = measure(run, block=1)
    # Forward: the weight, its double, the square and the sum. Backward, with the square gone: both gradients of its
    # factors and their sum, beside the loss and its gradient.
    assert measured.peaks == {"forward": 3 * 4000 + 4, "backward": 5 * 4000 + 2 * 4}
    assert measured.moment == "backward"
    assert sum(share.bytes for share in measured.alive) == measured.peak_bytes


def test_the_tracker_counts_older_tensors_once_whatever_views_them() -> None:
    weight = torch.ones(1000)
    measured = measure(lambda: weight.view(10, 100)[0] + 1, alive=[weight, weight[5:]], block=1)
    assert measured.peak_bytes == 4000 + 400


def test_the_tracker_rounds_as_the_allocator_does() -> None:
    assert measure(lambda: torch.ones(1)).peak_bytes == 512
