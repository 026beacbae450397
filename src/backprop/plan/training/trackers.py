"""Where a run's numbers go while it goes on, beside its own files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from backprop.plan.decision import Problem, warning
from backprop.plan.facts.software import SoftwareFacts
from backprop.plan.settings.resolve import Origins
from backprop.plan.settings.training import Tracker
from backprop.plan.training.rail import Rail

TRACKER_PACKAGES: Mapping[Tracker, tuple[str, ...]] = {
    Tracker.TENSORBOARD: ("tensorboard", "tensorboardx"),
    Tracker.WANDB: ("wandb",),
    Tracker.MLFLOW: ("mlflow",),
    Tracker.TRACKIO: ("trackio",),
}
"""The distributions any one of which a tracker needs."""


def plan_trackers(asked: tuple[Tracker, ...], rail: Rail) -> tuple[Tracker, ...]:
    """Those that are asked for; transformers' integrations are what sends to them, and MLX goes without."""
    return () if rail is Rail.MLX else asked


def check_trackers(
    asked: tuple[Tracker, ...], rail: Rail, software: SoftwareFacts, *, origins: Origins
) -> Iterator[Problem]:
    """DEP_PACKAGE_MISSING for each tracker whose package is not here; a warning on a rail that reports to none."""
    origin = origins.of("training.report_to")
    where = origin.name if origin else "--report-to"
    if asked and rail is Rail.MLX:
        yield warning(
            "CONFIG_INVALID_SETTING",
            f"{where} has no effect with --backend mlx.",
            where=where,
            hint="Leave it out: metrics.jsonl and loss.svg beside the run are written on every rail.",
        )
        return
    for tracker in asked:
        packages = TRACKER_PACKAGES[tracker]
        if not any(software.has(name) for name in packages):
            yield Problem(
                "DEP_PACKAGE_MISSING",
                f"Reporting to {tracker.value} needs the package {' or '.join(packages)}, which is not installed.",
                where=where,
                hint=f"pip install {packages[0]}, or leave {tracker.value} out of --report-to.",
            )
