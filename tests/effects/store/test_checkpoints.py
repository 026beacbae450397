from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backprop.effects.files.atomic import sweep_partials
from backprop.effects.store.checkpoints import (
    commit_checkpoint,
    latest_valid,
    list_checkpoints,
    prune,
    set_aside_beyond,
)
from backprop.plan.errors import BackpropError
from tests.effects.children import fork, in_child, kill, wait_for


def stage(run_dir: Path, *, num_bytes: int = 2000) -> Path:
    staged = run_dir / ".partial-staging" / "checkpoint"
    shutil.rmtree(staged, ignore_errors=True)
    (staged / "state").mkdir(parents=True)
    (staged / "weights.bin").write_bytes(os.urandom(num_bytes))
    (staged / "state" / "rng.bin").write_bytes(os.urandom(100))
    return staged


def commit(run_dir: Path, step: int, **size: int) -> Path:
    return commit_checkpoint(
        run_dir,
        stage(run_dir, **size),
        step=step,
        sequences_seen=step * 4,
        plan_fingerprint="plan",
        data_fingerprint="data",
    )


def found_step(run_dir: Path) -> int | None:
    checkpoint = latest_valid(run_dir).checkpoint
    return None if checkpoint is None else checkpoint.manifest.step


def test_a_committed_checkpoint_is_found_with_its_cursor_and_files(tmp_path: Path) -> None:
    path = commit(tmp_path, 5)
    checkpoint = latest_valid(tmp_path).checkpoint
    assert checkpoint is not None
    assert path == checkpoint.path == tmp_path / "checkpoint-5"
    assert (checkpoint.manifest.step, checkpoint.manifest.sequences_seen) == (5, 20)
    assert [file.path for file in checkpoint.manifest.files] == ["state/rng.bin", "weights.bin"]


def test_checkpoints_are_listed_by_step_not_by_name(tmp_path: Path) -> None:
    for step in (100, 20, 3):
        commit(tmp_path, step)
    (tmp_path / "checkpoint-x").mkdir()
    (tmp_path / "checkpoint-007").mkdir()
    assert list_checkpoints(tmp_path) == (3, 20, 100)
    assert found_step(tmp_path) == 100


def test_there_is_none_where_there_is_no_directory(tmp_path: Path) -> None:
    assert list_checkpoints(tmp_path / "absent") == ()
    assert latest_valid(tmp_path / "absent").checkpoint is None


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def empty(checkpoint: Path) -> None:
    shutil.rmtree(checkpoint)
    checkpoint.mkdir()


DAMAGES: dict[str, Any] = {
    "one bit of the weights": lambda c: flip(c / "weights.bin"),
    "cut weights": lambda c: os.truncate(c / "weights.bin", 10),
    "no weights": lambda c: (c / "weights.bin").unlink(),
    "a directory for weights": lambda c: ((c / "weights.bin").unlink(), (c / "weights.bin").mkdir()),
    "no manifest": lambda c: (c / "manifest.json").unlink(),
    "half a manifest": lambda c: os.truncate(c / "manifest.json", 50),
    "a manifest of something else": lambda c: (c / "manifest.json").write_text('{"schema_version": 1}'),
    "the manifest of another step": lambda c: (c / "manifest.json").write_text(
        (c / "manifest.json").read_text().replace('"step": 10', '"step": 11')
    ),
    "only an empty directory": empty,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_passed_over_with_a_warning(tmp_path: Path, damage: str) -> None:
    commit(tmp_path, 5)
    DAMAGES[damage](commit(tmp_path, 10))
    search = latest_valid(tmp_path)
    assert search.checkpoint is not None
    assert search.checkpoint.manifest.step == 5
    assert [w.code for w in search.warnings] == ["STATE_CHECKPOINT_INVALID"]
    assert search.warnings[0].where == str(tmp_path / "checkpoint-10")


def test_a_checkpoint_of_a_later_version_is_called_that(tmp_path: Path) -> None:
    manifest = commit(tmp_path, 5) / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "schema_version": 9}))
    assert [w.code for w in latest_valid(tmp_path).warnings] == ["STATE_NEWER_VERSION"]


