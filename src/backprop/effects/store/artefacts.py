"""What a run made, with sizes."""

from __future__ import annotations

import os
from pathlib import Path

from backprop.effects.files.atomic import PARTIAL, REPLACED
from backprop.plan.runs.shown import Artefact


def observe_artefacts(run_dir: Path) -> tuple[Artefact, ...]:
    """The files and directories of a run's directory, sorted by name; hidden and unfinished ones left out."""
    names = sorted(e.name for e in os.scandir(run_dir) if not e.name.startswith((".", PARTIAL, REPLACED)))
    return tuple(Artefact(path=name, num_bytes=_num_bytes(run_dir / name)) for name in names)


def _num_bytes(path: Path) -> int:
    if not path.is_dir():
        return path.stat().st_size
    return sum((Path(folder) / name).stat().st_size for folder, _, names in os.walk(path) for name in names)
