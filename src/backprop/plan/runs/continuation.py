"""``train --resume``: what of a training command still counts when a run is continued."""

from __future__ import annotations

from backprop.plan.decision import Problem, warning
from backprop.plan.settings.resolve import Origins, Source
from backprop.plan.settings.verbs.resume import ResumeSettings
from backprop.plan.settings.verbs.train import TrainSettings

_STILL_COUNT = ("training.output_dir", "training.max_steps", "resume", "dry_run", "json", "config")


def continuation(settings: TrainSettings, origins: Origins) -> tuple[ResumeSettings, tuple[Problem, ...]]:
    """The settings of ``resume``, and a warning that names the flags which a resumed run does not heed."""
    assert settings.resume is not None, "--resume was given"
    ignored = [
        origin.name
        for key, origin in origins.by_key.items()
        if origin.source in (Source.FLAG, Source.CALL) and key not in _STILL_COUNT and not key.startswith("log.")
    ]
    resumed = ResumeSettings(
        output=settings.training,
        run_id=settings.resume,
        steps=settings.training.max_steps if origins.of("training.max_steps") else None,
        dry_run=settings.dry_run,
        json=settings.json,
    )
    if not ignored:
        return resumed, ()
    message = f"A resumed run keeps its plan: {', '.join(ignored)} has no effect."
    hint = "Leave it out; to train with other settings start a new run."
    return resumed, (warning("CONFIG_INVALID_SETTING", message, where=ignored[0], hint=hint),)