def test_damaged_ones_beyond_the_step_gone_back_to_are_set_aside_whole(tmp_path: Path) -> None:
    commit(tmp_path, 5)
    flip(commit(tmp_path, 10) / "weights.bin")
    assert set_aside_beyond(tmp_path, 5) == (tmp_path / "checkpoint-10.damaged-1",)
    assert list_checkpoints(tmp_path) == (5,)
    assert (tmp_path / "checkpoint-10.damaged-1" / "weights.bin").stat().st_size == 2000


def test_a_step_that_is_reached_again_replaces_its_checkpoint(tmp_path: Path) -> None:
    flip(commit(tmp_path, 5) / "weights.bin")
    commit(tmp_path, 5)
    assert found_step(tmp_path) == 5
    assert list_checkpoints(tmp_path) == (5,)


def test_pruned_checkpoints_are_gone_and_the_rest_stands(tmp_path: Path) -> None:
    for step in (5, 10, 15):
        commit(tmp_path, step)
    prune(tmp_path, (5, 10))
    assert list_checkpoints(tmp_path) == (15,)
    assert found_step(tmp_path) == 15


def test_kills_while_committing_and_pruning_always_leave_a_valid_newest_checkpoint(tmp_path: Path) -> None:
    def train() -> None:
        step = list_checkpoints(tmp_path)[-1] if list_checkpoints(tmp_path) else 0
        while True:
            step += 1
            commit(tmp_path, step, num_bytes=200_000)
            (tmp_path / "ready").touch()
            prune(tmp_path, list_checkpoints(tmp_path)[:-2])

    for milliseconds in range(12):
        (tmp_path / "ready").unlink(missing_ok=True)
        child = fork(train)
        wait_for(tmp_path / "ready")
        kill(child, after_seconds=milliseconds / 1000)
        search = latest_valid(tmp_path)
        assert search.checkpoint is not None
        assert not search.warnings
        assert search.checkpoint.manifest.step == list_checkpoints(tmp_path)[-1]
        sweep_partials(tmp_path)
        assert all(path.name.startswith("checkpoint-") or path.name == "ready" for path in tmp_path.iterdir())


def test_a_checkpoint_too_large_for_the_system_leaves_the_one_before(tmp_path: Path) -> None:
    commit(tmp_path, 5)
    staged = stage(tmp_path)

    def overfill() -> None:
        # The manifest is what no longer fits.
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        with pytest.raises(BackpropError) as error:
            commit_checkpoint(tmp_path, staged, step=10, sequences_seen=0, plan_fingerprint="", data_fingerprint="")
        assert error.value.problems[0].code == "RUNTIME_DISK_FULL"

    assert in_child(overfill)
    assert list_checkpoints(tmp_path) == (5,)
    assert found_step(tmp_path) == 5


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    mount = shutil.which("mount")
    disk = tmp_path / "disk"
    disk.mkdir()
    command = [mount or "mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if mount is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a tmpfs can be mounted by root only; the file size limit stands in for it above")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_is_a_clear_error_and_the_checkpoint_before_stands(small_disk: Path) -> None:
    commit(small_disk, 5, num_bytes=60_000)
    staged = stage(small_disk, num_bytes=60_000)
    fill = small_disk / "fill"
    with fill.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    with pytest.raises(BackpropError) as error:
        commit_checkpoint(small_disk, staged, step=10, sequences_seen=0, plan_fingerprint="", data_fingerprint="")
    assert error.value.problems[0].code == "RUNTIME_DISK_FULL"
    assert found_step(small_disk) == 5
    fill.unlink()
    sweep_partials(small_disk)
    commit(small_disk, 10, num_bytes=60_000)
    assert found_step(small_disk) == 10
