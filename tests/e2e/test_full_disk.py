"""A disk that fills up in the middle of a run."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.command import FAST, backprop, leftovers, start


def mount(*options: str) -> bool:
    """Whether ``mount`` did it; only root may."""
    program = shutil.which("mount") or "mount"
    return subprocess.run([program, *options], capture_output=True, check=False).returncode == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few checkpoints of the tiny model."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if not mount("-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)):
        pytest.skip("a tmpfs can be mounted by root only")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def fill(file: Path, *, leaving: int = 0) -> None:
    """Write until the disk is full, but for so many bytes."""
    with contextlib.suppress(OSError), file.open("wb", buffering=0) as ballast:
        while ballast.write(b"x" * 4096):
            pass
    os.truncate(file, file.stat().st_size - leaving)


def test_a_checkpoint_that_no_longer_fits_is_told_and_the_one_before_stands(
    small_disk: Path, tmp_path: Path, model: str, data: str
) -> None:
    output = ("-o", str(small_disk / "output"))
    flags = (*FAST, "--steps", "80", "--save-steps", "20")
    process = start("train", "-m", model, "-d", data, *flags, *output, cwd=tmp_path)
    process.wait_until_it_says("step 22/80")
    # Events and the record still fit, a checkpoint does not.
    fill(small_disk / "ballast", leaving=72 * 1024)
    full = process.ended()
    assert full.code == 2, full.stdout + full.stderr
    assert "RUNTIME_DISK_FULL" in full.stderr
    assert leftovers(small_disk) == []
    (run,) = backprop("runs", *output, "--json", cwd=tmp_path).data["runs"]
    run_id = run["run_id"]
    assert f"backprop resume {run_id}" in full.stderr
    assert (run["run_status"], run["steps_done"]) == ("failed", 20)

    (small_disk / "ballast").unlink()
    resumed = backprop("resume", run_id, *output, "--json", cwd=tmp_path)
    assert resumed.data["steps_done"] == 80, resumed.stdout
    whole = backprop("train", "-m", model, "-d", data, *flags, "--json", cwd=tmp_path).data
    assert Path(resumed.data["adapter"], "adapter_model.safetensors").read_bytes() == (
        Path(whole["adapter"], "adapter_model.safetensors").read_bytes()
    )


def test_an_adapter_that_no_longer_fits_leaves_room_for_the_record_that_says_so(
    small_disk: Path, tmp_path: Path, model: str, data: str
) -> None:
    output = ("-o", str(small_disk / "output"))
    base = shutil.copytree(model, tmp_path / "base")
    (base / "vocab.txt").write_bytes(b"x" * (1 << 20))
    flags = (*FAST, "--steps", "80", "--save-steps", "40")
    process = start("train", "-m", str(base), "-d", data, *flags, *output, cwd=tmp_path)
    process.wait_until_it_says("step 42/80")
    (checkpoint,) = small_disk.glob("output/runs/*/checkpoint-40")
    needed = sum(file.stat().st_size for file in checkpoint.iterdir())
    # The last checkpoint still fits, the tokenizer's files do not.
    fill(small_disk / "ballast", leaving=needed + 256 * 1024)
    full = process.ended()
    assert full.code == 2, full.stdout + full.stderr
    assert "checkpoint of step 80 saved" in full.stderr
    assert f"{checkpoint.parent / 'adapter'} cannot be written" in full.stderr
    (run,) = backprop("runs", *output, "--json", cwd=tmp_path).data["runs"]
    assert f"backprop resume {run['run_id']}" in full.stderr
    assert (run["run_status"], run["problem_code"]) == ("failed", "RUNTIME_DISK_FULL")
    assert run["last_loss"] is not None
    assert leftovers(small_disk) == []


def test_a_disk_without_room_for_the_checkpoints_refuses_the_run_at_once(
    small_disk: Path, tmp_path: Path, model: str, data: str
) -> None:
    fill(small_disk / "ballast")
    output = ("-o", str(small_disk / "output"))
    refused = backprop("train", "-m", model, "-d", data, *FAST, "--steps", "6", "--dry-run", *output, cwd=tmp_path)
    assert refused.code == 2
    assert "RUNTIME_DISK_FULL" in refused.stderr
