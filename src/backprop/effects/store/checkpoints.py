"""Checkpoints on disk: complete and proven by their hashes, or not there."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import attrs

from backprop.effects.files.atomic import remove_directory, replace_directory, set_aside, write_atomic, writing
from backprop.effects.store.index import read_json_object
from backprop.plan.decision import Problem, warning
from backprop.plan.runs.checkpoint import (
    MANIFEST_NAME,
    CheckpointFile,
    CheckpointManifest,
    checkpoint_name,
    checkpoint_step,
    manifest_data,
    manifest_from,
)
from backprop.plan.runs.version import NewerVersion


@attrs.frozen
class Checkpoint:
    """A checkpoint whose every file is as it was written."""

    path: Path
    manifest: CheckpointManifest


@attrs.frozen
class CheckpointSearch:
    """The newest checkpoint that can be trusted, and what is wrong with those newer than it."""

    checkpoint: Checkpoint | None
    warnings: tuple[Problem, ...] = ()


def commit_checkpoint(
    run_dir: Path, staged: Path, *, step: int, sequences_seen: int, plan_fingerprint: str, data_fingerprint: str
) -> Path:
    """Make the staged directory the run's checkpoint of ``step``; its path.

    ``staged`` lies on the file system of ``run_dir``. Files are hashed and synced before the one rename, so that
    after a kill or a full disk the checkpoints before it stand. Raises ``BackpropError``.
    """
    final = run_dir / checkpoint_name(step)
    with writing(final):
        (staged / MANIFEST_NAME).unlink(missing_ok=True)
        manifest = CheckpointManifest(
            step=step,
            sequences_seen=sequences_seen,
            plan_fingerprint=plan_fingerprint,
            data_fingerprint=data_fingerprint,
            files=tuple(_describe(staged, path) for path in _paths(staged)),
        )
    write_atomic(staged / MANIFEST_NAME, json.dumps(manifest_data(manifest), indent=1) + "\n")
    replace_directory(staged, final)
    return final


def list_checkpoints(run_dir: Path) -> tuple[int, ...]:
    """The steps that have a checkpoint, damaged or not, ascending."""
    try:
        steps = [checkpoint_step(entry.name) for entry in os.scandir(run_dir)]
    except FileNotFoundError:
        return ()
    return tuple(sorted(step for step in steps if step is not None))


def latest_valid(run_dir: Path) -> CheckpointSearch:
    """The newest checkpoint all of whose files have the sizes and hashes written down; reads it whole.

    A damaged one is skipped with a STATE_CHECKPOINT_INVALID warning, and stays where it is.
    """
    warnings: list[Problem] = []
    for step in reversed(list_checkpoints(run_dir)):
        path = run_dir / checkpoint_name(step)
        try:
            return CheckpointSearch(Checkpoint(path, _verified(path, step)), tuple(warnings))
        except (ValueError, OSError) as wrong:
            newer = isinstance(wrong, NewerVersion)
            warnings.append(
                warning(
                    "STATE_NEWER_VERSION" if newer else "STATE_CHECKPOINT_INVALID",
                    f"The checkpoint {path} cannot be used: {wrong}.",
                    where=str(path),
                    hint="" if newer else "The one before it is used, if there is one.",
                )
            )
    return CheckpointSearch(None, tuple(warnings))


def set_aside_beyond(run_dir: Path, step: int) -> tuple[Path, ...]:
    """Rename the checkpoints beyond ``step`` to ``checkpoint-N.damaged-1``; the new paths.

    For a run that goes back to ``step`` because they are damaged: retention must not count them as newest.
    """
    beyond = [s for s in list_checkpoints(run_dir) if s > step]
    return tuple(set_aside(run_dir / checkpoint_name(s), mark="damaged") for s in beyond)


def prune(run_dir: Path, steps: tuple[int, ...]) -> None:
    """Remove the checkpoints of ``steps``; each is whole or gone, wherever a kill comes."""
    for step in steps:
        remove_directory(run_dir / checkpoint_name(step))


def _paths(directory: Path) -> list[Path]:
    return sorted(Path(folder) / name for folder, _, names in os.walk(directory) for name in names)


def _describe(directory: Path, path: Path) -> CheckpointFile:
    return CheckpointFile(
        path=path.relative_to(directory).as_posix(), num_bytes=path.stat().st_size, sha256=_sha256(path)
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _verified(path: Path, step: int) -> CheckpointManifest:
    manifest = manifest_from(read_json_object(path / MANIFEST_NAME))
    if manifest.step != step:
        raise ValueError(f"its manifest is of step {manifest.step}")
    for file in manifest.files:
        inner = path / file.path
        if not inner.is_file():
            raise ValueError(f"{file.path} is missing")
        if (size := inner.stat().st_size) != file.num_bytes:
            raise ValueError(f"{file.path} has {size} bytes, not {file.num_bytes}")
        if _sha256(inner) != file.sha256:
            raise ValueError(f"{file.path} is not what was written")
    return manifest
