"""Exports of real runs, as a user makes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.command import FAST, backprop, leftovers
from tests.e2e.test_full_disk import mount, small_disk

__all__ = ["small_disk"]


@pytest.fixture
def trained(tmp_path: Path, model: str, data: str) -> str:
    """The id of a run whose output is ``output`` in the working directory."""
    done = backprop("train", "-m", model, "-d", data, *FAST, "--steps", "2", "--json", cwd=tmp_path)
    return str(done.data["run_id"])


def test_the_output_the_adapter_and_the_run_id_lead_to_the_same_export(trained: str, tmp_path: Path) -> None:
    for number, path in enumerate(("output", "output/lora", f"output/runs/{trained}", trained[:-2])):
        done = backprop("export", path, "-f", "merged", "-o", f"out{number}", "--json", cwd=tmp_path)
        assert done.code == 0, done.stdout + done.stderr
        weights = [Path(tmp_path, f"out{i}", "model.safetensors").read_bytes() for i in (0, number)]
        assert weights[0] == weights[1]
    answer = backprop("generate", "out0", "Hi", "--max-new-tokens", "2", "--json", cwd=tmp_path)
    assert answer.code == 0, answer.stderr


@pytest.mark.usefixtures("trained")
def test_a_disk_that_is_too_small_is_told_beforehand_or_leaves_the_former_export(
    small_disk: Path, tmp_path: Path, model: str
) -> None:
    out = small_disk / "merged"
    export = ("export", "output", "-f", "merged", "-o", str(out), "--json")
    weights = Path(model, "model.safetensors").stat().st_size

    def resized(num_bytes: int) -> None:
        assert mount("-o", f"remount,size={num_bytes // 4096 * 4096}", str(small_disk))

    resized(weights // 2)
    told = backprop(*export, cwd=tmp_path)
    assert (told.code, told.data["problems"][0]["code"]) == (2, "RUNTIME_DISK_FULL")
    assert "free" in told.data["problems"][0]["message"]

    resized(weights + 8192)  # the weights fit, and what stands beside them does not
    filled = backprop(*export, cwd=tmp_path)
    assert (filled.code, filled.data["problems"][0]["code"]) == (2, "RUNTIME_DISK_FULL")
    assert "free" not in filled.data["problems"][0]["message"]
    assert list(small_disk.iterdir()) == []

    resized(weights + 65536)
    assert backprop(*export, cwd=tmp_path).code == 0
    before = (out / "model.safetensors").read_bytes()
    assert backprop(*export, cwd=tmp_path).data["problems"][0]["code"] == "RUNTIME_DISK_FULL"
    assert (out / "model.safetensors").read_bytes() == before
    assert leftovers(small_disk) == []
