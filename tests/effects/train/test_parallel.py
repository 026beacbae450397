"""Two processes that share every update do what one does alone, whether each holds all weights or a part of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from safetensors.torch import load_file

from tests.effects.train.one_of_several import launched, trained


def weights(directory: Path, step: int) -> dict[str, torch.Tensor]:
    (file,) = (directory / f"checkpoint-{step}").glob("*.safetensors")
    loaded: dict[str, torch.Tensor] = load_file(file)
    return loaded


@attrs.frozen
class Both:
    """The same run by one process and by two."""

    kind: str
    alone: dict[str, Any]
    first: dict[str, Any]
    second: dict[str, Any]
    directory: Path


@pytest.fixture(scope="module", params=["adapter", "offload"])
def both(request: pytest.FixtureRequest, model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Both:
    directory = tmp_path_factory.mktemp(request.param)
    alone = trained(request.param, model_dir, directory / "alone")
    first, second = launched(request.param, model_dir, directory / "two", count=2)
    return Both(request.param, alone, first, second, directory)


def test_two_processes_have_the_losses_and_gradient_norms_of_one(both: Both) -> None:
    assert len(both.first["losses"]) == 6
    for one, two in zip(both.alone["losses"], both.first["losses"], strict=True):
        assert two == pytest.approx(one, abs=1e-5)
    assert both.first["losses"][-1] < both.first["losses"][0]


def test_two_processes_reach_the_weights_of_one(both: Both) -> None:
    expected, found = weights(both.directory / "alone", 6), weights(both.directory / "two", 6)
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, atol=2e-5, rtol=0)


def test_two_processes_measure_the_held_out_loss_of_one(both: Both) -> None:
    assert len(both.alone["heldout"]) == 2
    for one, two in zip(both.alone["heldout"], both.first["heldout"], strict=True):
        assert two == pytest.approx(one, abs=1e-5)


def test_only_the_first_process_tells(both: Both) -> None:
    assert both.first["events"] > 0
    assert both.second["events"] == 0


def test_two_resumed_processes_reach_the_same_bits(both: Both, model_dir: Path) -> None:
    checkpoint = both.directory / "two" / "checkpoint-3"
    launched(both.kind, model_dir, both.directory / "resumed", count=2, resume_from=str(checkpoint))
    expected, found = weights(both.directory / "two", 6), weights(both.directory / "resumed", 6)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
