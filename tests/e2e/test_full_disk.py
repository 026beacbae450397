"""A disk that fills up in the middle of a run."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.command import FAST, backprop, leftovers


def mount(*options: str) -> bool:
    """Whether ``mount`` did it; only root may."""
    program = shutil.which("mount") or "mount"
    return subprocess.run([program, *options], capture_output=True, check=False).returncode == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for one checkpoint of the tiny model, not for two."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if not mount("-t", "tmpfs", "-o", "size=200k", "tmpfs", str(disk)):
        pytest.skip("a tmpfs can be mounted by root only")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_checkpoint_that_no_longer_fits_is_told_and_the_one_before_stands(
    small_disk: Path, tmp_path: Path, model: str, data: str
) -> None:
    output = ("-o", str(small_disk))
    flags = (*FAST, "--steps", "6", "--save-steps", "2")
    full = backprop("train", "-m", model, "-d", data, *flags, *output, "--json", cwd=tmp_path)
    assert full.code == 2, full.stdout + full.stderr
    problem = full.data["problems"][0]
    assert problem["code"] == "RUNTIME_DISK_FULL"
    run_id = full.data["run_id"]
    assert f"backprop resume {run_id}" in problem["hint"]
    assert leftovers(small_disk) == []
    (run,) = backprop("runs", *output, "--json", cwd=tmp_path).data["runs"]
    assert (run["run_status"], run["steps_done"]) == ("failed", 2)

    assert mount("-o", "remount,size=8m", str(small_disk))
    resumed = backprop("resume", run_id, *output, "--json", cwd=tmp_path)
    assert resumed.data["steps_done"] == 6, resumed.stdout
    whole = backprop("train", "-m", model, "-d", data, *flags, "--json", cwd=tmp_path).data
    assert Path(resumed.data["adapter"], "adapter_model.safetensors").read_bytes() == (
        Path(whole["adapter"], "adapter_model.safetensors").read_bytes()
    )
