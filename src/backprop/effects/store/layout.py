"""Where everything of an output directory stands."""

from __future__ import annotations

from pathlib import Path


def history_path(output_dir: Path) -> Path:
    """The index over the runs."""
    return output_dir / "run_history.json"


def history_lock_path(output_dir: Path) -> Path:
    """Held by who writes the index or moves ``lora`` or ``model``."""
    return output_dir / ".history.lock"


PUBLISHED_AS = {"adapter": "lora", "model": "model"}
"""What leads to the adapter or the model of the run that finished last, by its name in the run's directory."""


def published_path(output_dir: Path, result: Path) -> Path:
    """What leads to ``result`` once its run has finished last of those that made its kind."""
    return output_dir / PUBLISHED_AS[result.name]


def runs_path(output_dir: Path) -> Path:
    """The directory of all runs."""
    return output_dir / "runs"


def run_path(output_dir: Path, run_id: str) -> Path:
    """The directory of one run."""
    return runs_path(output_dir) / run_id


def record_path(run_dir: Path) -> Path:
    """The run's record."""
    return run_dir / "record.json"


def events_path(run_dir: Path) -> Path:
    """What happened in the run, one JSON object a line."""
    return run_dir / "events.jsonl"


def metrics_path(run_dir: Path) -> Path:
    """The losses and rates of the run, one JSON object a line."""
    return run_dir / "metrics.jsonl"


def loss_curve_path(run_dir: Path) -> Path:
    """The course of its loss as a drawing."""
    return run_dir / "loss.svg"


def run_lock_path(run_dir: Path) -> Path:
    """Held by the process that works on the run."""
    return run_dir / ".lock"
