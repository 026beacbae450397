"""What a checkpoint says of itself, so that a damaged one is never trained on."""

from __future__ import annotations

import re
from typing import Any

import attrs

from backprop.plan.runs.version import NewerVersion
from backprop.plan.wire.converter import as_mapping, from_data, to_data

CHECKPOINT_VERSION = 1
MANIFEST_NAME = "manifest.json"
_DIRECTORY = re.compile(r"checkpoint-(0|[1-9][0-9]*)")


@attrs.frozen
class CheckpointFile:
    """One file of a checkpoint. ``path`` is relative to the checkpoint, with forward slashes."""

    path: str
    num_bytes: int
    sha256: str


@attrs.frozen
class CheckpointManifest:
    """Where in the run the checkpoint stands, what it belongs to, and every file it consists of."""

    step: int
    """Finished optimizer steps."""
    sequences_seen: int
    """The data cursor: sequences trained on since the run began, counted over all epochs."""
    plan_fingerprint: str
    data_fingerprint: str
    files: tuple[CheckpointFile, ...]
    schema_version: int = CHECKPOINT_VERSION


def manifest_data(manifest: CheckpointManifest) -> dict[str, Any]:
    """The manifest as JSON data."""
    return dict(to_data(manifest))


def manifest_from(data: Any) -> CheckpointManifest:
    """The inverse of :func:`manifest_data`. Raises ``ValueError``, or ``NewerVersion`` for a later backprop's."""
    version = as_mapping(data).get("schema_version")
    if isinstance(version, int) and version > CHECKPOINT_VERSION:
        raise NewerVersion(version, CHECKPOINT_VERSION)
    return from_data(data, CheckpointManifest)


def checkpoint_name(step: int) -> str:
    """The directory of a checkpoint within its run."""
    return f"checkpoint-{step}"


def checkpoint_step(name: str) -> int | None:
    """The step in a checkpoint's directory name; None for any other name."""
    found = _DIRECTORY.fullmatch(name)
    return int(found.group(1)) if found else None
